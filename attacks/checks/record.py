"""Family F: does the report say enough to be repeated and doubted."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from attacks.checks.outcome import Outcome, graded, not_run
from attacks.findings import Findings
from attacks.gains import Comparison
from attacks.threat import KNOWLEDGE, threat_sentence

Comparisons = tuple[Comparison, ...]
#: Kinds that aim at single classes.
TARGETED = frozenset({"apgd_dlr_targeted"})
#: Weighs members by how cheaply they can still be turned; of this kind was the attack on ensembles such as ADP.
MEMBER_AWARE = "reweighted"


def identity(findings: Findings, _: Comparisons) -> Outcome:
    """F1: what was run, on what, with which seed."""
    missing = sorted(judge for judge, digest in findings.evaluation.jury.digests.items() if not digest)
    numbers = {"attacks": len(findings.runs), "seed": findings.evaluation.seed, "threads": findings.evaluation.threads}
    return graded(numbers, fail=f"digests missing: {', '.join(missing)}" if missing else "")


def costs(findings: Findings, _: Comparisons) -> Outcome:
    """F2: what each attack cost."""
    numbers = {
        "forwards_per_point": sum(run.forwards for run in findings.runs) / findings.n,
        "backwards_per_point": sum(run.backwards for run in findings.runs) / findings.n,
    }
    # At epsilon 0 nothing is attacked, so nothing is counted.
    attacked = [run for run in findings.runs if findings.evaluation.threats[run.threat].headline > 0]
    asked = [run for run in attacked if run.attempted.any()]
    uncounted = [run.row.id for run in asked if run.row.gradient and not run.forwards]
    return graded(numbers, fail=f"passes were not counted for {', '.join(uncounted)}" if uncounted else "")


def sentences(findings: Findings, _: Comparisons) -> Outcome:
    """F3: one sentence per threat model and kind of knowledge."""
    texts = [threat_sentence(threat, kind) for threat in findings.evaluation.threats for kind in KNOWLEDGE.values()]
    return graded({"sentences": len(texts)}, fail="" if all(texts) else "a threat model has no sentence")


def saved(findings: Findings, _: Comparisons) -> Outcome:
    """F4: the examples themselves are kept."""
    records = [record for run in findings.runs for record in run.examples]
    kept = sum(record["path_relative"] is not None for record in records)
    if kept == 0:
        return not_run(
            "no folder for examples was given: only their digests are kept, and the seeds to craft them again"
        )
    missing = len(records) - kept
    return graded({"kept": kept}, fail=f"{missing} crafting runs left no examples" if missing else "")


def listed(findings: Findings, _: Comparisons) -> Outcome:
    """F5: what was not run is said."""
    count = len(findings.evaluation.rows.not_run)
    return graded({"not_run": count}, fail="" if count else "nothing is said about attacks that were not run")


def targeted(findings: Findings, _: Comparisons) -> Outcome:
    """F6: attacks that want any other class, and attacks that want a certain one."""
    kinds = sorted({run.row.kind for run in findings.runs if run.row.kind in TARGETED})
    numbers = {"targeted": kinds, "untargeted": sorted({run.row.kind for run in findings.runs} - set(kinds))}
    return graded(numbers, warn="" if kinds else "no attack aimed at single classes was run")


def nearest_prior_defence(findings: Findings, _: Comparisons) -> Outcome:
    """F7: the kind of attack that broke the nearest prior defences, ensembles trained for diversity."""
    runs = [run.row.id for run in findings.runs if run.row.kind == MEMBER_AWARE]
    numbers = {"prior": "ensembles trained for diversity", "attack": MEMBER_AWARE, "run": runs}
    return graded(numbers, warn="" if runs else f"the attack {MEMBER_AWARE} was not run")


CHECKS: Mapping[str, Callable[[Findings, Comparisons], Outcome]] = MappingProxyType(
    {
        "F1": identity,
        "F2": costs,
        "F3": sentences,
        "F4": saved,
        "F5": listed,
        "F6": targeted,
        "F7": nearest_prior_defence,
    }
)
