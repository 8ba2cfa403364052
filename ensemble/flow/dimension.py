r"""Dimensions: of symmetries and their orbits, of minima, and the number of independent conservation laws.

A function is conserved for every loss and all data if it is constant along all gradient fields `grad <a, F(theta)>` of
the network's outputs, hence along every bracket of them. So the number of independent laws is the number of parameters
minus the dimension, at a generic point, of the Lie algebra that these fields generate (arXiv 2307.00144). Here it is
computed by numerical ranks of random nested brackets, in place of computer algebra. docs/mathematics.md, 11 and 12.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ensemble.activations import Activation
from ensemble.attention import attention_sites
from ensemble.errors import InputError
from ensemble.flow.generators import algebra_basis, algebra_dimension
from ensemble.flow.orthogonality import Function, Parameters
from ensemble.graph import trace
from ensemble.groups import Group
from ensemble.sites import CoupledSite, Site, survey

Field = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class LawCount:
    """How many independent conservation laws there are, and how it was found.

    Attributes:
        laws: parameters minus the dimension of the Lie algebra at the point.
        parameters: number of parameters.
        ranks: dimension spanned by brackets up to depth 0, 1, 2, ...; the last two agree.
    """

    laws: int
    parameters: int
    ranks: tuple[int, ...]


def count_laws(
    outputs: Function, parameters: Parameters, *, rng: torch.Generator, depth: int = 5, tolerance: float = 1e-9
) -> LawCount:
    """Return the number of independent functions that every gradient flow of these outputs conserves.

    Args:
        outputs: named parameters -> the outputs `[...]` that losses may depend on: those of all inputs that training
            may see. For "any data", those of more random inputs than there are parameters and, for piecewise linear
            networks, enough of them to meet every region of the inputs.
        parameters: a generic point, float64; a small network.
        rng: CPU generator of the random brackets.
        depth: largest depth of nested brackets.
        tolerance: relative singular value below which a direction does not count.

    Raises:
        InputError: the rank still grows at the largest depth.

    Complexity: about 4^depth gradients of the outputs per parameter.
    """
    shapes = {name: tensor.shape for name, tensor in parameters.items()}
    flat = torch.cat([tensor.detach().double().reshape(-1) for tensor in parameters.values()])
    values = outputs(parameters)
    samples = flat.numel() + 4

    def unpack(vector: Tensor) -> dict[str, Tensor]:
        parts = vector.split([shape.numel() for shape in shapes.values()])
        return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}

    def gradient_field(covectors: Tensor, vector: Tensor) -> Tensor:
        field: Tensor = torch.func.grad(lambda v: (outputs(unpack(v)) * covectors[0]).sum())(vector)
        return field

    # Scaled so that gradient fields are about as long as the parameters: then a bracket that is mere rounding is tiny.
    length = flat.norm()
    probes = torch.randn(samples, 1, *values.shape, dtype=torch.float64, generator=rng)
    unit = length / torch.func.vmap(gradient_field, in_dims=(0, None))(probes, flat).norm(dim=1).mean()
    field: Field = gradient_field
    found, ranks = torch.zeros(0, flat.numel(), dtype=torch.float64), [0]
    for level in range(depth + 1):
        draws = unit * torch.randn(samples, level + 1, *values.shape, dtype=torch.float64, generator=rng)
        vectors = torch.func.vmap(field, in_dims=(0, None))(draws, flat)
        sizes = vectors.norm(dim=1, keepdim=True)
        real = sizes[:, 0] > tolerance * length
        found = torch.cat([found, vectors[real] / sizes[real]])
        ranks.append(_rank(found, tolerance))
        if ranks[-1] == ranks[-2]:
            return LawCount(flat.numel() - ranks[-1], flat.numel(), tuple(ranks[1:]))
        field = _bracket(gradient_field, field)
    raise InputError(f"expected the rank to settle within depth {depth}, got {ranks[1:]}; allow more depth")


def linear_law_count(out: int, hidden: int, inp: int) -> int:
    """Return the number of laws of a two-layer linear network of full rank.

    h (h + 1)/2, the entries of U^T U - V V^T, while these are independent (arXiv 2307.00144). For h >= s = out + inp
    the gradient fields generate so(out, inp), which acts freely: s h - s (s - 1)/2 (derived here).
    """
    sides = out + inp
    return hidden * (hidden + 1) // 2 if hidden <= sides else sides * hidden - sides * (sides - 1) // 2


def linear_orbit_dimension(hidden: int, rank_lower: int, rank_upper: int) -> int:
    """Return h^2 - (h - rank V)(h - rank U): the orbit of GL(h) on a two-layer linear network."""
    return hidden**2 - (hidden - rank_lower) * (hidden - rank_upper)


def radial_orbit_dimension(hidden: int, spanned: int) -> int:
    """Return the dimension of the orbit of O(h), where im V + im U^T has dimension `spanned`."""
    left = hidden - spanned
    return hidden * (hidden - 1) // 2 - left * (left - 1) // 2


def orbit_dimension(U: Tensor, V: Tensor, activation: Activation, tolerance: float = 1e-9) -> int:
    """Return dim G - dim Stab at a point: the rank of M -> (-pi(M) of U, M V) over the algebra of the exact group.

    Args:
        U: `[out hidden]`.
        V: `[hidden inp]`.
        activation: a row.
        tolerance: relative singular value below which a direction does not count.
    """
    basis = algebra_basis(activation.group, V.shape[0]).to(U)
    if not len(basis):
        return 0
    alpha = 1.0 if activation.degree is None else activation.degree
    symmetric, rotating = (basis + basis.mT) / 2, (basis - basis.mT) / 2
    # GL belongs to the identity alone, whose degree is 1, so the split by symmetry is that of the output action.
    tangents = torch.cat([(U @ (alpha * symmetric + rotating)).flatten(1), (basis @ V).flatten(1)], dim=1)
    return _rank(tangents, tolerance)


def symmetry_dimension(network: nn.Module, example_input: Tensor) -> int:
    """Return the dimension of the exact symmetries of a network, over all its sites, streams and attention layers.

    Raises:
        InputError, TraceError: as for `find_sites`.
    """
    traced = trace(network, example_input)
    found = survey(traced)
    entries: list[Site | CoupledSite] = [*found.sites, *found.coupled]
    sites = [(entry.exact_group, entry.hidden) for entry in entries]
    attention: list[tuple[Group, int]] = [
        (site.group, site.heads * site.size) for site in attention_sites(network) for _ in range(2)
    ]
    return sum(algebra_dimension(group, hidden) for group, hidden in (*sites, *attention))


def minimum_dimension(outputs: Function, parameters: Parameters, tolerance: float = 1e-9) -> int:
    """Return the dimension of the set of parameters with the same outputs: parameters minus the Jacobian's rank.

    At an interpolating minimum of regular rank this is the dimension of the minimum. It is at least that of the orbit.

    Args:
        outputs: named parameters -> outputs on all training inputs.
        parameters: the minimum, float64.
        tolerance: relative singular value below which a direction does not count.
    """
    rows = torch.func.jacrev(outputs)({name: tensor.detach() for name, tensor in parameters.items()})
    count = outputs(parameters).numel()
    jacobian = torch.cat([row.reshape(count, -1) for row in rows.values()], dim=1)
    return jacobian.shape[1] - _rank(jacobian, tolerance)


def _bracket(left: Field, right: Field) -> Field:
    """Return [left, right] = D right . left - D left . right; `left` takes the first covector, `right` the others."""

    def field(covectors: Tensor, vector: Tensor) -> Tensor:
        first, second = covectors[:1], covectors[1:]
        return _along(lambda v: right(second, v), vector, left(first, vector)) - _along(
            lambda v: left(first, v), vector, right(second, vector)
        )

    return field


def _along(function: Callable[[Tensor], Tensor], vector: Tensor, direction: Tensor) -> Tensor:
    # Forward mode would do, but its first use loads torch.jit, which is deprecated and warns.
    pull = torch.func.vjp(function, vector)[1]
    push = torch.func.vjp(lambda covector: pull(covector)[0], torch.zeros_like(vector))[1]
    derivative: Tensor = push(direction)[0]
    return derivative


def _rank(rows: Tensor, tolerance: float) -> int:
    if not len(rows):
        return 0
    singular = torch.linalg.svdvals(rows)
    return int((singular > tolerance * singular[0].clamp_min(1e-300)).sum())
