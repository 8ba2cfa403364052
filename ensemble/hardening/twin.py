"""A trainable copy of a network with every BatchNorm folded into the layer before it, and its way back.

In evaluation mode a BatchNorm is an affine map of fixed statistics, so a layer and its BatchNorm are one affine map:
training that map's weight and bias leaves nothing out, and saves the BatchNorm's share of every pass (a fifth on a
CPU). The statistics themselves are never estimated again (docs/mathematics.md, section 7).
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.parametrize import is_parametrized

from ensemble.graph import TracedNetwork, trace
from ensemble.layers import LayerRef, fold, like_state_of, unfold

_FOLDED = (nn.Linear, nn.Conv1d, nn.Conv2d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True, slots=True, eq=False)
class FoldedTwin:
    """A copy of a network that computes the same function with fewer operations.

    Attributes:
        source: the network, untouched.
        network: the copy; its parameters are trained.
        pairs: layers that have swallowed their BatchNorm.
    """

    source: nn.Module
    network: nn.Module
    pairs: tuple[LayerRef, ...]

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Return name -> trainable tensor, each tensor once."""
        return {name: value for name, value in self.network.named_parameters() if value.is_floating_point()}

    def scales(self) -> dict[str, float]:
        """Return name -> root mean square of the weight of the parameter's layer: the unit its rate is given in."""
        own = self.parameters
        return {name: _rms(own.get(f"{name.rpartition('.')[0]}.weight", value)) for name, value in own.items()}

    def write(self, values: Mapping[str, Tensor]) -> None:
        """Put tensors in the place of the copy's parameters."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(values[name])

    def standalone(self) -> nn.Module:
        """Return a network of the source's class, in evaluation mode, that computes what the copy computes."""
        state = {name: value.clone() for name, value in self.source.state_dict().items()}
        trained = {name: value.detach() for name, value in self.network.named_parameters(remove_duplicate=False)}
        for ref in self.pairs:
            weight, bias = trained.pop(f"{ref.layer}.weight"), trained.pop(f"{ref.layer}.bias")
            state |= unfold(self.source, ref, weight, bias)
        state |= {name: value for name, value in trained.items() if name in state}
        network = copy.deepcopy(self.source).requires_grad_(False)
        rows = {name: value.contiguous().clone() for name, value in state.items()}
        network.load_state_dict(like_state_of(network, rows), strict=True)
        return network.eval()


def folded_twin(network: nn.Module, example_input: Tensor) -> FoldedTwin:
    """Return the trainable copy of a network.

    Args:
        network: in evaluation mode; it is neither changed nor moved.
        example_input: `[batch ...]`; one row is enough.

    Raises:
        TraceError: torch.fx cannot follow the forward.
        InputError: the network is not in evaluation mode, or not on the inputs' device and dtype.
    """
    traced = trace(copy.deepcopy(network), example_input)
    pairs = foldable(traced)
    for ref in pairs:
        folded = fold(traced.graph, ref)
        layer = traced.graph.get_submodule(ref.layer)
        assert isinstance(layer, _FOLDED)
        layer.weight = nn.Parameter(folded.weight.clone())
        layer.bias = None if folded.bias is None else nn.Parameter(folded.bias.clone())
        assert ref.norm is not None
        traced.graph.set_submodule(ref.norm, nn.Identity())
    traced.graph.requires_grad_(True)
    return FoldedTwin(network, traced.graph.eval(), pairs)


def foldable(traced: TracedNetwork) -> tuple[LayerRef, ...]:
    """Return the layers whose output is read by one BatchNorm with running statistics and by nothing else."""
    calls: dict[str, int] = {}
    for node in traced.nodes:
        if node.op == "call_module":
            calls[str(node.target)] = calls.get(str(node.target), 0) + 1
    pairs = []
    for node in traced.nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        layer, norm = str(before.target), str(node.target)
        if calls[layer] == calls[norm] == 1 and _fold_together(traced, layer, norm):
            pairs.append(LayerRef(layer, norm))
    return tuple(pairs)


def _fold_together(traced: TracedNetwork, layer: str, norm: str) -> bool:
    first, second = traced.graph.get_submodule(layer), traced.graph.get_submodule(norm)
    # A Linear on more than two axes is normalised over another axis than its units.
    plain = isinstance(first, _FOLDED) and not is_parametrized(first)
    if isinstance(first, nn.Linear):
        shapes = [shape for node in traced.nodes if str(node.target) == layer for shape in [traced.shapes[node.name]]]
        plain = plain and all(len(shape) == 2 for shape in shapes)
    tied = f"{layer}.weight" in traced.tied or f"{layer}.bias" in traced.tied
    return plain and not tied and isinstance(second, _NORMS) and second.running_mean is not None


def _rms(value: Tensor) -> float:
    # A tensor of zeros has no unit of its own.
    return float(value.detach().double().square().mean().sqrt()) or 1e-2
