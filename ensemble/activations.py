r"""One row per activation: its exact group, how the group acts on its output, its degree and antiderivative.

`sigma(g z) = pi(g) sigma(z)` holds for every `g` of the row's exact group, with `pi` the row's output action. A site
whose lower weight is multiplied by `g` and whose upper weight is multiplied by `pi(g)^-1` computes the same function.
The groups are those of docs/mathematics.md, section 2; where completeness is not proven there, a row's group is a
subgroup that is known to be exact.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ensemble.errors import UnknownName
from ensemble.groups import (
    GeneralLinear,
    Group,
    GroupElement,
    NonzeroScaling,
    Orthogonal,
    Permutation,
    PositiveScaling,
    Product,
    SignedPermutation,
)


@dataclass(frozen=True, slots=True)
class Activation:
    """A row of the table.

    Attributes:
        name: as reports and recipes print it.
        function: sigma with its default parameters, elementwise (or along the last axis for radial rows).
        group: the exact group on the hidden axis.
        degree: homogeneity degree alpha with sigma(c z) = c^alpha sigma(z) for c > 0; None where there is none.
        antiderivative: integral of sigma/sigma' from 0, elementwise; None where no elementary form is known.
        modules: module classes that compute it.
        functions: functions that compute it.
        methods: tensor methods that compute it.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    group: Group
    degree: float | None = None
    antiderivative: Callable[[Tensor], Tensor] | None = None
    modules: tuple[type[nn.Module], ...] = ()
    functions: tuple[Callable[..., Tensor], ...] = ()
    methods: tuple[str, ...] = ()

    def output_action(self, element: GroupElement) -> Tensor:
        """Return pi `[hidden hidden]` with sigma(g z) = pi sigma(z), for an element g of the row's group.

        Entries are raised to the degree; without a degree, and for matrices that mix units, pi is g itself.
        """
        if self.degree is None or self.degree == 1:
            return element.matrix
        return _entrywise_power(element.matrix, self.degree)


class RadialRescaling(nn.Module):
    """v -> tanh(|v|)/|v| v over the last axis: commutes with every rotation of the hidden units."""

    def forward(self, z: Tensor) -> Tensor:
        """Return the rescaled vectors `[... hidden]`."""
        return radial_rescaling(z)


def radial_rescaling(z: Tensor) -> Tensor:
    """Return tanh(|v|)/|v| v for vectors `[... hidden]`; 0 stays 0."""
    norm: Tensor = z.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(z.dtype).tiny)
    return z * (torch.tanh(norm) / norm)


def _entrywise_power(matrix: Tensor, degree: float) -> Tensor:
    nonzero = matrix != 0
    raised = torch.where(nonzero, matrix, torch.ones_like(matrix)) ** degree
    return torch.where(nonzero, raised, torch.zeros_like(matrix))


def _half_square(x: Tensor) -> Tensor:
    return x.square() / 2


def _leaky_relu(z: Tensor) -> Tensor:
    return F.leaky_relu(z, 0.01)


_MONOMIAL = Product(Permutation(), PositiveScaling())

IDENTITY = Activation(
    "identity", lambda z: z, GeneralLinear(), degree=1.0, antiderivative=_half_square, modules=(nn.Identity,)
)
# sigma/sigma' is 0/0 for x < 0, so ReLU has no antiderivative: gradient flow uses its per-unit form instead.
RELU = Activation(
    "relu", F.relu, _MONOMIAL, degree=1.0,
    modules=(nn.ReLU,), functions=(F.relu, torch.relu, F.relu_, torch.relu_), methods=("relu", "relu_"),
)  # fmt: skip
LEAKY_RELU = Activation(
    "leaky_relu", _leaky_relu, _MONOMIAL, degree=1.0, antiderivative=_half_square,
    modules=(nn.LeakyReLU,), functions=(F.leaky_relu, F.leaky_relu_),
)  # fmt: skip
# Its slopes may differ between units, so relabelling is left out.
PRELU = Activation(
    "prelu", _leaky_relu, PositiveScaling(), degree=1.0, antiderivative=_half_square, modules=(nn.PReLU,)
)
SQUARE = Activation(
    "square", torch.square, Product(Permutation(), NonzeroScaling()), degree=2.0,
    antiderivative=lambda x: x.square() / 4, functions=(torch.square,), methods=("square",),
)  # fmt: skip
TANH = Activation(
    "tanh", torch.tanh, SignedPermutation(), antiderivative=lambda x: torch.sinh(x).square() / 2,
    modules=(nn.Tanh,), functions=(torch.tanh, F.tanh), methods=("tanh",),
)  # fmt: skip
# On (-pi/2, pi/2), where the cosine does not vanish.
SIN = Activation(
    "sin", torch.sin, SignedPermutation(), antiderivative=lambda x: -torch.log(torch.cos(x)),
    functions=(torch.sin,), methods=("sin",),
)  # fmt: skip
SIGMOID = Activation(
    "sigmoid", torch.sigmoid, Permutation(), antiderivative=lambda x: x + torch.exp(x) - 1,
    modules=(nn.Sigmoid,), functions=(torch.sigmoid, F.sigmoid), methods=("sigmoid",),
)  # fmt: skip
SOFTPLUS = Activation("softplus", F.softplus, Permutation(), modules=(nn.Softplus,), functions=(F.softplus,))
GELU = Activation("gelu", F.gelu, Permutation(), modules=(nn.GELU,), functions=(F.gelu,))
SILU = Activation("silu", F.silu, Permutation(), modules=(nn.SiLU,), functions=(F.silu,))
RELU6 = Activation("relu6", F.relu6, Permutation(), modules=(nn.ReLU6,), functions=(F.relu6,))
HARDSWISH = Activation("hardswish", F.hardswish, Permutation(), modules=(nn.Hardswish,), functions=(F.hardswish,))
RADIAL = Activation("radial", radial_rescaling, Orthogonal(), modules=(RadialRescaling,))

TABLE: tuple[Activation, ...] = (
    RELU, LEAKY_RELU, PRELU, SQUARE, TANH, SIN, SIGMOID, SOFTPLUS, GELU, SILU, RELU6, HARDSWISH, RADIAL, IDENTITY,
)  # fmt: skip


def power(exponent: int) -> Activation:
    """Return the row of z^d: permutations and non-zero scalings, degree d, antiderivative x²/(2d).

    Args:
        exponent: d >= 1.
    """
    return Activation(
        name=f"power {exponent}",
        function=lambda z: z**exponent,
        group=Product(Permutation(), NonzeroScaling()),
        degree=float(exponent),
        antiderivative=lambda x: x.square() / (2 * exponent),
    )


def activation(name_or_module: str | nn.Module) -> Activation:
    """Return the row of an activation, by its name or by a module that computes it.

    Raises:
        UnknownName: no row has that name or module class; the message lists the rows.

    Examples:
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
    """Return the row that a graph node computes, or None if it computes none.

    The identity is not an activation of a site: two layers with nothing between them are one linear map.
    """
    for row in TABLE:
        if row is IDENTITY:
            continue
        if node.op == "call_module" and type(graph.get_submodule(str(node.target))) in row.modules:
            return row
        if node.op == "call_function" and node.target in row.functions:
            return row
        if node.op == "call_method" and node.target in row.methods:
            return row
    return None
