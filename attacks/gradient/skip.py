"""The skip gradient method (SGM; Wu et al., 2020): gradients of residual branches shrunk, so that skips carry more.

The network keeps its answers to the last bit; only the gradient that flows back through a residual branch is
multiplied by gamma. Branches are found in the traced graph, at additions of a long path to a short one.
"""

import operator
from typing import Any

import torch
from foolbox.attacks.base import FixedEpsilonAttack
from torch import Tensor, fx, nn

from attacks.gradient.keeping import KeepRule
from attacks.gradient.momentum import mi
from attacks.targets import NetworkModel
from ensemble.errors import InputError

_ADDITIONS = (operator.add, operator.iadd, torch.add)


class SkipGradient(FixedEpsilonAttack):  # type: ignore[misc]
    """An attack whose gradients run through the skips of a residual network rather than through its branches.

    Args:
        attack: a fixed-epsilon attack.
        gamma: what the gradient of each residual branch is multiplied by; 1 changes nothing.
    """

    def __init__(self, attack: Any, gamma: float) -> None:
        self.attack = attack
        self.gamma = gamma

    @property
    def distance(self) -> Any:
        """The distance of the wrapped attack."""
        return self.attack.distance

    def run(self, model: Any, inputs: Any, criterion: Any, *, epsilon: float, **kwargs: Any) -> Any:
        """Return what the attack makes on the network with shrunk gradients; passes are counted in the model.

        Args:
            model: a `NetworkModel` of a residual network.
            inputs: `[batch channel height width]`.
            criterion: of the attack.
            epsilon: the radius.
            kwargs: passed on to the attack.

        Returns:
            Perturbed inputs.

        Raises:
            InputError: no residual branch was found.
        """
        network = with_skip_gradient(model.network, self.gamma)
        shrunk = NetworkModel(
            network, bounds=tuple(model.bounds), classes=model.classes, coding=model.coding, role=model.role
        )
        found = self.attack.run(shrunk, inputs, criterion, epsilon=epsilon, **kwargs)
        model.passes.forwards += shrunk.passes.forwards
        model.passes.backwards += shrunk.passes.backwards
        return found


def with_skip_gradient(network: nn.Module, gamma: float) -> nn.Module:
    """Return a network with the same weights and answers that shrinks the gradient of its residual branches.

    Args:
        network: a traceable residual network; it is not changed.
        gamma: the factor of each branch.

    Returns:
        A traced network that shares the weights.

    Raises:
        InputError: the network cannot be traced, or has no residual branch.
    """
    traced = _traced(network)
    branches = residual_branches(traced.graph)
    if not branches:
        raise InputError(
            f"skip gradient: expected a network with residual branches, got {type(network).__name__} without any; "
            "use another attack on it"
        )
    for addition, branch in branches:
        with traced.graph.inserting_before(addition):
            shrunk = traced.graph.call_function(shrink_gradient, (branch, gamma))
        addition.replace_input_with(branch, shrunk)
    traced.recompile()
    return traced


def residual_branches(graph: fx.Graph) -> list[tuple[fx.Node, fx.Node]]:
    """Return (addition, last node of its branch) of every residual block, in order.

    A branch is the operand with more operations since both operands' last common ancestor; a skip has fewer, or none.
    Sums of paths equally long are no residual blocks.

    Args:
        graph: of a traced network.
    """
    found = []
    for node in graph.nodes:
        operands = [operand for operand in node.all_input_nodes if node.target in _ADDITIONS]
        if len(operands) == 2:
            first, second = (_ancestors(operand) for operand in operands)
            lengths = [len(first - second), len(second - first)]
            if first & second and lengths[0] != lengths[1]:
                found.append((node, operands[lengths.index(max(lengths))]))
    return found


class _Shrunk(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, gamma: float) -> Tensor:
        ctx.gamma = gamma
        return values.clone()  # networks add the skip in place: the branch keeps its own values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return ctx.gamma * gradients[0], None


def shrink_gradient(values: Tensor, gamma: float) -> Tensor:
    """Return the values unchanged; their gradient is multiplied by gamma.

    Args:
        values: any shape.
        gamma: the factor.
    """
    shrunk: Tensor = _Shrunk.apply(values, gamma)  # type: ignore[no-untyped-call]
    return shrunk


def _traced(network: nn.Module) -> fx.GraphModule:
    try:
        return fx.symbolic_trace(network)
    except Exception as error:  # tracing runs the network's own code, which may fail in any way
        raise InputError(
            f"skip gradient: expected a network that torch.fx can trace, got {type(error).__name__}: {error}; "
            "use another attack on it"
        ) from error


def _ancestors(node: fx.Node) -> set[fx.Node]:
    found: set[fx.Node] = set()
    open_nodes = [node]
    while open_nodes:
        current = open_nodes.pop()
        if current not in found:
            found.add(current)
            open_nodes.extend(current.all_input_nodes)
    return found


def sgm(norm: str, *, keep: KeepRule, gamma: float = 0.5, **parameters: Any) -> SkipGradient:
    """Return MI with the skip gradient method (Wu et al., 2020) for a norm; only for residual networks.

    Args:
        norm: "linf", "l2" or "l1".
        keep: which iterate is returned.
        gamma: the factor of residual branches; not tuned here.
        parameters: of `mi`.

    Returns:
        A foolbox attack.

    Raises:
        UnknownName: the attack is not defined in this norm.
    """
    return SkipGradient(mi(norm, keep=keep, **parameters), gamma)
