"""Cheaper arithmetic where only speed counts, with the answer back in float32."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble.execution.program import Plan, Program


@dataclass(frozen=True, slots=True)
class ReducedPrecisionPlan:
    """Another plan under autocast; logits are float32. For serving and crafting, never for a verdict.

    Attributes:
        plan: the plan that runs.
        dtype: bfloat16 by default.
    """

    plan: Plan
    dtype: torch.dtype = torch.bfloat16

    @property
    def name(self) -> str:
        """Return the plan's name and the dtype."""
        return f"{self.plan.name} {str(self.dtype).removeprefix('torch.')}"

    def run(self, program: Program, x: Tensor, members: slice) -> Tensor:
        """Return logits `[member batch classes]`, float32."""
        with torch.autocast(x.device.type, dtype=self.dtype):
            logits = self.plan.run(program, x, members)
        return logits.float()


@dataclass(frozen=True, slots=True)
class ChannelsLastPlan:
    """Another plan with images in channels-last memory order, which tensor cores prefer.

    Attributes:
        plan: the plan that runs.
    """

    plan: Plan

    @property
    def name(self) -> str:
        """Return the plan's name."""
        return f"{self.plan.name} channels-last"

    def run(self, program: Program, x: Tensor, members: slice) -> Tensor:
        """Return logits `[member batch classes]`."""
        ordered = x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
        return self.plan.run(program, ordered, members)
