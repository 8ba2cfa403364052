"""Family C: may the numbers be compared, and in which words."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from attacks.checks.outcome import Outcome, graded, not_run
from attacks.findings import Findings
from attacks.gains import GAIN, HIGHER, LEAST_DRAWS, Comparison, outcome_of
from attacks.metrics import LEAST_DENOMINATOR
from ensemble.digests import tensor_digest

Comparisons = tuple[Comparison, ...]


def headline_is_worst_case(findings: Findings, _: Comparisons) -> Outcome:
    """C1: recomputed point by point, the headline is at most every single attack and every union."""
    robust = findings.robust(0, "white_box", findings.target)[-1]
    runs = [run for run in findings.runs if run.threat == 0 and findings.target in run.held]
    by_hand = findings.clean[findings.target].copy()
    for run in runs:
        for rung in run.held[findings.target]:
            by_hand &= rung
    lowest = min((int(findings.raw(run, findings.target)[-1].sum()) for run in runs), default=findings.n)
    numbers = {"headline": int(robust.sum()), "by_hand": int(by_hand.sum()), "least_single_attack": lowest}
    wrong = not np.array_equal(robust, by_hand) or int(robust.sum()) > lowest
    return graded(numbers, fail="the headline is not the per-example worst case" if wrong else "")


def intervals_and_tests(findings: Findings, comparisons: Comparisons) -> Outcome:
    """C2: every proportion has an interval and every comparison a paired test on the same points."""
    judged = {judge: len(flags) for judge, flags in findings.clean.items()}
    wrong = [judge for judge, count in judged.items() if count != findings.n]
    unpaired = [item.over for item in comparisons if item.gain.b + item.gain.c > findings.n]
    numbers = {"judges": len(judged), "comparisons": len(comparisons)}
    return graded(numbers, fail="not all judges saw the same points" if wrong or unpaired else "")


def detectable(_: Findings, comparisons: Comparisons) -> Outcome:
    """C3: no comparison is called HIGHER below its minimum detectable gain."""
    bold = [item for item in comparisons if item.outcome == HIGHER and (item.mdg is None or item.gain.gain < item.mdg)]
    known = [item.mdg for item in comparisons if item.mdg is not None]
    numbers = {"comparisons": len(comparisons), "largest_mdg": max(known, default=None)}
    return graded(numbers, fail=f"{len(bold)} comparisons are called HIGHER below their mdg" if bold else "")


def group_seeds(findings: Findings, comparisons: Comparisons) -> Outcome:
    """C4: a result of one draw of the group is a result about that draw."""
    draws = 1 + len(findings.evaluation.jury.draws)
    claimed = claims(comparisons)
    numbers = {"group_seeds": draws, "required": LEAST_DRAWS, "base_trainings": 1, "claimed": claimed}
    if draws >= LEAST_DRAWS:
        return graded(numbers, warn="one base training: the spread over trainings is not known")
    if claimed:
        return graded(numbers, fail=f"a gain is claimed from {draws} group seeds")
    return not_run(f"{draws} of {LEAST_DRAWS} group seeds were judged, and no gain is claimed")


def tuned_elsewhere(findings: Findings, _: Comparisons) -> Outcome:
    """C5: what was tried is counted, and nothing was fitted on the evaluated points."""
    evaluation = findings.evaluation
    radii = sum(len(threat.epsilons) for threat in evaluation.threats)
    numbers: dict[str, object] = {"configurations": 1, "attacks": len(evaluation.rows.rows), "epsilons": radii}
    validation = evaluation.validation
    if validation is not None:
        own = set(evaluation.point_digests)
        shared = sum(tensor_digest(point.cpu()) in own for point in validation.inputs)
        numbers |= {"validation_points": len(validation.inputs), "shared_points": shared}
        if shared:
            return graded(numbers, fail=f"{shared} evaluated points are among those that a baseline was tuned on")
    return graded(numbers, warn="counted in this evaluation only: what was tried before it is not known to it")


def claims(comparisons: Comparisons) -> int:
    """Return in how many threat models a gain is claimed.

    Args:
        comparisons: all of an evaluation.
    """
    cells: dict[tuple[int, str, int], list[Comparison]] = {}
    for item in comparisons:
        cells.setdefault((item.threat, item.knowledge, item.epsilon), []).append(item)
    return sum(outcome_of(items).startswith(GAIN) for items in cells.values())


def both_rates(findings: Findings, _: Comparisons) -> Outcome:
    """C6: the report prints accuracy over all points and success over the initially right ones."""
    right = int(findings.clean[findings.target].sum())
    numbers = {"unconditional_denominator": findings.n, "conditional_denominator": right}
    warn = f"only {right} initially right points: conditional rates are null" if right < LEAST_DENOMINATOR else ""
    return graded(numbers, warn=warn)


CHECKS: Mapping[str, Callable[[Findings, Comparisons], Outcome]] = MappingProxyType(
    {
        "C1": headline_is_worst_case,
        "C2": intervals_and_tests,
        "C3": detectable,
        "C4": group_seeds,
        "C5": tuned_elsewhere,
        "C6": both_rates,
    }
)
