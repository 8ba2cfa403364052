r"""The conservation laws of any network: found through its sites, as values that are evaluated on its parameters.

Every law is a function of a mapping of named parameters, so the same law judges a network, a gradient, a step between
two networks, or a whole trajectory. Derived here from the exact groups of the sites: a group element multiplies a
writer's unit by `c^degree` and a reader's by `c^-degree`, which conserves

.. math:: Q_i = \tfrac12 \Big( \sum_{\text{readers}} d \lVert u_i \rVert^2
                - \sum_{\text{writers}} d (\lVert v_i \rVert^2 + b_i^2) \Big)

per hidden unit i. Where a BatchNorm follows the writer, its own weight and bias take the place of v and b: they are
what scales the units. docs/mathematics.md, section 12.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ensemble.attention import attention_sites
from ensemble.errors import InputError
from ensemble.flow.conserved import attention_quantities
from ensemble.flow.generators import separates_units, symmetric_projection
from ensemble.graph import TracedNetwork, trace
from ensemble.groups import Group
from ensemble.layers import FoldedLayer, LayerRef
from ensemble.sites import CoupledSite, Part, Role, Site, survey
from ensemble.sites.refusals import LayerChecks, is_layer

Parameters = Mapping[str, Tensor]

ANY_DATA = "any data, any loss"
BATCH_STATISTICS = "training mode: the BatchNorm uses the statistics of the batch"
ORTHONORMAL_INPUTS = "training inputs x with x x^T = 1"


class Law(Protocol):
    """One family of conserved quantities of a network."""

    @property
    def name(self) -> str:
        """Return where in the network it holds."""
        ...

    @property
    def condition(self) -> str:
        """Return on what it depends, beside gradient flow of all its parameters."""
        ...

    @property
    def quadratic(self) -> bool:
        """Return whether it is a quadratic form, so that one gradient step adds exactly its value on the step."""
        ...

    @property
    def parameters(self) -> tuple[str, ...]:
        """Return the names of the parameters it reads."""
        ...

    def quantity(self, parameters: Parameters) -> Tensor:
        """Return the conserved values, one per unit or one matrix per head."""
        ...

    def size(self, parameters: Parameters) -> Tensor:
        """Return the squared norms over 2 that the values are differences of: what a drift is compared with."""
        ...


@dataclass(frozen=True, slots=True)
class Term:
    """One parameter that a group element multiplies.

    Attributes:
        parameter: its name in the state dictionary.
        role: units on the first axis (writer) or on the second (reader).
        weight: its sign and degree: +degree for readers, -degree for writers.
        groups: channel groups of a reader.
    """

    parameter: str
    role: Role
    weight: float
    groups: int = 1

    def rows(self, tensor: Tensor, hidden: int) -> Tensor:
        """Return the parameter with its hidden units first, `[hidden ...]` flattened."""
        if self.role is not Role.READER:
            return tensor.reshape(hidden, -1)
        return tensor.reshape(self.groups, tensor.shape[0] // self.groups, hidden // self.groups, -1).transpose(
            1, 2
        ).reshape(hidden, -1)  # fmt: skip

    def scaled(self, tensor: Tensor, factors: Tensor) -> Tensor:
        """Return the parameter after every unit i was multiplied by `factors[i]` on the writers' side."""
        powers = factors.to(tensor) ** -self.weight
        if self.role is not Role.READER:
            return tensor * powers.reshape(-1, *[1] * (tensor.ndim - 1))
        split = tensor.reshape(self.groups, tensor.shape[0] // self.groups, len(factors) // self.groups, -1)
        return (split * powers.reshape(self.groups, 1, -1, 1)).reshape(tensor.shape)


@dataclass(frozen=True, slots=True)
class ScalingLaw:
    """One quantity per hidden unit, from the scalings of units that change no output.

    Attributes:
        name: the site's name.
        hidden: number of units.
        terms: every parameter that a scaling multiplies.
        condition: what it depends on.
    """

    name: str
    hidden: int
    terms: tuple[Term, ...]
    condition: str = ANY_DATA
    quadratic: bool = True

    @property
    def parameters(self) -> tuple[str, ...]:
        """Return the names of the terms' parameters."""
        return tuple(term.parameter for term in self.terms)

    def quantity(self, parameters: Parameters) -> Tensor:
        """Return Q of every hidden unit `[hidden]`."""
        return _weighted([term.weight for term in self.terms], self.energies(parameters))

    def size(self, parameters: Parameters) -> Tensor:
        """Return half the weighted squared norms of every hidden unit `[hidden]`."""
        return _weighted([abs(term.weight) for term in self.terms], self.energies(parameters))

    def energies(self, parameters: Parameters) -> Tensor:
        """Return the squared norm of every unit in every term `[terms hidden]`."""
        return torch.stack([term.rows(parameters[term.parameter], self.hidden).square().sum(1) for term in self.terms])


@dataclass(frozen=True, slots=True)
class MatrixLaw:
    """A matrix of quantities where units may be mixed: layers with no activation between them.

    Attributes:
        name: the site's name.
        hidden: number of units.
        terms: every parameter that a group element multiplies.
        group: the exact group; the matrix is projected on its symmetric generators.
        condition: what it depends on.
    """

    name: str
    hidden: int
    terms: tuple[Term, ...]
    group: Group
    condition: str = ANY_DATA
    quadratic: bool = True

    @property
    def parameters(self) -> tuple[str, ...]:
        """Return the names of the terms' parameters."""
        return tuple(term.parameter for term in self.terms)

    @property
    def units(self) -> ScalingLaw:
        """Return the diagonal: the law of every unit alone."""
        return ScalingLaw(self.name, self.hidden, self.terms, self.condition)

    def quantity(self, parameters: Parameters) -> Tensor:
        """Return 1/2 (U^T U - V V^T - b b^T) `[hidden hidden]`."""
        matrix = torch.stack([term.weight / 2 * self._gram(term, parameters) for term in self.terms]).sum(0)
        return symmetric_projection(self.group, matrix)

    def size(self, parameters: Parameters) -> Tensor:
        """Return the geometric means of the units' sizes `[hidden hidden]`."""
        sizes = self.units.size(parameters)
        return torch.outer(sizes, sizes).sqrt()

    def _gram(self, term: Term, parameters: Parameters) -> Tensor:
        rows = term.rows(parameters[term.parameter], self.hidden)
        return rows @ rows.T


@dataclass(frozen=True, slots=True)
class NormLaw:
    """Half the squared norm of every unit's weights, where a BatchNorm makes their length irrelevant.

    Attributes:
        name: the layer and what normalises it.
        parameter: the weight, units first.
        condition: what it depends on.
    """

    name: str
    parameter: str
    condition: str
    quadratic: bool = True

    @property
    def parameters(self) -> tuple[str, ...]:
        """Return the weight's name."""
        return (self.parameter,)

    def quantity(self, parameters: Parameters) -> Tensor:
        """Return 1/2 |w_i|^2 `[units]`."""
        return parameters[self.parameter].flatten(1).square().sum(1) / 2

    def size(self, parameters: Parameters) -> Tensor:
        """Return the same: nothing is subtracted."""
        return self.quantity(parameters)


@dataclass(frozen=True, slots=True)
class AttentionLaw:
    """Two symmetric matrices per head of an attention layer: queries against keys, output against values.

    Attributes:
        name: the layer.
        module: its prefix in the state dictionary, with the dot.
        heads: number of heads.
        parameters: names of its parameters: one packed input weight or three, then the output weight, then the bias.
        condition: what it depends on.
    """

    name: str
    module: str
    heads: int
    parameters: tuple[str, ...]
    condition: str = ANY_DATA
    quadratic: bool = True

    def quantity(self, parameters: Parameters) -> Tensor:
        """Return `[2 heads size size]`."""
        return torch.stack(attention_quantities(*self._projections(parameters), self.heads))

    def size(self, parameters: Parameters) -> Tensor:
        """Return the mean squared norm over 2 of a head's four projections `[]`."""
        return torch.stack([part.square().sum() for part in self._projections(parameters)]).mean() / (2 * self.heads)

    def _projections(self, parameters: Parameters) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        *inputs, output = (parameters[name] for name in self.parameters if not name.endswith("in_proj_bias"))
        parts = list(inputs[0].chunk(3)) if len(inputs) == 1 else inputs
        bias = f"{self.module}in_proj_bias"
        if bias in self.parameters:
            parts = [
                torch.cat([part, column[:, None]], dim=1)
                for part, column in zip(parts, parameters[bias].chunk(3), strict=True)
            ]
        return parts[0], parts[1], parts[2], output


@dataclass(frozen=True, slots=True, eq=False)
class ElementwiseLaw:
    """One quantity per hidden unit of a first layer without a degree (tanh, sigmoid), for orthonormal inputs only.

    Attributes:
        name: the site's name.
        lower: name of the lower weight.
        bias: name of the lower bias, which must not be trained, or None.
        upper: the upper weight.
        hidden: number of units.
        integral: antiderivative of sigma/sigma'.
        inputs: the training inputs `[batch inp]`.
        condition: what it depends on.
    """

    name: str
    lower: str
    bias: str | None
    upper: Term
    hidden: int
    integral: Callable[[Tensor], Tensor]
    inputs: Tensor
    condition: str = ORTHONORMAL_INPUTS
    quadratic: bool = False

    @property
    def parameters(self) -> tuple[str, ...]:
        """Return the names of the two weights."""
        return (self.lower, self.upper.parameter)

    def quantity(self, parameters: Parameters) -> Tensor:
        """Return Q of every hidden unit `[hidden]`."""
        return self._upper(parameters) - self._lower(parameters).sum(1)

    def size(self, parameters: Parameters) -> Tensor:
        """Return the sum in place of the difference `[hidden]`."""
        return self._upper(parameters) + self._lower(parameters).abs().sum(1)

    def _upper(self, parameters: Parameters) -> Tensor:
        return self.upper.rows(parameters[self.upper.parameter], self.hidden).square().sum(1) / 2

    def _lower(self, parameters: Parameters) -> Tensor:
        z = parameters[self.lower] @ self.inputs.T.to(parameters[self.lower])
        return self.integral(z if self.bias is None else z + parameters[self.bias][:, None])


def laws(network: nn.Module, example_input: Tensor) -> tuple[Law, ...]:
    """Return the conservation laws of a network under gradient flow, in the order of its layers.

    Args:
        network: any network that `find_sites` can trace, in either mode; it is not changed.
        example_input: `[batch ...]`; one row is enough for laws that hold for any data. Where these are all training
            inputs and x x^T = 1, the laws of tanh and sigmoid are found, too.

    Raises:
        InputError: the network has no law that is known here.
        TraceError: torch.fx cannot follow the forward.

    Example:
        >>> mlp = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> [(law.name, law.condition) for law in laws(mlp, torch.zeros(1, 4))]
        [('0 -> 2', 'any data, any loss')]
    """
    traced = trace(copy.deepcopy(network).eval(), example_input)
    found = (*_site_laws(traced, example_input), *_norm_laws(traced), *_attention_laws(traced.graph))
    if not found:
        raise InputError(
            f"{type(network).__name__}: expected a homogeneous activation, a BatchNorm, attention, or a first layer "
            "with orthonormal inputs, got none; nothing that is known here is conserved"
        )
    return found


def coordinates(network: nn.Module, example_input: Tensor) -> dict[str, Tensor]:
    """Return Q of every hidden unit `[hidden]`, per site: where the network lies in its valley.

    Raises:
        InputError, TraceError: as `laws`.
    """
    parameters = _detached(network)
    return {law.name: law.quantity(parameters) for law in unit_laws(network, example_input)}


def site_quantity(site: Site, lower: FoldedLayer, upper: FoldedLayer) -> float | None:
    """Return Q of a site's two layers, BatchNorm folded in, summed over units; None where units cannot be scaled.

    A depthwise layer's bias between the two is left out: generation leaves it as it is.

    Args:
        site: the site.
        lower: its lower layer.
        upper: its upper layer.
    """
    if not separates_units(site.exact_group):
        return None
    terms = [Term("V", Role.WRITER, -1.0), Term("U", Role.READER, site.upper_degree, upper.groups)]
    values = {"V": lower.weight.double(), "U": upper.weight.double()}
    if lower.bias is not None:
        terms.append(Term("b", Role.WRITER, -1.0))
        values["b"] = lower.bias.double()
    return float(ScalingLaw(site.name, site.hidden, tuple(terms)).quantity(values).sum())


def unit_laws(network: nn.Module, example_input: Tensor) -> tuple[ScalingLaw, ...]:
    """Return the laws of single hidden units for any data: the directions in which a network can be rebalanced."""
    found = laws(network, example_input)
    return tuple(
        law.units if isinstance(law, MatrixLaw) else law for law in found if isinstance(law, ScalingLaw | MatrixLaw)
    )


def _detached(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


def _site_laws(traced: TracedNetwork, inputs: Tensor) -> Iterator[Law]:
    found = survey(traced)
    entries: list[Site | CoupledSite] = [*found.sites, *found.coupled]
    order = {node.target: index for index, node in enumerate(traced.nodes) if node.op == "call_module"}
    for entry in sorted(entries, key=lambda entry: order[entry.parts[0].ref.layer]):
        law = _scaling_law(entry, traced.graph) if separates_units(entry.exact_group) else None
        if law is None and isinstance(entry, Site):
            law = _elementwise_law(entry, traced, inputs)
        if law is not None:
            yield law


def _scaling_law(entry: Site | CoupledSite, network: nn.Module) -> Law | None:
    terms: list[Term] = []
    for part in entry.parts:
        own = _TERMS[part.role](part, network)
        if own is None:
            return None
        terms.extend(term for term in own if term.weight)
    normed = any(part.role is Role.WRITER and part.ref.norm is not None for part in entry.parts)
    if _mixes_units(entry) and not normed:  # gamma scales units; no trained parameter mixes them
        return MatrixLaw(entry.name, entry.hidden, tuple(terms), entry.exact_group)
    return ScalingLaw(entry.name, entry.hidden, tuple(terms))


def _weighted(weights: list[float], energies: Tensor) -> Tensor:
    return torch.as_tensor(weights, dtype=energies.dtype, device=energies.device) @ energies / 2


def _mixes_units(entry: Site | CoupledSite) -> bool:
    probe = torch.ones(entry.hidden, entry.hidden, dtype=torch.float64)
    return int(torch.count_nonzero(symmetric_projection(entry.exact_group, probe))) > entry.hidden


def _writer_terms(part: Part, network: nn.Module) -> list[Term] | None:
    """Return the terms of what scales a writer's units: its BatchNorm where there is one, else the layer itself."""
    name = part.ref.layer if part.ref.norm is None else part.ref.norm
    if network.get_submodule(name).weight is None:
        return None  # a BatchNorm without gamma and beta: nothing that is trained scales the units
    return [Term(key, Role.WRITER, -part.degree) for key in _named(name, network, ("weight", "bias"))]


def _reader_terms(part: Part, network: nn.Module) -> list[Term] | None:
    layer = network.get_submodule(part.ref.layer)
    groups = getattr(layer, "groups", 1)
    assert isinstance(groups, int)
    return [Term(f"{part.ref.layer}.weight", Role.READER, part.degree, groups)]


def _rider_terms(part: Part, network: nn.Module) -> list[Term] | None:
    """Return the bias of a depthwise layer; under a BatchNorm no trained parameter follows a scaling."""
    if part.ref.norm is not None:
        return None
    return [Term(key, Role.WRITER, -part.degree) for key in _named(part.ref.layer, network, ("bias",))]


_TERMS: Mapping[Role, Callable[[Part, nn.Module], list[Term] | None]] = {
    Role.WRITER: _writer_terms,
    Role.READER: _reader_terms,
    Role.RIDER: _rider_terms,
}


def _named(module: str, network: nn.Module, keys: tuple[str, ...]) -> list[str]:
    owner = network.get_submodule(module)
    return [f"{module}.{key}" for key in keys if getattr(owner, key, None) is not None]


def _elementwise_law(site: Site, traced: TracedNetwork, inputs: Tensor) -> Law | None:
    row, lower = site.activation, traced.graph.get_submodule(site.lower.layer)
    first = site.lower.norm is None and site.lower_input == traced.input.name and isinstance(lower, nn.Linear)
    direct = traced.node(site.upper_input).all_input_nodes[0].name == site.preactivation
    if row.degree is not None or row.antiderivative is None or not first or not direct or not _orthonormal(inputs):
        return None
    bias = None if lower.bias is None else f"{site.lower.layer}.bias"
    if bias is not None and traced.graph.get_parameter(bias).requires_grad:
        return None  # a trained bias moves all samples of a unit together
    upper = Term(f"{site.upper.layer}.weight", Role.READER, 1.0)
    return ElementwiseLaw(
        site.name, f"{site.lower.layer}.weight", bias, upper, site.hidden, row.antiderivative, inputs.detach()
    )


def _orthonormal(inputs: Tensor, tolerance: float = 1e-6) -> bool:
    if inputs.ndim != 2 or inputs.shape[0] > inputs.shape[1]:
        return False
    eye = torch.eye(inputs.shape[0], dtype=inputs.dtype, device=inputs.device)
    return bool((inputs @ inputs.T - eye).abs().max() < tolerance)


def _norm_laws(traced: TracedNetwork) -> Iterator[Law]:
    checks = LayerChecks(traced)
    for node in traced.nodes:
        if node.op == "call_module" and is_layer(traced.graph.get_submodule(str(node.target))):
            ref = checks.ref(node)
            if ref.norm is not None and checks.refusal(node) is None:
                yield _norm_law(ref)


def _norm_law(ref: LayerRef) -> Law:
    return NormLaw(f"{ref.layer} under {ref.norm}", f"{ref.layer}.weight", BATCH_STATISTICS)


def _attention_laws(network: nn.Module) -> Iterator[Law]:
    for site in attention_sites(network):
        keys = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight", "in_proj_bias")
        known = dict(network.get_submodule(site.name).named_parameters())
        names = tuple(f"{site.name}.{key}" for key in keys if key in known)
        yield AttentionLaw(site.name, f"{site.name}.", site.heads, names)
