"""Family D: a coin hides nothing. An answer drawn from the members is judged by its exact expectation."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from attacks.checks.audit import POINT
from attacks.checks.outcome import Outcome, graded, not_run
from attacks.findings import Findings, Run
from attacks.gains import Comparison
from attacks.jury import BASE
from attacks.metrics import discordant, random_serving
from attacks.statistics import ALPHA, mcnemar

Comparisons = tuple[Comparison, ...]


def _white(findings: Findings) -> list[Run]:
    runs = [r for r in findings.runs if r.threat == 0 and r.row.knowledge == "white_box" and r.judge == findings.target]
    return [run for run in runs if run.row.gradient]


def coin_fixed(findings: Findings, _: Comparisons) -> Outcome:
    """D1: with the coin fixed the target is one network, and the white-box attack on one network works."""
    kept = findings.robust(0, "white_box", BASE)[-1]
    share, declared = float(kept.mean()), findings.evaluation.undefended
    numbers = {"base_left": int(kept.sum()), "n": findings.n, "base_declared_undefended": declared}
    text = f"the attack leaves {100 * share:.1f} % of a single network"
    if not declared:
        return graded(numbers, warn=f"{text}, which nobody declared to be undefended" if share > POINT else "")
    return graded(numbers, fail=text if share > 5 * POINT else "", warn=text if share > POINT else "")


def exact_gradient(findings: Findings, _: Comparisons) -> Outcome:
    """D2: the attack follows the log of the mean probability over all members, which is the exact expectation."""
    runs = [run.row.id for run in _white(findings)]
    if not runs:
        return not_run("the suite has no white-box attack on random serving")
    return graded({"attacks": runs, "members": len(findings.evaluation.jury.members), "expectation": "exact"})


def exact_verdict(findings: Findings, _: Comparisons) -> Outcome:
    """D3: every white-box example is judged by every member."""
    members = set(findings.evaluation.jury.members)
    asked = {run.row.id: members <= set(run.held) for run in _white(findings)}
    missing = sorted(name for name, was in asked.items() if not was)
    numbers = {"attacks": len(asked), "members": len(findings.evaluation.jury.members)}
    return graded(numbers, fail=f"judged by one draw: {', '.join(missing)}" if missing or not asked else "")


def greedy_run(findings: Findings, _: Comparisons) -> Outcome:
    """D4: an attack that fools member after member was run on the target itself."""
    runs = [run.row.id for run in findings.runs if run.row.kind == "greedy_members" and run.judge == findings.target]
    return graded({"attacks": runs}, fail="" if runs else "only attacks on the expectation were run")


def averaged_copy(findings: Findings, _: Comparisons) -> Outcome:
    """D5: examples made on the averaged ensemble break no more than the direct attack, both cold, on random serving.

    Auto-PGD on the log of the mean probability is the attack on the averaged copy; the direct one counts members. Both
    are judged by the share of members that are right, point by point: whether all are right would not tell an attack
    that fools one member from one that fools all of them.
    """
    averaged, direct = (_cold(findings, kind) for kind in ("apgd_ce", "eot"))
    if averaged is None or direct is None:
        return not_run("the averaged ensemble and the expectation were not both attacked from scratch")
    asked = all(set(findings.evaluation.jury.members) <= set(run.held) for run in (averaged, direct))
    points = averaged.attempted[-1] & direct.attempted[-1]
    if not asked or not points.any():
        return not_run("the two attacks were not judged by every member on the same points")
    first, second = (_members_right(findings, run)[points] for run in (direct, averaged))
    drop, p = float((first - second).mean()), mcnemar(*discordant(first > second, second > first))
    text = f"the averaged copy breaks {100 * drop:.2f} points more than the direct attack, in expectation"
    numbers = {"averaged": averaged.row.id, "direct": direct.row.id, "points": int(points.sum()), "drop": drop, "p": p}
    numbers |= {"expected_accuracy": [float(second.mean()), float(first.mean())]}
    return graded(numbers, fail=f"{text}, significantly" if drop > POINT and p <= ALPHA else "")


def _members_right(findings: Findings, run: Run) -> NDArray[np.float64]:
    """Return `[point]`: the share of members right on the clean input and at the largest radius of a cold run."""
    members = findings.evaluation.jury.members
    share: NDArray[np.float64] = np.mean([findings.clean[m] & run.held[m][-1] for m in members], axis=0)
    return share


def _cold(findings: Findings, kind: str) -> Run | None:
    """Return the cold run of a kind with the fewest steps: both sides of a comparison have the same budget."""
    found = [run for run in findings.audits if run.threat == 0 and run.row.kind == kind and not run.row.full_range]
    return min(found, key=lambda run: int(run.row.parameters["steps"]), default=None)


def retries(findings: Findings, _: Comparisons) -> Outcome:
    """D6: how often a patient attacker sees a wrong answer within r independent requests, at the headline."""
    clean, runs = findings.member_verdicts(0, "white_box")
    if not runs:
        return graded({}, fail="the examples were not judged by every member: no retry curve follows")
    retry = random_serving(clean, runs, runs[0].shape[1] - 1).retry
    return graded({"success_within": {str(requests): share for requests, share in retry.items()}})


CHECKS: Mapping[str, Callable[[Findings, Comparisons], Outcome]] = MappingProxyType(
    {
        "D1": coin_fixed,
        "D2": exact_gradient,
        "D3": exact_verdict,
        "D4": greedy_run,
        "D5": averaged_copy,
        "D6": retries,
    }
)
