"""The conservation laws of any network, found through its sites, its BatchNorms and its attention layers."""

import copy
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from ensemble.attention import attention_sites
from ensemble.errors import InputError
from ensemble.flow.generators import separates_units, symmetric_projection
from ensemble.flow.law import BATCH_STATISTICS, Law
from ensemble.flow.layer_laws import AttentionLaw, ElementwiseLaw, NormLaw
from ensemble.flow.scaling import MatrixLaw, ScalingLaw, Term
from ensemble.graph import TracedNetwork, trace
from ensemble.layers import LayerRef
from ensemble.sites import CoupledSite, Part, Role, Site, survey
from ensemble.sites.refusals import LayerChecks, is_layer


def laws(network: nn.Module, example_input: Tensor) -> tuple[Law, ...]:
    """Return the conservation laws of a network under gradient flow, in the order of its layers.

    Args:
        network: any network that `find_sites` can trace, in either mode; it is not changed.
        example_input: `[batch ...]`; one row is enough for laws that hold for any data. Where these are all training
            inputs and x x^T = 1, the laws of tanh and sigmoid are found, too.

    Raises:
        InputError: the network has no law that is known here.
        TraceError: torch.fx cannot follow the forward.

    Examples:
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


def unit_laws(network: nn.Module, example_input: Tensor) -> tuple[ScalingLaw, ...]:
    """Return the laws of single hidden units for any data: the directions in which a network can be rebalanced."""
    found = laws(network, example_input)
    return tuple(
        law.units if isinstance(law, MatrixLaw) else law for law in found if isinstance(law, ScalingLaw | MatrixLaw)
    )


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
