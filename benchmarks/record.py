"""Timing and result files of the benchmarks: median and spread, with the machine beside them."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of repeated runs.

    Attributes:
        median: of the runs after the warm-up.
        least: fastest run.
        largest: slowest run.
        runs: how many.
    """

    median: float
    least: float
    largest: float
    runs: int

    def to_dict(self) -> dict[str, float | int]:
        """Return the fields as JSON values."""
        return asdict(self)


def timed(function: Callable[[], object], repeats: int, device: torch.device) -> Timing:
    """Return the timing of `function` after one warm-up run, with the device synchronised around each run."""
    seconds = []
    for _ in range(repeats + 1):
        _synchronise(device)
        begin = time.perf_counter()
        function()
        _synchronise(device)
        seconds.append(time.perf_counter() - begin)
    runs = seconds[1:]
    return Timing(statistics.median(runs), min(runs), max(runs), len(runs))


def write(name: str, question: str, result: Mapping[str, Any], *, settings: Mapping[str, Any]) -> Path:
    """Write a result as JSON beside the machine it was measured on; returns the file."""
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    device = torch.cuda.get_device_name() if settings.get("device") == "cuda" else platform.processor() or "cpu"
    document = {
        "question": question.splitlines()[0],
        "date": date.today().isoformat(),
        "settings": dict(settings),
        **result,
        "machine": {
            "device": device,
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }
    suffix = "-cuda" if settings.get("device") == "cuda" else ""
    path = folder / f"{name}{suffix}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
