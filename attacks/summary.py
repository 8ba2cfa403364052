"""Small numbers about unfinished work. Reading them loads no attack library: a web process shows them."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from attacks.verdicts import from_bits


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
