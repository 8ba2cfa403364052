"""Interval bound propagation through a traced network (Gowal et al., 2018): own code, layer by layer, in float64.

An affine layer maps centre and radius, `W c + b` and `|W| r`; a monotone one maps both ends. The last linear layer is
joined with the difference of two logits, which is exact for a linear network.
"""

import copy
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from ensemble.errors import LevelsetError
from ensemble.graph import TracedNetwork, trace


class NoRule(LevelsetError):
    """A node of the network has no bound here."""


@dataclass(frozen=True, slots=True, eq=False)
class Interval:
    """A box of values: every tensor between `low` and `high`, entry by entry."""

    low: Tensor
    high: Tensor

    @property
    def centre(self) -> Tensor:
        """Return the middle."""
        return (self.low + self.high) / 2

    @property
    def radius(self) -> Tensor:
        """Return half the width."""
        return (self.high - self.low) / 2


def _affine(centre: Tensor, radius: Tensor) -> Interval:
    return Interval(centre - radius, centre + radius)


def _linear(layer: nn.Linear, x: Interval) -> Interval:
    return _affine(F.linear(x.centre, layer.weight, layer.bias), F.linear(x.radius, layer.weight.abs()))


def _convolution(layer: nn.Conv1d | nn.Conv2d, x: Interval) -> Interval:
    centre = layer._conv_forward(x.centre, layer.weight, layer.bias)
    return _affine(centre, layer._conv_forward(x.radius, layer.weight.abs(), None))


def _batch_norm(layer: nn.BatchNorm1d | nn.BatchNorm2d, x: Interval) -> Interval:
    if layer.running_mean is None or layer.running_var is None:
        raise NoRule("BatchNorm: expected running statistics, got none: its output depends on the batch")
    shape = [1, -1, *[1] * (x.low.ndim - 2)]
    scale = (layer.running_var + layer.eps).rsqrt()
    scale = scale if layer.weight is None else scale * layer.weight
    shift = -layer.running_mean * scale
    shift = shift if layer.bias is None else shift + layer.bias
    return _affine(x.centre * scale.view(shape) + shift.view(shape), x.radius * scale.abs().view(shape))


def _monotone(layer: nn.Module, x: Interval) -> Interval:
    return Interval(layer(x.low), layer(x.high))


def _leaky(layer: nn.LeakyReLU, x: Interval) -> Interval:
    if layer.negative_slope < 0:
        raise NoRule(f"LeakyReLU: expected a slope >= 0, got {layer.negative_slope:g}: it is not monotone")
    return _monotone(layer, x)


_MONOTONE = (
    nn.ReLU, nn.Identity, nn.Flatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.MaxPool1d, nn.MaxPool2d,
    nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
)  # fmt: skip

#: Module class -> its bound.
MODULES: Mapping[type[nn.Module], Callable[[Any, Interval], Interval]] = MappingProxyType(
    {
        nn.Linear: _linear,
        nn.Conv1d: _convolution,
        nn.Conv2d: _convolution,
        nn.BatchNorm1d: _batch_norm,
        nn.BatchNorm2d: _batch_norm,
        nn.LeakyReLU: _leaky,
        **dict.fromkeys(_MONOTONE, _monotone),
    }
)

#: Functions and methods that rise with every entry of their one box: applied to both ends.
_RISING = frozenset(
    {
        F.relu, torch.relu, torch.flatten, torch.mean, F.max_pool2d, torch.max_pool2d, F.avg_pool2d,
        F.adaptive_avg_pool2d, F.dropout, F.pad, operator.getitem, torch.squeeze,
        "relu", "flatten", "view", "reshape", "mean", "squeeze", "contiguous",
    }
)  # fmt: skip
#: What is read from a tensor and not computed with its values.
_SHAPES = frozenset({"size", "dim", getattr})


def _sum(first: Any, second: Any) -> Interval:
    return Interval(*(a + b for a, b in zip(_ends(first), _ends(second), strict=True)))


def _difference(first: Any, second: Any) -> Interval:
    (low, high), (least, largest) = _ends(first), _ends(second)
    return Interval(low - largest, high - least)


def _scaled(first: Any, second: Any) -> Interval:
    if isinstance(first, Interval) and isinstance(second, Interval):
        raise NoRule("product of two activations: no bound is known for it here")
    box, factor = (first, second) if isinstance(first, Interval) else (second, first)
    ends = (box.low * factor, box.high * factor)
    return Interval(torch.minimum(*ends), torch.maximum(*ends))


def _quotient(first: Any, second: Any) -> Interval:
    if isinstance(second, Interval):
        raise NoRule("division by an activation: no bound is known for it here")
    return _scaled(first, 1.0 / second)


_ARITHMETIC: Mapping[Any, Callable[[Any, Any], Interval]] = MappingProxyType(
    {
        operator.add: _sum, torch.add: _sum, "add": _sum,
        operator.sub: _difference, torch.sub: _difference, "sub": _difference,
        operator.mul: _scaled, torch.mul: _scaled, "mul": _scaled,
        operator.truediv: _quotient, torch.div: _quotient, "div": _quotient,
    }
)  # fmt: skip


def _ends(value: Any) -> tuple[Any, Any]:
    return (value.low, value.high) if isinstance(value, Interval) else (value, value)


def _call(traced: TracedNetwork, node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    args: tuple[Any, ...] = map_arg(node.args, values.__getitem__)
    kwargs: dict[str, Any] = map_arg(node.kwargs, values.__getitem__)
    boxes = [value for value in (*args, *kwargs.values()) if isinstance(value, Interval)]
    if not boxes or node.target in _SHAPES:
        return traced.call(node, {read: _ends(values[read])[0] for read in node.all_input_nodes}, {})
    if node.op == "call_module":
        module = traced.graph.get_submodule(str(node.target))
        rule = MODULES.get(type(module))
        if rule is None:
            raise NoRule(f"{node.target} ({type(module).__name__}): no bound is known for it here")
        return rule(module, args[0])
    if node.target in _ARITHMETIC and len(args) == 2 and not kwargs:
        return _ARITHMETIC[node.target](*args)
    if node.target in _RISING and len(boxes) == 1:
        ends = [{read: _ends(values[read])[end] for read in node.all_input_nodes} for end in (0, 1)]
        return Interval(*(traced.call(node, end, {}) for end in ends))  # type: ignore[arg-type]
    name = getattr(node.target, "__name__", str(node.target))
    raise NoRule(f"{name}: no bound is known for it here")


def propagate(traced: TracedNetwork, box: Interval, wanted: fx.Node) -> Interval:
    """Return bounds on one node's value over a box of inputs.

    Args:
        traced: a network in evaluation mode.
        box: of inputs, `[batch ...]`.
        wanted: the node.

    Raises:
        NoRule: a node on the way has no bound here; the message names it.
    """
    values: dict[fx.Node, Any] = {traced.input: box}
    for node in traced.between([wanted], values):
        values[node] = _call(traced, node, values)
    found = values[wanted]
    if not isinstance(found, Interval):
        raise NoRule(f"{wanted.name}: expected a value that depends on the input, got a constant")
    return found


def margin_bounds(network: nn.Module, low: Tensor, high: Tensor, labels: Tensor) -> Tensor:
    """Return a lower bound on z_y - z_j over a box of inputs, `[batch classes]` in float64; infinity at j = y.

    Args:
        network: a classifier in evaluation mode; it is copied to float64.
        low: `[batch ...]`, least inputs.
        high: `[batch ...]`, largest inputs.
        labels: `[batch]` int64.

    Raises:
        NoRule: the network has a layer without a bound here.
        TraceError: torch.fx cannot follow it.
    """
    with torch.no_grad():
        traced = trace(copy.deepcopy(network).double(), low[:1].double())
        box, output = Interval(low.double(), high.double()), traced.output
        last = traced.graph.get_submodule(str(output.target)) if output.op == "call_module" else None
        if isinstance(last, nn.Linear):
            margins = _joined_margins(last, propagate(traced, box, output.all_input_nodes[0]), labels)
        else:
            found = propagate(traced, box, output)
            margins = found.low.gather(1, labels[:, None]) - found.high
        return margins.scatter(1, labels[:, None], torch.inf)


def _joined_margins(last: nn.Linear, box: Interval, labels: Tensor) -> Tensor:
    rows = last.weight[labels][:, None] - last.weight[None]
    bias = 0.0 if last.bias is None else last.bias[labels][:, None] - last.bias[None]
    centre = torch.einsum("bcf,bf->bc", rows, box.centre)
    return centre + bias - torch.einsum("bcf,bf->bc", rows.abs(), box.radius)
