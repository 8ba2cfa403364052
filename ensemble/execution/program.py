"""What all plans share: the nodes that run once, the nodes that run per member, and the members' layers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, fx

from ensemble.graph import Override, TracedNetwork
from ensemble.layers import FoldedLayer, LayerRef, Linear


@dataclass(frozen=True, slots=True, eq=False)
class StackedLayer:
    """One changed layer of all members, BatchNorm folded in.

    Attributes:
        ref: where it lives in the base.
        weight: `[member out inp ...]`.
        bias: `[member out]`, or None.
    """

    ref: LayerRef
    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A base network with stacked layers, cut where members begin to differ.

    Attributes:
        traced: the base's graph.
        layers: the changed layers.
        shared: nodes whose values members read but do not change; they and what they need run once.
        specific: nodes that run per member, in order.
    """

    traced: TracedNetwork
    layers: tuple[StackedLayer, ...]
    shared: tuple[fx.Node, ...]
    specific: tuple[fx.Node, ...]

    @property
    def size(self) -> int:
        """Return the number of members."""
        return int(self.layers[0].weight.shape[0])

    def prefix(self, x: Tensor) -> dict[fx.Node, object]:
        """Return the values of the shared nodes for inputs `[batch ...]`."""
        return self.traced.run(self.shared, {self.traced.input: x}, {})

    def template(self, ref: LayerRef) -> Linear:
        """Return the base's module at `ref`, for its stride, padding and dilation."""
        module = self.traced.graph.get_submodule(ref.layer)
        assert isinstance(module, Linear)
        return module

    def override(self, weights: Sequence[tuple[Tensor, Tensor | None]]) -> Override:
        """Return what to call in place of the changed layers, given one member's (weight, bias) per layer."""
        calls: dict[str, Callable[[Tensor], Tensor]] = {}
        for layer, (weight, bias) in zip(self.layers, weights, strict=True):
            calls[layer.ref.layer] = FoldedLayer(self.template(layer.ref), weight, bias)
            if layer.ref.norm is not None:
                calls[layer.ref.norm] = _unchanged
        return calls


class Plan(Protocol):
    """A way to run members; all plans compute the same logits up to rounding, and pass gradients on."""

    @property
    def name(self) -> str:
        """Return the plan's name, part of a shard's key."""
        ...

    def run(self, program: Program, x: Tensor, members: slice) -> Tensor:
        """Return logits `[member batch classes]` of the chosen members for inputs `[batch ...]`."""
        ...


def program(traced: TracedNetwork, layers: Sequence[StackedLayer]) -> Program:
    """Return the program of a base's graph and the stacked layers of its members."""
    changed = {layer.ref.layer for layer in layers}
    starts = [node for node in traced.nodes if node.op == "call_module" and str(node.target) in changed]
    needed = traced.between([traced.output], [])
    specific = tuple(node for node in needed if node in traced.downstream(starts))
    read = {reader for node in specific for reader in node.all_input_nodes}
    shared = tuple(node for node in needed if node in read and node not in specific)
    return Program(traced, tuple(layers), shared, specific)


def chosen(layers: Sequence[StackedLayer], members: slice) -> list[tuple[Tensor, Tensor | None]]:
    """Return the stacked weights and biases of a slice of members; views, not copies."""
    return [(layer.weight[members], None if layer.bias is None else layer.bias[members]) for layer in layers]


def _unchanged(x: Tensor) -> Tensor:
    return x


def logits_of(values: Mapping[fx.Node, object], node: fx.Node) -> Tensor:
    """Return a node's value, which is a tensor."""
    value = values[node]
    assert isinstance(value, torch.Tensor)
    return value
