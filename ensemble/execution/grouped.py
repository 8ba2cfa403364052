"""All members at once with the member axis folded into the channels: grouped convolutions and batched products.

A value is shared by all members `[batch ...]`, folded `[batch member*channels ...]`, or stacked `[member batch ...]`.
Convolutions keep it folded, so nothing is copied between them; the step to vectors stacks it. A node that is neither
a layer nor known to treat channels separately runs under vmap, so every traceable network has this plan.
"""

from dataclasses import dataclass
from enum import Enum

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ensemble.activations import IDENTITY, TABLE
from ensemble.execution.program import Program, StackedLayer


class Layout(Enum):
    """Where the member axis of a value is."""

    SHARED = "shared"
    FOLDED = "folded"
    STACKED = "stacked"


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A node's value and its layout."""

    data: object
    layout: Layout

    @property
    def tensor(self) -> Tensor:
        """Return the value, which must be a tensor."""
        assert isinstance(self.data, Tensor)
        return self.data


# What treats every channel alike and separately, so a folded value stays folded.
_CHANNELWISE_MODULES = (
    nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity,
    *(module for row in TABLE if row.name not in ("prelu", "radial") for module in row.modules),
)  # fmt: skip
_CHANNELWISE_FUNCTIONS = (
    F.max_pool1d, F.max_pool2d, F.avg_pool1d, F.avg_pool2d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d,
    F.adaptive_max_pool2d, F.dropout, F.dropout2d, torch.max_pool2d, torch.dropout,
    *(function for row in TABLE if row is not IDENTITY for function in row.functions),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class GroupedPlan:
    """One pass for all members with grouped convolutions."""

    name: str = "grouped"

    def run(self, program: Program, x: Tensor, members: slice) -> Tensor:
        """Return logits `[member batch classes]` of the chosen members for inputs `[batch ...]`."""
        layers = {
            layer.ref.layer: StackedLayer(
                layer.ref, layer.weight[members], None if layer.bias is None else layer.bias[members]
            )
            for layer in program.layers
        }
        size = next(iter(layers.values())).weight.shape[0]
        values = {node: Value(value, Layout.SHARED) for node, value in program.prefix(x).items()}
        interpreter = _Interpreter(program, layers, size)
        for node in program.specific:
            values[node] = interpreter.call(node, values)
        return interpreter.stacked(values[program.traced.output]).tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Interpreter:
    program: Program
    layers: dict[str, StackedLayer]
    size: int

    def call(self, node: fx.Node, values: dict[fx.Node, Value]) -> Value:
        """Return the node's value for all members."""
        reads = [values[read] for read in node.all_input_nodes]
        target = str(node.target)
        if node.op == "call_module" and target in self.layers:
            return self._layer(self.layers[target], reads[0])
        if node.op == "call_module" and target in {layer.ref.norm for layer in self.layers.values()}:
            return reads[0]
        if len(reads) == 1 and reads[0].layout is Layout.FOLDED and self._is_channelwise(node):
            return self._direct(node, values, Layout.FOLDED)
        if self._is_sum(node) and Layout.FOLDED in {read.layout for read in reads}:
            folded = {read: Value(self._folded(values[read]), Layout.FOLDED) for read in node.all_input_nodes}
            return self._direct(node, values | folded, Layout.FOLDED)
        return self._vectorised(node, values)

    def stacked(self, value: Value) -> Value:
        """Return the value with the member axis in front."""
        if value.layout is Layout.STACKED:
            return value
        x = value.tensor
        if value.layout is Layout.SHARED:
            return Value(x.expand(self.size, *x.shape), Layout.STACKED)
        return Value(x.unflatten(1, (self.size, -1)).transpose(0, 1), Layout.STACKED)

    def _folded(self, value: Value) -> Tensor:
        if value.layout is Layout.FOLDED:
            return value.tensor
        x = self.stacked(value).tensor
        return x.transpose(0, 1).flatten(1, 2)

    def _layer(self, layer: StackedLayer, value: Value) -> Value:
        template = self.program.template(layer.ref)
        if isinstance(template, nn.Linear):
            x = self.stacked(value).tensor
            rows = x.flatten(1, -2) if x.ndim > 3 else x
            y = torch.matmul(rows, layer.weight.transpose(1, 2))
            y = y if layer.bias is None else y + layer.bias.unsqueeze(1)
            return Value(y.reshape(*x.shape[:-1], y.shape[-1]), Layout.STACKED)
        weight = layer.weight.flatten(0, 1)
        bias = None if layer.bias is None else layer.bias.flatten()
        # The first changed layer reads what all members share: one plain convolution with all members' filters.
        split = value.layout is not Layout.SHARED or template.groups > 1
        x = self._folded(value) if split else value.tensor
        groups = self.size * template.groups if split else 1
        return Value(_convolve(template, x, weight, bias, groups), Layout.FOLDED)

    def _is_channelwise(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return isinstance(self.program.traced.graph.get_submodule(str(node.target)), _CHANNELWISE_MODULES)
        return node.target in _CHANNELWISE_FUNCTIONS

    def _is_sum(self, node: fx.Node) -> bool:
        name = getattr(node.target, "__name__", str(node.target))
        shapes = {self.program.traced.shapes.get(read.name) for read in node.all_input_nodes}
        return name == "add" and len(node.all_input_nodes) == 2 and len(shapes) == 1 and not node.kwargs

    def _direct(self, node: fx.Node, values: dict[fx.Node, Value], layout: Layout) -> Value:
        known = {read: values[read].data for read in node.all_input_nodes}
        return Value(self.program.traced.call(node, known, {}), layout)

    def _vectorised(self, node: fx.Node, values: dict[fx.Node, Value]) -> Value:
        reads = list(node.all_input_nodes)
        stacked = [
            values[read] if values[read].layout is Layout.SHARED else self.stacked(values[read]) for read in reads
        ]
        axes = tuple(None if value.layout is Layout.SHARED else 0 for value in stacked)
        if all(axis is None for axis in axes):
            return self._direct(node, values, Layout.SHARED)

        def one(*parts: object) -> object:
            return self.program.traced.call(node, dict(zip(reads, parts, strict=True)), {})

        return Value(torch.func.vmap(one, in_dims=axes)(*(value.data for value in stacked)), Layout.STACKED)


def _convolve(template: nn.Conv1d | nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    convolve = F.conv1d if isinstance(template, nn.Conv1d) else F.conv2d
    padding = template.padding
    if template.padding_mode != "zeros":
        x = F.pad(x, template._reversed_padding_repeated_twice, mode=template.padding_mode)
        padding = (0,) * (x.ndim - 2)
    output: Tensor = convolve(x, weight, bias, template.stride, padding, template.dilation, groups)
    return output
