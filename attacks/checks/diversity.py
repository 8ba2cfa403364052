"""Checks of family E on what members share: disagreement, transfer, gradients, and what their number is worth."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from attacks.checks.audit import POINT
from attacks.checks.outcome import Outcome, graded, not_run
from attacks.findings import Findings
from attacks.gains import Comparison
from attacks.jury import BASE
from attacks.metrics import LEAST_DENOMINATOR
from attacks.transfer import TransferMatrix, transfer_matrix

Comparisons = tuple[Comparison, ...]


def disagreement(findings: Findings, _: Comparisons) -> Outcome:
    """E2: how far members differ on the data, beside it, and on attacked points."""
    numbers = findings.numbers.get("disagreement")
    if numbers is None:
        return not_run("disagreement was not measured")
    on, off = numbers["clean"]["disagreement"], max(row["disagreement"] for row in numbers["noise"])
    text = f"members disagree on {100 * off:.1f} % of noisy points and on {100 * on:.1f} % of clean ones"
    # Below one point of the sample a ratio says nothing.
    return graded(numbers, warn=text if off > 10 * max(on, 1 / numbers["points"]) else "")


def matrix_of(findings: Findings) -> TransferMatrix | None:
    """Return the transfer matrix at the first threat model's headline, or None where no member was attacked.

    Rows are the base, where its own strongest iterative examples were judged by all, and then the members attacked.

    Args:
        findings: all verdicts.
    """
    runs = [run for run in findings.runs if run.threat == 0 and run.row.knowledge == "member_to_member"]
    if not runs:
        return None
    sources = {run.judge: {judge: flags[-1] for judge, flags in run.held.items()} for run in runs}
    return transfer_matrix(findings.clean, sources)


def transfer_between_members(findings: Findings, _: Comparisons) -> Outcome:
    """E3: examples made on each member, judged by all, the base and the target."""
    matrix = matrix_of(findings)
    if matrix is None:
        return not_run("no member was attacked by itself")
    cells = [rate for row in matrix.rate for rate in row]
    small = sum(rate.n < LEAST_DENOMINATOR for rate in cells)
    spread = matrix.off_diagonal
    numbers: dict[str, Any] = {"cells": len(cells), "cells_below_30": small, "mean": spread.mean}
    numbers |= {"low": spread.low, "high": spread.high}
    numbers |= {name: asdict(rate) for name, rate in (("least", spread.least), ("largest", spread.largest)) if rate}
    columns = {judge: index for index, judge in enumerate(matrix.judges)}
    for name in (BASE, findings.target):
        rates = [row[columns[name]].value for row in matrix.rate]
        known = [value for value in rates if value is not None]
        numbers[f"mean_on_{name}"] = sum(known) / len(known) if known else None
    return graded(numbers, warn=f"{small} of {len(cells)} cells have fewer than 30 cases" if small else "")


def parallel_gradients(findings: Findings, _: Comparisons) -> Outcome:
    """E4: whether members' input gradients point the same way, and how far each one's examples hurt the others."""
    numbers = findings.numbers.get("geometry")
    if numbers is None:
        return not_run("gradients were not compared")
    mean = numbers["mean_cosine"]
    text = f"the mean cosine of two members' input gradients is {mean:.3f}"
    return graded(numbers, warn=text if mean > 0.9 else "")


def member_count(findings: Findings, _: Comparisons) -> Outcome:
    """E8: what more members are worth on fixed no-query examples, and what they cost."""
    numbers = findings.numbers.get("member_count")
    if numbers is None:
        return not_run("accuracy against the number of members was not measured")
    rows = numbers["prefixes"]
    rise = rows[-1]["accuracy"] - rows[-2]["accuracy"] if len(rows) > 1 else 0.0
    text = f"accuracy still rises by {100 * rise:.1f} points from {rows[-2]['members'] if len(rows) > 1 else 1} members"
    return graded(numbers, warn=text if rise >= POINT else "")


def leave_one_out(findings: Findings, _: Comparisons) -> Outcome:
    """E9: no member carries the result alone."""
    numbers = findings.numbers.get("member_count")
    if numbers is None:
        return not_run("no member was left out")
    without = numbers["without"]
    spread = max(without) - min(without)
    worst = without.index(min(without))
    text = f"accuracy differs by {100 * spread:.1f} points with the member left out; it is least without member {worst}"
    return graded(
        {"points": numbers["points"], "without": without, "spread": spread}, warn=text if spread >= POINT else ""
    )


CHECKS: Mapping[str, Callable[[Findings, Comparisons], Outcome]] = MappingProxyType(
    {
        "E2": disagreement,
        "E3": transfer_between_members,
        "E4": parallel_gradients,
        "E8": member_count,
        "E9": leave_one_out,
    }
)
