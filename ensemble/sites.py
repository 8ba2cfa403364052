"""The places where a group element can act: lower layer [+ BatchNorm], activation, [pool, flatten], upper layer.

A site is data: module and node names of one traced network. Finding sites changes nothing.
"""

import operator
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from ensemble.activations import TABLE, Activation, activation_of_node
from ensemble.errors import NoSiteError
from ensemble.graph import TracedNetwork, trace
from ensemble.layers import LayerRef

# What may stand between the activation and the upper layer: it must treat hidden channels alike and separately.
_PASSING_MODULES = (
    nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity, nn.Flatten,
)  # fmt: skip
_PASSING_FUNCTIONS = (
    F.max_pool1d, F.max_pool2d, F.avg_pool1d, F.avg_pool2d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d,
    F.adaptive_max_pool2d, F.dropout, F.dropout2d, torch.flatten, torch.max_pool2d, torch.dropout,
)  # fmt: skip
_PASSING_METHODS = ("flatten", "contiguous")
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
# Ways to write the sum of two tensors, as torch.fx records them: where a residual shortcut joins.
_ADDITIONS = (operator.add, torch.add, "add")
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True, slots=True)
class Site:
    """One place where a group element acts on `hidden` units.

    Attributes:
        lower: the layer whose output units are mixed.
        upper: the layer whose weights are refitted.
        activation: the table row between them.
        hidden: number of hidden units, the size of the group element.
        channel_axis: axis of the hidden units in the pre-activation (1 for convolutions, -1 for Linear).
        regressors: inputs of the upper layer per output unit, the size of the refit.
        affine: whether the upper layer can store a bias, so the refit may have a constant term.
        lower_input: graph node that the lower layer reads.
        preactivation: graph node that the activation reads.
        upper_input: graph node that the upper layer reads.
        upper_output: graph node that holds the folded upper layer's output.
        addition: graph node where a shortcut joins the upper output, or None.
        shortcut: graph node of that shortcut, or None.
    """

    lower: LayerRef
    upper: LayerRef
    activation: Activation
    hidden: int
    channel_axis: int
    regressors: int
    affine: bool
    lower_input: str
    preactivation: str
    upper_input: str
    upper_output: str
    addition: str | None
    shortcut: str | None

    @property
    def name(self) -> str:
        """Return the site's name in reports: lower layer, arrow, upper layer."""
        return f"{self.lower} -> {self.upper}"


@dataclass(frozen=True, slots=True)
class RefusedSite:
    """A layer that looks like a site but must not be acted on, and why."""

    layer: str
    reason: str


def find_sites(network: nn.Module, example_input: Tensor) -> list[Site]:
    """Return the network's sites in the order in which they run.

    Args:
        network: a classifier in evaluation mode.
        example_input: `[batch ...]`, one row is enough.

    Raises:
        InputError: training mode, NaN weights, mixed devices or dtypes.
        TraceError: torch.fx cannot follow the forward.
        NoSiteError: no place where a group element can act; the message lists what was refused and why.

    Example:
        >>> mlp = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
        >>> [site.name for site in find_sites(mlp, torch.zeros(1, 4))]
        ['0 -> 2']
    """
    traced = trace(network, example_input)
    return sites_of(traced)


def sites_of(traced: TracedNetwork) -> list[Site]:
    """Return the sites of a traced network; see `find_sites`."""
    found = list(_scan(traced))
    sites = [entry for entry in found if isinstance(entry, Site)]
    if not sites:
        refused = [f"{entry.layer}: {entry.reason}" for entry in found if isinstance(entry, RefusedSite)]
        listed = "; ".join(refused) if refused else "no Linear or Conv layer is followed by a known activation"
        raise NoSiteError(
            f"{type(traced.graph).__name__}: expected at least one lower layer - activation - upper layer, got none "
            f"({listed}); known activations: {', '.join(row.name for row in TABLE)}"
        )
    return sites


def refused_sites(traced: TracedNetwork) -> list[RefusedSite]:
    """Return the layers that were considered and refused, with reasons."""
    return [entry for entry in _scan(traced) if isinstance(entry, RefusedSite)]


def _scan(traced: TracedNetwork) -> Iterator[Site | RefusedSite]:
    calls = Counter(str(node.target) for node in traced.nodes if node.op == "call_module")
    shared = _shared_parameters(traced)
    for node in traced.nodes:
        if node.op == "call_module" and isinstance(traced.graph.get_submodule(str(node.target)), _LAYERS):
            entry = _site_at(node, traced, calls, shared)
            if entry is not None:
                yield entry


def _site_at(
    lower_node: fx.Node, traced: TracedNetwork, calls: Counter[str], shared: frozenset[str]
) -> Site | RefusedSite | None:
    lower, preactivation = _with_norm(lower_node, traced)
    activation_node = _only_user(preactivation)
    if activation_node is None:
        return None
    row = activation_of_node(activation_node, traced.graph)
    if row is None:
        return None
    upper_node = _follow(activation_node, traced)
    if isinstance(upper_node, str):
        return RefusedSite(lower.layer, upper_node)
    upper, output = _with_norm(upper_node, traced)
    for ref in (lower, upper):
        reason = _refusal(ref, traced, calls, shared)
        if reason:
            return RefusedSite(ref.layer, reason)
    upper_module = traced.graph.get_submodule(upper.layer)
    assert isinstance(upper_module, _LAYERS)
    hidden, axis = _hidden(traced, lower)
    addition, shortcut = _addition(output, traced)
    return Site(
        lower=lower,
        upper=upper,
        activation=row,
        hidden=hidden,
        channel_axis=axis,
        regressors=upper_module.weight[0].numel(),
        affine=upper.norm is not None or upper_module.bias is not None,
        lower_input=lower_node.all_input_nodes[0].name,
        preactivation=preactivation.name,
        upper_input=upper_node.all_input_nodes[0].name,
        upper_output=output.name,
        addition=addition,
        shortcut=shortcut,
    )


def _hidden(traced: TracedNetwork, lower: LayerRef) -> tuple[int, int]:
    module = traced.graph.get_submodule(lower.layer)
    assert isinstance(module, _LAYERS)
    return module.weight.shape[0], -1 if isinstance(module, nn.Linear) else 1


def _with_norm(layer: fx.Node, traced: TracedNetwork) -> tuple[LayerRef, fx.Node]:
    """Return the layer with the BatchNorm that alone reads it, and the node that holds their common output."""
    reader = _only_user(layer)
    if reader is not None and reader.op == "call_module":
        module = traced.graph.get_submodule(str(reader.target))
        if isinstance(module, _NORMS):
            return LayerRef(str(layer.target), str(reader.target)), reader
    return LayerRef(str(layer.target), None), layer


def _follow(activation_node: fx.Node, traced: TracedNetwork) -> fx.Node | str:
    """Return the upper layer's node, or the reason why none can be reached."""
    node = activation_node
    while True:
        reader = _only_user(node)
        if reader is None:
            return (
                f"the output of {node.name} is read by {len(node.users)} places; a group element needs a single reader"
            )
        if reader.op == "call_module":
            module = traced.graph.get_submodule(str(reader.target))
            if isinstance(module, _LAYERS):
                return reader
            passing = isinstance(module, _PASSING_MODULES)
        else:
            table = _PASSING_METHODS if reader.op == "call_method" else _PASSING_FUNCTIONS
            passing = reader.target in table
        if not passing:
            return f"{reader.name} stands between the activation and the next layer and mixes or joins hidden units"
        node = reader


def _addition(output: fx.Node, traced: TracedNetwork) -> tuple[str | None, str | None]:
    """Return the residual addition that alone reads `output` and the other summand, or two Nones."""
    reader = _only_user(output)
    if reader is None or reader.target not in _ADDITIONS or len(reader.all_input_nodes) != 2 or reader.kwargs:
        return None, None
    other = next(node for node in reader.all_input_nodes if node is not output)
    # A broadcast summand (a learned bias, say) is no shortcut of the block.
    if traced.shapes.get(other.name) != traced.shapes.get(output.name):
        return None, None
    return reader.name, other.name


def _refusal(ref: LayerRef, traced: TracedNetwork, calls: Counter[str], shared: frozenset[str]) -> str | None:
    names = [ref.layer] if ref.norm is None else [ref.layer, ref.norm]
    for name in names:
        module = traced.graph.get_submodule(name)
        if calls[name] > 1:
            return f"{name} is called {calls[name]} times; a group element would act on every call"
        if parametrize.is_parametrized(module) or any("_g" in key or "_v" in key for key in module._parameters):
            return f"{name} is parametrised (weight or spectral norm); remove the parametrisation first"
        if any(f"{name}.{key}" in shared for key, _ in module.named_parameters(recurse=False)):
            return f"{name} shares a parameter with another module (tied weights)"
        if isinstance(module, _NORMS) and module.running_mean is None:
            return f"{name} keeps no running statistics"
        if getattr(module, "groups", 1) != 1:
            return f"{name} is a grouped convolution: channels of different groups cannot be mixed"
    return None


def _shared_parameters(traced: TracedNetwork) -> frozenset[str]:
    """Return the names of parameters that are one tensor under several names."""
    by_identity: dict[int, list[str]] = {}
    for name, parameter in traced.graph.named_parameters(remove_duplicate=False):
        by_identity.setdefault(id(parameter), []).append(name)
    return frozenset(name for names in by_identity.values() if len(names) > 1 for name in names)


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None
