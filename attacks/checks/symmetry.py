"""Family E: does the symmetry itself do what is said of it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from attacks.checks.comparison import claims
from attacks.checks.outcome import Outcome, graded, not_applicable, not_run
from attacks.findings import Findings
from attacks.gains import Comparison
from attacks.jury import EQUAL_ACCURACY, NOISE
from attacks.rows import DETERMINISTIC
from attacks.statistics import ALPHA

Comparisons = tuple[Comparison, ...]
#: The share of verdicts in which two white-box runs may differ that see the same function with other rounding.
SEPARATE_RUNS = 0.006


def null_test(findings: Findings, _: Comparisons) -> Outcome:
    """E1: an exact-symmetry ensemble of the base is the base, to the evaluator too."""
    numbers = findings.numbers["null_test"]
    if not numbers["run"]:
        return not_run(f"no exact-symmetry ensemble of this base can be built: {numbers['reason']}")
    reasons = []
    if numbers["logit_difference"] > 1e-5:
        reasons.append(f"logits differ by {numbers['logit_difference']:.2g} of their scale")
    if numbers["gradient_cosine_mean"] < 0.999:
        reasons.append(f"input gradients have a mean cosine of {numbers['gradient_cosine_mean']:.4f}")
    if numbers["verdict_changes_beyond_margin"]:
        reasons.append(f"{numbers['verdict_changes_beyond_margin']} verdicts differ")
    runs, bits = numbers["separate_runs"], numbers["powers_of_two"]
    if runs["differ"] > SEPARATE_RUNS * runs["compared"]:
        reasons.append(f"separate white-box runs differ on {runs['differ']} of {runs['compared']} points and radii")
    if bits["equal"] is False:
        reasons.append(f"scalings by powers of two change {bits['differ']} of {bits['compared']} logits")
    return graded(numbers, fail="; ".join(reasons))


def beats_noise(findings: Findings, comparisons: Comparisons) -> Outcome:
    """E5: the direction of the action matters, not only its length, at equal norm and at equal clean accuracy."""
    headline = len(findings.evaluation.threats[0].epsilons) - 1
    found = {
        name: next(
            (c for c in comparisons if (c.over, c.threat, c.epsilon, c.knowledge) == (name, 0, headline, "white_box")),
            next((c for c in comparisons if (c.over, c.threat, c.epsilon) == (name, 0, headline)), None),
        )
        for name in (NOISE, EQUAL_ACCURACY)
    }
    absent = dict(findings.evaluation.jury.absent)
    missing = [absent.get(name, f"{name} is missing") for name, item in found.items() if item is None]
    numbers = {name: _gain_numbers(item) for name, item in found.items() if item is not None}
    if not numbers:
        return not_run("; ".join(missing))
    items = [item for item in found.values() if item is not None]
    better = [item.over for item in items if item.gain.p_reverse <= ALPHA]
    if better:
        text = f"{' and '.join(better)} is better than the target, significantly"
        return graded(numbers, fail=text if claims(comparisons) else "", warn=text)
    level = [item.over for item in items if item.p_holm > ALPHA]
    words = f"the target is not significantly better than {' and '.join(level)}" if level else ""
    return graded(numbers, warn="; ".join(filter(None, [words, *missing])))


def _gain_numbers(item: Comparison) -> dict[str, object]:
    gain = item.gain
    return {"under": item.knowledge, "b": gain.b, "c": gain.c, "gain": gain.gain, "p": gain.p, "p_holm": item.p_holm}


def modes_attacked(findings: Findings, _: Comparisons) -> Outcome:
    """E6: the target was attacked as it is served and through every other deterministic mode."""
    mode = findings.evaluation.mode
    if mode not in DETERMINISTIC:
        return not_applicable(f"it concerns deterministic serving; the target is served as {mode}")
    white = [run for run in findings.runs if run.row.knowledge == "white_box" and run.judge == findings.target]
    through = {run.row.through or mode for run in white if run.row.gradient}
    numbers = {"served": mode, "attacked_through": sorted(through)}
    if mode not in through:
        return graded(numbers, fail=f"the served mode {mode} was not attacked")
    missing = [name for name in DETERMINISTIC if name not in through]
    return graded(numbers) if not missing else not_run(f"not attacked through {', '.join(missing)}")


def surrogates_run(findings: Findings, comparisons: Comparisons) -> Outcome:
    """E7: attackers who hold the base, the method, and a neighbourhood of the base were all played."""
    wanted = ("stolen_base", "fresh_members") + (() if findings.evaluation.rows.name == "quick" else ("lgv_surrogate",))
    run = {item.row.knowledge for item in findings.runs if item.row.gradient}
    if not findings.evaluation.jury.members:
        wanted = tuple(name for name in wanted if name != "fresh_members")
    missing = [name for name in wanted if name not in run]
    numbers = {"run": [name for name in wanted if name in run], "missing": missing}
    if not missing:
        return graded(numbers)
    text = f"not played: {', '.join(missing)}"
    return graded(numbers, fail=f"a gain is claimed with {text}") if claims(comparisons) else not_run(text)


CHECKS: Mapping[str, Callable[[Findings, Comparisons], Outcome]] = MappingProxyType(
    {"E1": null_test, "E5": beats_noise, "E6": modes_attacked, "E7": surrogates_run}
)
