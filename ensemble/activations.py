r"""One row per activation: its exact group, how the group acts on its output, its degree and antiderivative.

`sigma(g z) = pi(g) sigma(z)` holds for every `g` of the row's exact group, with `pi` the row's output action. A site
whose lower weight is multiplied by `g` and whose upper weight is multiplied by `pi(g)^-1` computes the same function.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ensemble.errors import UnknownName
from ensemble.groups import Group, GroupElement, PositiveMonomial


@dataclass(frozen=True, slots=True)
class Activation:
    """A row of the table.

    Attributes:
        name: as reports and recipes print it.
        group: the exact group on the hidden axis.
        output_action: pi, a matrix `[hidden hidden]` for an element of the group.
        degree: homogeneity degree alpha with sigma(c z) = c^alpha sigma(z) for c > 0; None where there is none.
        antiderivative: integral of sigma/sigma' from 0, elementwise; None where no elementary form is known.
        modules: module classes that compute it.
        functions: functions that compute it.
        methods: tensor methods that compute it.
    """

    name: str
    group: Group
    output_action: Callable[[GroupElement], Tensor]
    degree: float | None
    antiderivative: Callable[[Tensor], Tensor] | None
    modules: tuple[type[nn.Module], ...]
    functions: tuple[Callable[..., Tensor], ...]
    methods: tuple[str, ...]


def _same_matrix(element: GroupElement) -> Tensor:
    """Return pi(g) = g: for degree 1, a positive factor passes through unchanged."""
    return element.matrix


def _half_square(x: Tensor) -> Tensor:
    return x.square() / 2


RELU = Activation(
    name="relu",
    group=PositiveMonomial(),
    output_action=_same_matrix,
    degree=1.0,
    # 0/0 for x < 0: flow's per-unit form is used instead of an integral.
    antiderivative=None,
    modules=(nn.ReLU,),
    functions=(F.relu, torch.relu, F.relu_, torch.relu_),
    methods=("relu", "relu_"),
)

LEAKY_RELU = Activation(
    name="leaky_relu",
    group=PositiveMonomial(),
    output_action=_same_matrix,
    degree=1.0,
    antiderivative=_half_square,
    modules=(nn.LeakyReLU,),
    functions=(F.leaky_relu, F.leaky_relu_),
    methods=(),
)

TABLE: tuple[Activation, ...] = (RELU, LEAKY_RELU)

# Ways to write the sum of two tensors, as torch.fx records them: where a residual shortcut joins.
ADDITIONS: tuple[object, ...] = (operator.add, operator.iadd, torch.add, "add", "add_")


def activation(name_or_module: str | nn.Module) -> Activation:
    """Return the row of an activation, by its name or by a module that computes it.

    Raises:
        UnknownName: no row has that name or module class; the message lists the rows.

    Example:
        >>> activation("relu").degree
        1.0
        >>> activation(nn.LeakyReLU(0.1)).name
        'leaky_relu'
    """
    for row in TABLE:
        if isinstance(name_or_module, nn.Module):
            if type(name_or_module) in row.modules:
                return row
        elif row.name == name_or_module:
            return row
    wanted = type(name_or_module).__name__ if isinstance(name_or_module, nn.Module) else name_or_module
    raise UnknownName("activation", wanted, [row.name for row in TABLE])


def activation_of_node(node: fx.Node, graph: fx.GraphModule) -> Activation | None:
    """Return the row that a graph node computes, or None if it computes none."""
    for row in TABLE:
        if node.op == "call_module" and type(graph.get_submodule(str(node.target))) in row.modules:
            return row
        if node.op == "call_function" and node.target in row.functions:
            return row
        if node.op == "call_method" and node.target in row.methods:
            return row
    return None
