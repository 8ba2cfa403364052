"""One execution on a device: what it computed, how long its phases took, and the ways in which it can fail."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from numpy.typing import NDArray

PHASES: Final = ("compute_input", "compute_infer", "compute_output")
Results = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Executed:
    """A finished execution.

    Attributes:
        results: output name -> array, first axis = rows.
        seconds: phase -> seconds.
    """

    results: Results
    seconds: Mapping[str, float]

    @property
    def total(self) -> float:
        """Return the seconds of all phases."""
        return sum(self.seconds.values())


class OutOfDeviceMemory(Exception):
    """The rows did not fit into the device's memory; fewer may."""


class DeviceLost(Exception):
    """The device cannot be used again by this process; only a new process helps."""


class Stopwatch:
    """Measures phases, one after another."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self._seconds: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        """End a phase now."""
        now = time.perf_counter()
        self._seconds[phase] = now - self._last
        self._last = now

    @property
    def seconds(self) -> Mapping[str, float]:
        """Return the phases that ended."""
        return MappingProxyType(self._seconds)
