"""Members one after the other behind the shared prefix: what CPUs like best."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble.execution.program import Program, chosen, logits_of


@dataclass(frozen=True, slots=True)
class LoopPlan:
    """One pass of the specific nodes per member; peak memory is that of one member."""

    name: str = "loop"

    def run(self, program: Program, x: Tensor, members: slice) -> Tensor:
        """Return logits `[member batch classes]` of the chosen members for inputs `[batch ...]`."""
        prefix = program.prefix(x)
        output = program.traced.output
        stacked = chosen(program.layers, members)
        logits = []
        for index in range(stacked[0][0].shape[0]):
            own = [(weight[index], None if bias is None else bias[index]) for weight, bias in stacked]
            values = program.traced.run([output], prefix, program.override(own))
            logits.append(logits_of(values, output))
        return torch.stack(logits)
