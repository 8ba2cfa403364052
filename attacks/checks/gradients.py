"""Checks on the probes of gradients: do they vanish, do iterates get lost, are they derivatives, do alarms ring."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from attacks.checks.audit import POINT
from attacks.checks.outcome import Outcome, graded, not_run
from attacks.findings import Findings
from attacks.gains import Comparison
from attacks.jury import BASE

Comparisons = tuple[Comparison, ...]


def _masked(numbers: Mapping[str, Any]) -> bool:
    """Return whether more than one percent of the gradients vanish under both losses."""
    return bool(min(numbers["cross_entropy"], numbers["margin"]) > POINT * numbers["points"])


def vanishing(findings: Findings, _: Comparisons) -> Outcome:
    """B6: input gradients have a direction, under cross-entropy and under the margin."""
    numbers = findings.numbers.get("vanishing")
    if numbers is None:
        return not_run("gradient norms were not collected")
    counts = f"{numbers['cross_entropy']} under cross-entropy and {numbers['margin']} under the margin"
    text = f"of {numbers['points']} input gradients {counts} have a norm below 1e-12"
    some = numbers["cross_entropy"] + numbers["margin"] > 0
    return graded(numbers, fail=text if _masked(numbers) else "", warn=text if some else "")


def silent_successes(findings: Findings, _: Comparisons) -> Outcome:
    """B8: the best iterate is what an attack returns."""
    numbers = findings.numbers.get("iterates")
    if numbers is None:
        return not_run("iterates were not collected")
    share = numbers["silent"] / numbers["points"] if numbers["points"] else 0.0
    text = f"{numbers['silent']} of {numbers['points']} points are fooled at some iterate and not at the last"
    lost = f"{numbers['not_best']} returned examples are not the best iterate of their run"
    numbers = {**numbers, "share": share}
    return graded(numbers, fail=lost if numbers["not_best"] else "", warn=text if share > POINT else "")


def landscape(findings: Findings, _: Comparisons) -> Outcome:
    """B9: the loss changes little in a small ball."""
    numbers = findings.numbers.get("landscape")
    if numbers is None:
        return not_run("the loss landscape was not sampled")
    text = (
        f"the loss changes by {100 * numbers['mean_change']:.0f} % of its value within a tenth of the headline radius"
    )
    return graded(numbers, warn=text if numbers["mean_change"] >= 0.5 else "")


def derivatives(findings: Findings, _: Comparisons) -> Outcome:
    """B10: autograd returns the derivative of what is served."""
    numbers = findings.numbers.get("directional")
    if numbers is None or not numbers["run"]:
        return not_run(numbers["reason"] if numbers else "directional derivatives were not measured")
    share = numbers["agree"] / numbers["compared"]
    text = f"only {100 * share:.1f} % of the directional derivatives agree with autograd within 1 %"
    numbers = {**numbers, "share": share}
    return graded(numbers, fail=text if share < 0.8 else "", warn=text if share < 0.95 else "")


def alarms_ring(findings: Findings, _: Comparisons) -> Outcome:
    """B15: a shipped gradient-killer made of the base trips B6; a base declared undefended falls at the headline."""
    killer = findings.numbers.get("gradient_killer")
    if killer is None:
        return not_run("no gradient-killer was attacked")
    kept = findings.robust(0, "white_box", BASE)[-1]
    share, declared = float(kept.mean()), findings.evaluation.undefended
    numbers = {"killer": killer, "base_left": int(kept.sum()), "n": findings.n, "base_declared_undefended": declared}
    if not _masked(killer):
        return graded(numbers, fail="the gradients of a network without gradients were not noticed")
    if not declared:
        return graded(numbers)
    text = f"the undefended base keeps {100 * share:.1f} % at the headline"
    return graded(numbers, fail=text if share > 5 * POINT else "", warn=text if share > POINT else "")


CHECKS: Mapping[str, Callable[[Findings, Comparisons], Outcome]] = MappingProxyType(
    {"B6": vanishing, "B8": silent_successes, "B9": landscape, "B10": derivatives, "B15": alarms_ring}
)
