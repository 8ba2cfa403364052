"""The share of a forward pass that members have in common, counted in multiply-accumulates of layers."""

import math

from torch import fx, nn

from ensemble.execution.program import Program


def shared_share(program: Program) -> float:
    """Return tau in [0, 1]: the shared prefix's part of one forward pass; M members ideally cost tau + M (1 - tau)."""
    specific = set(program.specific)
    work = {node: multiply_accumulates(program, node) for node in program.traced.nodes}
    total = sum(work.values())
    return sum(count for node, count in work.items() if node not in specific) / total if total else 0.0


def ideal_cost(program: Program, members: int) -> float:
    """Return tau + M (1 - tau), in forward passes of the base."""
    tau = shared_share(program)
    return tau + members * (1 - tau)


def multiply_accumulates(program: Program, node: fx.Node) -> int:
    """Return the multiply-accumulates of a layer's node for one input; 0 for every other node."""
    if node.op != "call_module":
        return 0
    module = program.traced.graph.get_submodule(str(node.target))
    shape = program.traced.shapes.get(node.name, ())
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return math.prod(shape[1:]) * module.weight[0].numel()
    if isinstance(module, nn.Linear):
        return math.prod(shape[1:]) * module.in_features
    return 0
