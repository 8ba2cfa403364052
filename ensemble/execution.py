"""How M members run: the layers before the first changed one once, the rest per member.

Ideal cost is tau + M (1 - tau) forward passes, tau the shared prefix's share of the work.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, fx

from ensemble.graph import TracedNetwork


class LoopPlan:
    """Members one after the other behind a shared prefix; gradients flow through it.

    Args:
        traced: the base's graph.
        members: per member, module name -> what to call in its place; all members replace the same modules.
    """

    def __init__(self, traced: TracedNetwork, members: Sequence[Mapping[str, Callable[[Tensor], Tensor]]]) -> None:
        self._traced = traced
        self._members = members
        changed = set(members[0])
        starts = [node for node in traced.nodes if node.op == "call_module" and str(node.target) in changed]
        specific = traced.downstream(starts)
        needed = traced.between([traced.output], [])
        self._shared: list[fx.Node] = [
            node
            for node in needed
            if node not in specific and (node is traced.output or any(reader in specific for reader in node.users))
        ]

    def run(self, x: Tensor) -> Tensor:
        """Return member logits `[member batch classes]` for inputs `[batch ...]`."""
        traced = self._traced
        prefix = traced.run(self._shared, {traced.input: x}, {})
        outputs = []
        for override in self._members:
            logits = traced.run([traced.output], prefix, override)[traced.output]
            assert isinstance(logits, Tensor)
            outputs.append(logits)
        return torch.stack(outputs)
