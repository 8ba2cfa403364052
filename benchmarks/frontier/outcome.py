"""One row of the arena's table, from the verdicts on its blocks."""

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from attacks.statistics import wilson
from attacks.threat import ThreatModel
from attacks.verdicts import from_bits

#: Bins of the calibration error.
BINS = 15


def outcome(blocks: Sequence[Mapping[str, Any]], threat: ThreatModel, knowledge: Mapping[str, str]) -> dict[str, Any]:
    """Return accuracy, intervals and costs of a contender.

    Args:
        blocks: results of `Judge.block`, in order.
        threat: for the radii of attackers who never ask the contender.
        knowledge: row of the suite -> what its attacker knows.

    Returns:
        `clean`, `worst` (knowledge -> one proportion per radius, over its attacks and all smaller radii), `raw` (row ->
        one per radius), `flags` (the bits behind them, for paired tests), `ece`.
    """
    joined = _joined(blocks)
    clean = from_bits(joined["clean"])
    worst: dict[str, list[Any]] = {}
    raw = {}
    for name, rungs in joined["elsewhere"].items():
        flags = [from_bits(bits) & clean for bits in rungs]
        raw[name] = [_share(rung) for rung in flags]
        before = worst.setdefault(knowledge[name], [clean] * len(threat.epsilons))
        alive = clean
        for index, rung in enumerate(flags):
            alive = alive & rung
            before[index] = before[index] & alive
    worst["white_box"] = [from_bits(bits) for bits in joined["white_box"]]
    return {
        "n": len(clean),
        "clean": _share(clean),
        "worst": {name: [_share(rung) for rung in rungs] for name, rungs in worst.items()},
        "raw": raw,
        "flags": {"clean": joined["clean"]}
        | {name: ["".join("01"[int(flag)] for flag in rung) for rung in rungs] for name, rungs in worst.items()},
        "ece": expected_calibration_error(joined["confidence"], clean.tolist()),
        "lost_to": _added([block["lost_to"] for block in blocks]),
        "backwards": sum(sum(block["backwards"].values()) for block in blocks),
        "seconds": round(sum(block["seconds"] for block in blocks), 1),
    }


def _joined(blocks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    def rungs(parts: Sequence[Sequence[str]]) -> list[str]:
        return ["".join(part[index] for part in parts) for index in range(len(parts[0]))]

    return {
        "clean": "".join(block["clean"] for block in blocks),
        "confidence": [value for block in blocks for value in block["confidence"]],
        "elsewhere": {name: rungs([block["elsewhere"][name] for block in blocks]) for name in blocks[0]["elsewhere"]},
        "white_box": rungs([block["white_box"] for block in blocks]),
    }


def _added(parts: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, list[int]]:
    return {name: [sum(values) for values in zip(*(part[name] for part in parts), strict=True)] for name in parts[0]}


def _share(flags: Any) -> dict[str, Any]:
    k, n = int(flags.sum()), len(flags)
    low, high = wilson(k, n)
    return {"k": k, "n": n, "value": k / n, "low": round(low, 4), "high": round(high, 4)}


def expected_calibration_error(confidence: Sequence[float], right: Sequence[bool]) -> float:
    """Return the mean gap between confidence and accuracy over equal bins of confidence, weighted by their points.

    Args:
        confidence: largest probability of each point.
        right: whether the answer was right.
    """
    bins: dict[int, list[tuple[float, bool]]] = {}
    for value, answer in zip(confidence, right, strict=True):
        bins.setdefault(min(int(value * BINS), BINS - 1), []).append((value, answer))
    gaps = (abs(sum(value - answer for value, answer in points)) for points in bins.values())
    return round(sum(gaps) / len(right), 4)


def forward_ratio(network: nn.Module, base: nn.Module, example: torch.Tensor, repeats: int = 5) -> float:
    """Return the time of a forward pass over that of the base, medians of interleaved runs."""
    seconds: dict[int, list[float]] = {0: [], 1: []}
    with torch.no_grad():
        for repeat in range(repeats + 1):
            for index, model in enumerate((network, base)):
                begin = time.perf_counter()
                model(example)
                if repeat:
                    seconds[index].append(time.perf_counter() - begin)
    return round(statistics.median(seconds[0]) / statistics.median(seconds[1]), 2)
