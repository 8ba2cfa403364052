"""The body of a report after the charts: comparisons, attacks, checks, costs, provenance, limits."""

from collections import Counter
from typing import TYPE_CHECKING, Final

from service.web import words
from service.web.tables import Table, table
from service.web.view import Check, CheckFamily, Fact

if TYPE_CHECKING:
    from attacks.report import EvaluationReport
    from attacks.schema import AttackResult, CheckResult, GainResult, ThreatModelResult

FAMILIES: Final = {
    "A": "A · Measurement: is each number what it says it is?",
    "B": "B · Strength: were the attacks strong enough?",
    "C": "C · Statistics: does the text follow from the numbers?",
    "D": "D · Random serving",
    "E": "E · Symmetry and diversity: is the effect the symmetry's?",
    "F": "F · Record: could somebody else repeat it?",
}
OUTCOMES: Final = {
    "HIGHER": "keeps more images than this baseline, which alone is no gain.",
    "LOSS": "keeps fewer images than this baseline.",
    "VOID": "at or below chance or the scrambled control, so a difference means nothing.",
}
STATUSES: Final = ("FAIL", "WARN", "PASS", "NOT-RUN")
NOT_RUN: Final = "NOT-RUN"


def gains(threat: "ThreatModelResult", target: str) -> Table | None:
    """Return the paired comparisons of a threat model; None where there are none."""
    if not threat.gains:
        return None
    titles = ("<Compared with", "ε", "Won", "Lost", "Difference", "Interval", "p (Holm)", "mdg", "<Outcome")
    caption = (
        f"{words.target_label(target).capitalize()} against each baseline on the same images, in percentage points. "
        f"Won: only the {words.target_label(target)} answers correctly; lost: only the baseline does. Exact McNemar "
        "test, Holm-adjusted; mdg is the least difference this sample could have detected."
    )
    caption += "".join(
        f" {word}: {said}" for word, said in OUTCOMES.items() if any(gain.outcome == word for gain in threat.gains)
    )
    return table(caption, titles, [_gain_row(gain) for gain in threat.gains])


def _gain_row(gain: "GainResult") -> tuple[str, ...]:
    floors = (words.target_label(name.replace("chance_accuracy", "chance")) for name in gain.void_because)
    void = f": not above {' and '.join(floors)}"
    return (
        words.target_label(gain.over),
        words.epsilon(gain.epsilon),
        words.number(gain.b),
        words.number(gain.c),
        words.points(gain.gain),
        f"{words.points(gain.low)} to {words.points(gain.high)}",
        words.p_value(gain.p_holm),
        words.DASH if gain.mdg is None else f"{100 * gain.mdg:.1f}",
        gain.outcome + (void if gain.void_because and gain.outcome == "VOID" else ""),
    )


def attacks(report: "EvaluationReport") -> Table:
    """Return what each attack was, what it broke on the served network, and what it cost."""
    right = report.headline.clean_accuracy.k
    surrogates = {report.subject.base_digest: "base", report.subject.ensemble_digest: report.headline.target}
    surrogates |= {digest: name for name, digest in report.subject.control_digests.items()}
    titles = ("<Attack", "<Crafted on", "<Class and parameters", "Fooled", "Only it", "Forwards", "Backwards", "Time")
    caption = (
        f"Attacks on the {words.target_label(report.headline.target)} at the largest radius. Fooled: of the {right} "
        "images it answers correctly when clean; only it: fooled by no other attack. Passes count "
        "images, over all radii."
    )
    return table(caption, titles, [_attack_row(attack, surrogates, right) for attack in report.attacks])


def _attack_row(attack: "AttackResult", surrogates: dict[str, str], right: int) -> tuple[str, ...]:
    made_on = attack.surrogate_digest
    named = attack.surrogate or (surrogates.get(made_on, words.short_digest(made_on)) if made_on else "")
    parameters = dict(attack.parameters) | ({"draws": attack.draws} if attack.draws > 1 else {})
    return (
        attack.id,
        words.target_label(named) if named else words.DASH,
        attack.class_ + (f": {words.flat(parameters)}" if parameters else ""),
        f"{attack.fooled} of {right}",
        words.number(attack.unique_fooled),
        words.number(attack.forwards),
        words.number(attack.backwards),
        words.seconds(attack.seconds),
    )


def further_attacks(report: "EvaluationReport") -> tuple[Table, ...]:
    """Return what else was attacked: baselines, cold runs on part of the images, and what attackers made first."""
    tables = []
    if report.attacks_on_baselines:
        titles = ("<Network", "<Attack", "<Class and parameters", "Fooled", "Forwards", "Backwards", "Time")
        rows = [_baseline_row(attack) for attack in report.attacks_on_baselines]
        tables.append(table("White-box attacks on the networks that the target is compared with", titles, rows))
    if report.audits:
        caption = "Cold runs on part of the images: from scratch, no image left out. They test the shortcuts above"
        tables.append(
            table(caption, ("<Attack", "<On", "<Class and parameters", "Radius", "Right", "Interval"), _cold(report))
        )
    if report.surrogates or report.baselines:
        made = [
            (one.name, one.kind, words.flat({**one.settings, **one.numbers}), one.digest) for one in report.surrogates
        ]
        made += [(one.name, "baseline", words.flat(one.numbers), one.digest) for one in report.baselines]
        rows = [(words.target_label(name), kind, said, words.short_digest(digest)) for name, kind, said, digest in made]
        caption = "Networks that attackers and baselines are made of"
        tables.append(table(caption, ("<Name", "<Kind", "<Settings and numbers", "<Digest"), rows))
    return tuple(tables)


def _baseline_row(attack: "AttackResult") -> tuple[str, ...]:
    return (
        words.target_label(attack.on),
        attack.id,
        attack.class_ + (f": {words.flat(attack.parameters)}" if attack.parameters else ""),
        words.number(attack.fooled),
        words.number(attack.forwards),
        words.number(attack.backwards),
        words.seconds(attack.seconds),
    )


def _cold(report: "EvaluationReport") -> list[tuple[str, ...]]:
    return [
        (
            audit.attack,
            words.target_label(audit.target),
            audit.class_ + (f": {words.flat(audit.parameters)}" if audit.parameters else ""),
            f"{words.norm_label(audit.norm)} ≤ {words.epsilon(point.epsilon)}",
            f"{point.k} of {point.n}",
            words.interval(point.low, point.high),
        )
        for audit in report.audits
        for point in audit.results
    ]


def random_serving(threat: "ThreatModelResult", target: str) -> Table | None:
    """Return the exact expectations of random serving; None where the answer is not drawn.

    Args:
        threat: one of the report's threat models.
        target: the served network's name.
    """
    rows = []
    for result in threat.results:
        if result.target == target and result.expected_accuracy is not None:
            right, retry = result.all_members_right, result.retry or {}
            rows.append(
                (
                    words.epsilon(result.epsilon),
                    words.percent(result.expected_accuracy),
                    words.DASH if right is None else f"{right.k} of {right.n}",
                    *(words.percent(retry.get(requests)) for requests in ("1", "3", "10")),
                )
            )
    if not rows:
        return None
    titles = ("Radius", "Expected accuracy", "All members right", "Wrong in 1", "in 3", "in 10 requests")
    return table("One random member answers each request: exact expectations over the members", titles, rows)


def tally(report: "EvaluationReport") -> tuple[tuple[str, int], ...]:
    """Return how many checks ended in each status, the worst first."""
    counted = Counter(check.status for check in report.checks)
    return tuple((status, counted[status]) for status in STATUSES)


def families(report: "EvaluationReport") -> tuple[CheckFamily, ...]:
    """Return the checks that ran, by family."""
    ran = [check for check in report.checks if check.status != NOT_RUN]
    letters = dict.fromkeys(check.id[:1] for check in ran)
    return tuple(
        CheckFamily(FAMILIES.get(letter, letter), tuple(_check(check) for check in ran if check.id[:1] == letter))
        for letter in letters
    )


def checks_not_run(report: "EvaluationReport") -> tuple[Check, ...]:
    """Return the checks that did not run, with the reason of each."""
    return tuple(_check(check) for check in report.checks if check.status == NOT_RUN)


def _check(check: "CheckResult") -> Check:
    numbers = words.flat(check.numbers) if check.numbers else ""
    return Check(check.id, check.status, check.rule, numbers, check.reason, check.remedy)


def costs(report: "EvaluationReport") -> tuple[Fact, ...]:
    """Return the passes and the time of all attacks, in total and per image."""
    forwards = sum(attack.forwards for attack in report.attacks)
    backwards = sum(attack.backwards for attack in report.attacks)
    queries = sum(attack.queries for attack in report.attacks)
    n = max(1, report.data.n)
    return (
        Fact("Forward passes", f"{words.number(forwards)} images ({words.number(forwards / n)} per image judged)"),
        Fact("Backward passes", f"{words.number(backwards)} images ({words.number(backwards / n)} per image judged)"),
        Fact("Queries to the service", words.number(queries)),
        Fact("Time in attacks", words.seconds(sum(attack.seconds for attack in report.attacks))),
    )


def not_run(report: "EvaluationReport") -> tuple[Fact, ...]:
    """Return what the full standard asks for that was not done, and why."""
    return tuple(Fact(item.what, item.why) for item in report.not_run)


def provenance(report: "EvaluationReport") -> tuple[Fact, ...]:
    """Return digests, versions, seeds and settings: what one needs to repeat the evaluation."""
    subject, data, env = report.subject, report.data, report.environment
    facts = [
        Fact("Served network", subject.ensemble_digest, code=True),
        Fact("Base network", subject.base_digest, code=True),
        *(
            Fact(words.target_label(name).capitalize(), value, code=True)
            for name, value in subject.control_digests.items()
        ),
        Fact("Calibration inputs", subject.calibration_digest or words.DASH, code=True),
        Fact("Images", data.digest, code=True),
        Fact(
            "Data",
            f"{data.name}, {data.split}, {data.n} images of {' × '.join(map(str, data.input_shape))}, {data.encoding}",
        ),
        Fact("Images per class", ", ".join(f"{label}: {count}" for label, count in data.label_counts.items())),
        Fact("Generation", words.flat(subject.group) if subject.group else words.DASH),
        Fact("Seeds of the members", words.flat(subject.seeds)),
        Fact("Seeds of the attacks", words.flat(sorted({attack.seed for attack in report.attacks}))),
        Fact("Suite", f"{report.suite.name}, version {report.suite.version}"),
    ]
    if report.suite.overrides:
        facts.append(Fact("Changed in the suite", words.flat(report.suite.overrides)))
    facts.append(
        Fact(
            "Versions",
            f"levelset {env.levelset}, torch {env.torch}, foolbox {env.foolbox}, Python {env.python}",
        )
    )
    deterministic = "deterministic" if env.deterministic else "not deterministic"
    facts.append(
        Fact("Machine", f"{env.device}, {env.threads} {'thread' if env.threads == 1 else 'threads'}, {deterministic}")
    )
    facts.append(Fact("Examples", _examples(report)))
    if report.run:
        facts.append(Fact("Run", words.flat(report.run)))
    return tuple(facts)


def _examples(report: "EvaluationReport") -> str:
    kept = sum(artifact.path_relative is not None for artifact in report.artifacts)
    return f"{len(report.artifacts)} sets named by digest, {kept} of them kept as files"


def limits(report: "EvaluationReport") -> tuple[str, ...]:
    """Return in plain words what these numbers do not say."""
    data = report.data
    radii = "; ".join(
        f"{words.norm_label(norm)} up to {words.epsilon(max(epsilons))}"
        for norm, epsilons in {model.norm: model.epsilons for model in report.threat_models}.items()
        if epsilons
    )
    said = [
        report.headline.limits,
        f"The images are {words.number(data.n)} of the {data.split} split of {data.name} ({data.encoding}). Other "
        "images, other classes and shifted data were not judged.",
        f"Judged radii: {radii}, inside the box [{data.bounds[0]:g}, {data.bounds[1]:g}].",
        "A gain over the attacked base network is expected of any second network. Only a gain over weight noise of "
        "equal accuracy would speak for the symmetry.",
    ]
    if "jpeg" in data.encoding.lower():
        said.append(
            "The images were re-encoded as JPEG, which moves many of them towards a decision boundary: these numbers "
            "cannot be compared with published ones for the original images."
        )
    if report.suite.name == "quick":
        said.append(
            "The quick suite guards against regressions between two builds. It is too weak to support a statement."
        )
    return tuple(said)
