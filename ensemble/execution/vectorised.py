"""All members at once through `torch.func.vmap`: any traceable network, few kernel launches."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from ensemble.execution.program import Program, chosen, logits_of


@dataclass(frozen=True, slots=True)
class VmapPlan:
    """The specific nodes, vectorised over the member axis of the weights."""

    name: str = "vmap"

    def run(self, program: Program, x: Tensor, members: slice) -> Tensor:
        """Return logits `[member batch classes]` of the chosen members for inputs `[batch ...]`."""
        prefix = program.prefix(x)
        stacked = chosen(program.layers, members)
        biases = [bias for _, bias in stacked if bias is not None]

        def one(weights: Sequence[Tensor], present: Sequence[Tensor]) -> Tensor:
            rest = iter(present)
            own = [
                (weight, None if bias is None else next(rest))
                for weight, (_, bias) in zip(weights, stacked, strict=True)
            ]
            return _suffix(program, prefix, own)

        result: Tensor = torch.func.vmap(one)([weight for weight, _ in stacked], biases)
        return result


def _suffix(program: Program, prefix: dict[fx.Node, object], own: list[tuple[Tensor, Tensor | None]]) -> Tensor:
    output = program.traced.output
    return logits_of(program.traced.run([output], prefix, program.override(own)), output)
