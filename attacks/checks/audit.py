"""Checks on cold runs: each attack from scratch on the audit subset, no survivor sets and no warm start.

They read `Findings.audits`: runs on the target whose `attempted` marks the audit points, one per row of the suite whose
id begins with "audit-". A check finds its two sides by kind and parameters, so that a suite may change the numbers of
steps and restarts without a word here.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from attacks.checks.outcome import Outcome, graded, not_run
from attacks.findings import Findings, Run
from attacks.gains import Comparison
from attacks.metrics import Flags, discordant
from attacks.statistics import ALPHA, mcnemar

Comparisons = tuple[Comparison, ...]
#: A point of accuracy, and half a point.
POINT, HALF = 0.01, 0.005
#: The share by which a loss may still fall in the last tenth of an attack.
STILL_FALLING = 0.05


def audit_points(run: Run) -> Flags:
    """Return `[point]`: where a cold run was made.

    Args:
        run: of `Findings.audits`.
    """
    points: Flags = np.logical_or.reduce(run.attempted)
    return points


def left(findings: Findings, run: Run) -> Flags:
    """Return `[audit point]`: right on the clean input and at the largest radius of a cold run on the target.

    Args:
        findings: all verdicts.
        run: of `Findings.audits`.
    """
    points = audit_points(run)
    flags: Flags = (findings.clean[findings.target] & run.held[findings.target][-1])[points]
    return flags


def _runs(findings: Findings, kind: str, **wanted: Any) -> list[Run]:
    """Return cold runs of a kind at the headline's threat model, fewest steps first."""
    found = [
        run
        for run in findings.audits
        if run.threat == 0
        and run.row.kind == kind
        and run.row.full_range == wanted.get("full_range", False)
        and int(run.row.parameters.get("restarts", 1)) == wanted.get("restarts", 1)
    ]
    return sorted(found, key=lambda run: int(run.row.parameters.get("steps", 1)))


def _drop(findings: Findings, weak: Run, strong: Run) -> tuple[float, float, dict[str, Any]]:
    """Return (share of points that only the stronger run breaks, less the reverse; its p value; the numbers)."""
    first, second = left(findings, weak), left(findings, strong)
    b, c = discordant(first, second)
    drop, p = (b - c) / len(first), mcnemar(b, c)
    names = {"weaker": weak.row.id, "stronger": strong.row.id}
    return drop, p, {**names, "points": len(first), "left": [int(first.sum()), int(second.sum())], "drop": drop, "p": p}


def full_range(findings: Findings, _: Comparisons) -> Outcome:
    """B3: with the whole box to move in, nothing is left."""
    runs = _runs(findings, "pgd", full_range=True)
    if not runs:
        return not_run("the suite has no attack at the full range")
    flags = left(findings, runs[-1])
    kept, classes = int(flags.sum()), len(set(findings.labels.tolist()))
    numbers = {"attack": runs[-1].row.id, "points": len(flags), "left": kept, "share_allowed": 1 / classes}
    text = f"{kept} of {len(flags)} points survive an attack that may change every value to any other"
    return graded(numbers, fail=text if kept > len(flags) / classes else "", warn=text if kept else "")


def more_steps(findings: Findings, _: Comparisons) -> Outcome:
    """B4: twice the steps find no more, and the loss has levelled off."""
    runs = _runs(findings, "apgd_ce")
    if len(runs) < 2:
        return not_run("the suite has no attack with doubled steps")
    drop, p, numbers = _drop(findings, runs[-2], runs[-1])
    plateau = findings.numbers.get("plateau")
    fall = plateau["fall_at_end"] if plateau else None
    numbers |= {"loss_rise_in_last_tenth": fall}
    text = f"{100 * drop:.2f} points more fall with twice the steps" if drop >= HALF else ""
    if text and p <= ALPHA:
        return graded(numbers, fail=f"{text}, significantly")
    steep = (
        f"the attack's loss still rises by {100 * fall:.1f} % in its last tenth"
        if fall and fall > STILL_FALLING
        else ""
    )
    return graded(numbers, warn="; ".join(filter(None, (text, steep))))


def restarts(findings: Findings, _: Comparisons) -> Outcome:
    """B5: five restarts find no more than one."""
    many = next((run for count in range(10, 1, -1) for run in _runs(findings, "apgd_ce", restarts=count)), None)
    single = next((r for r in _runs(findings, "apgd_ce") if many and _steps(r) == _steps(many)), None)
    if many is None or single is None:
        return not_run("the suite has no attack with restarts")
    drop, p, numbers = _drop(findings, single, many)
    text = f"{100 * drop:.2f} points more fall with restarts" if drop >= HALF else ""
    return graded(numbers, fail=f"{text}, significantly" if text and p <= ALPHA else "", warn=text)


def _steps(run: Run) -> int:
    return int(run.row.parameters.get("steps", 1))


def losses_agree(findings: Findings, _: Comparisons) -> Outcome:
    """B7: cross-entropy is as strong as the difference of logits ratio, or becomes so on logits of one scale."""
    margin = _runs(findings, "apgd_dlr")
    entropy = [run for run in _runs(findings, "apgd_ce") if margin and _steps(run) == _steps(margin[-1])]
    if not margin or not entropy:
        return not_run("the suite has no pair of attacks that differ in their loss only")
    drop, _p, numbers = _drop(findings, entropy[0], margin[-1])
    repaired = findings.numbers.get("normalised")
    left_then = None if repaired is None else repaired["left"]
    numbers |= {"left_on_normalised_logits": left_then}
    text = f"{100 * drop:.2f} points more fall under the margin loss than under cross-entropy"
    allowed = int(left(findings, margin[-1]).sum()) + 5 * POINT * numbers["points"]
    broken = drop > 5 * POINT and (left_then is None or left_then > allowed)
    return graded(
        numbers,
        fail=f"{text}, and one scale for all logits does not repair it" if broken else "",
        warn=text if drop >= POINT else "",
    )


def step_sizes(findings: Findings, _: Comparisons) -> Outcome:
    """B16: attacks that differ in their step size only agree."""
    runs = _runs(findings, "pgd")
    if len(runs) < 3:
        return not_run("the suite has no three step sizes")
    shares = [float(left(findings, run).mean()) for run in runs]
    spread = max(shares) - min(shares)
    accuracy = dict(zip((run.row.id for run in runs), shares, strict=True))
    numbers = {"points": len(left(findings, runs[0])), "accuracy": accuracy, "spread": spread}
    text = f"accuracy differs by {100 * spread:.2f} points between step sizes"
    return graded(numbers, fail=text if spread > 2 * POINT else "", warn=text if spread >= POINT else "")


def strongest_left(findings: Findings, threat: int) -> tuple[Flags, Flags] | None:
    """Return what the cold white-box gradient attacks leave of the target, or None where there are none.

    Args:
        findings: all verdicts.
        threat: index of the threat model.

    Returns:
        `[epsilon point]` held under all of them at the radii they attacked, and `[epsilon point]` where one attacked.
    """
    runs = [r for r in findings.audits if r.threat == threat and r.row.gradient and not r.row.full_range]
    if not runs:
        return None
    held = np.logical_and.reduce([run.held[findings.target] for run in runs])
    attacked = np.logical_or.reduce([run.attempted for run in runs])
    return held, attacked


def cold(findings: Findings, threat: int) -> Iterable[Run]:
    """Return the cold runs on the target at the threat model's own radii.

    Args:
        findings: all verdicts.
        threat: index of the threat model.
    """
    return (run for run in findings.audits if run.threat == threat and not run.row.full_range)


CHECKS: Mapping[str, Callable[[Findings, Comparisons], Outcome]] = MappingProxyType(
    {"B3": full_range, "B4": more_steps, "B5": restarts, "B7": losses_agree, "B16": step_sizes}
)
