"""From shard results to a report: pure, and independent of the order in which shards finished."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from attacks.assembly import assemble_report
from attacks.evaluation import Evaluation
from attacks.findings import gather
from attacks.report import EvaluationReport
from attacks.verdicts import from_bits
from ensemble.errors import InputError


def merge_planned(
    evaluation: Evaluation, keys: list[str], results: Mapping[str, Mapping[str, Any]]
) -> EvaluationReport:
    """Return the report of complete results.

    Args:
        evaluation: the context the shards ran in.
        keys: the keys of the plan, in its order.
        results: shard key -> result; keys of other shards are ignored.

    Returns:
        The sealed report.

    Raises:
        InputError: a shard of the plan has no result, or a result lies under another shard's key.
    """
    missing = [key for key in keys if key not in results]
    if missing:
        raise InputError(
            f"merging an evaluation: expected a result for each of {len(keys)} shards, got none for {len(missing)} "
            f"(first: {missing[0][:12]}); run the missing shards first"
        )
    ordered = [results[key] for key in keys]
    for key, result in zip(keys, ordered, strict=True):
        if result.get("key") != key:
            raise InputError(
                f"merging an evaluation: expected the result of shard {key[:12]}, got one with the key "
                f"{str(result.get('key'))[:12]}; store each result under its own shard's key"
            )
    return assemble_report(gather(evaluation, ordered))


def partial_summary(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return small numbers about unfinished work, for a progress display; they are not results.

    Args:
        results: shard key -> result, in any order.

    Returns:
        How many shards are done, seconds so far, and per attack and judge the points held at the largest epsilon.
    """
    held: dict[str, dict[str, dict[str, int]]] = {}
    for key in sorted(results):
        result = results[key]
        for attack, judge, rungs in _verdicts(result):
            flags = from_bits(rungs[-1])
            cell = held.setdefault(attack, {}).setdefault(judge, {"k": 0, "n": 0})
            cell["k"] += int(np.count_nonzero(flags))
            cell["n"] += len(flags)
    return {
        "shards_done": len(results),
        "seconds": float(sum(result["seconds"] for result in results.values())),
        "held": held,
    }


def _verdicts(result: Mapping[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield (attack, judge, verdicts per radius) of a shard's result."""
    records = result.get("runs", [])
    if "held" in result:
        records = [{"attack": result["attack"], "held": result["held"]}]
    for record in records:
        for judge, rungs in record["held"].items():
            yield record["attack"], judge, rungs
