"""Which plan runs: a fixed table where bytes must repeat, a short measurement where only speed counts."""

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from ensemble.errors import UnknownName
from ensemble.execution.grouped import GroupedPlan
from ensemble.execution.loop import LoopPlan
from ensemble.execution.program import Plan, Program
from ensemble.execution.vectorised import VmapPlan

PLANS: Mapping[str, Plan] = MappingProxyType({plan.name: plan for plan in (LoopPlan(), GroupedPlan(), VmapPlan())})


def plan_named(name: str) -> Plan:
    """Return the plan called `name`.

    Raises:
        UnknownName: no plan has that name.
    """
    if name not in PLANS:
        raise UnknownName("execution plan", name, PLANS)
    return PLANS[name]


def fixed_plan(device: torch.device) -> Plan:
    """Return the plan of evaluation and generation: it depends on the device type alone, never on a measurement.

    A CPU is busy with one member's layer; a GPU is not, so members share its kernels.
    """
    return PLANS["loop" if device.type == "cpu" else "grouped"]


class MeasuredChoice:
    """Chooses the fastest plan per device, dtype and batch size, once each: for serving only.

    Args:
        repeats: timed runs per plan after one warm-up; the median counts.
        clock: seconds, monotonic.
    """

    def __init__(self, *, repeats: int = 3, clock: Callable[[], float] = time.perf_counter) -> None:
        self._repeats = repeats
        self._clock = clock
        self._known: dict[tuple[str, str, int, int], Plan] = {}

    def plan(self, program: Program, x: Tensor, members: slice) -> Plan:
        """Return the plan for inputs like `x`, measuring the first time such inputs come."""
        count = len(range(*members.indices(program.size)))
        key = (str(x.device), str(x.dtype), _bucket(len(x)), count)
        if key not in self._known:
            seconds = {plan: self._measure(plan, program, x, members) for plan in PLANS.values()}
            self._known[key] = min(seconds, key=seconds.__getitem__)
        return self._known[key]

    def _measure(self, plan: Plan, program: Program, x: Tensor, members: slice) -> float:
        times = []
        with torch.inference_mode():
            for _ in range(self._repeats + 1):
                _synchronise(x.device)
                begin = self._clock()
                plan.run(program, x, members)
                _synchronise(x.device)
                times.append(self._clock() - begin)
        return sorted(times[1:])[self._repeats // 2]


def _bucket(batch: int) -> int:
    """Return the power of two at or above the batch size: close batches share a choice."""
    return 1 << max(batch - 1, 0).bit_length()


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
