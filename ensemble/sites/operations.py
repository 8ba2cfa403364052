"""What each operation of a graph does to hidden units: which changes it admits, and where it puts their axis.

An operation that is in no table here mixes hidden units, or is unknown; both are refused by the caller.
"""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from ensemble.activations import RADIAL, activation_of_node
from ensemble.graph import TracedNetwork
from ensemble.sites.freedom import EVERYTHING, MONOTONE, RELABELLING, Freedom, freedom_of

Shape = tuple[int, ...]

# The identity in evaluation mode.
_IDENTITIES = (
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity, F.dropout, F.dropout1d, F.dropout2d, torch.dropout,
    "contiguous", "clone", "detach",
)  # fmt: skip
# Linear in every unit separately and alike: admits any change.
_MEAN_POOLS = (
    nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
    F.avg_pool1d, F.avg_pool2d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d,
)  # fmt: skip
_MAXIMUM_POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
    F.max_pool1d, F.max_pool2d, F.adaptive_max_pool1d, F.adaptive_max_pool2d, torch.max_pool1d, torch.max_pool2d,
)  # fmt: skip
# Elementwise functions that no row of the activations' table describes: gates.
_ELEMENTWISE = (nn.Hardsigmoid, F.hardsigmoid, torch.exp)
_RESHAPES = (nn.Flatten, torch.flatten, torch.reshape, torch.squeeze, torch.unsqueeze, "flatten", "reshape", "view",
             "squeeze", "unsqueeze")  # fmt: skip
_MEANS = (torch.mean, "mean", torch.sum, "sum")
_MAXIMA = (torch.amax, "amax")
_PERMUTATIONS = (torch.permute, "permute")
_TRANSPOSITIONS = (torch.transpose, "transpose")
ADDITIONS = (operator.add, torch.add, "add", operator.sub, torch.sub, "sub")
PRODUCTS = (operator.mul, torch.mul, "mul")
_QUOTIENTS = (operator.truediv, torch.div, "div")
# torchvision's stochastic depth, known by name because this package does not import torchvision; identity in eval mode.
_IDENTITIES_BY_NAME = ("stochastic_depth",)


@dataclass(frozen=True, slots=True)
class Unary:
    """How an operation with one varying input treats hidden units.

    Attributes:
        freedom: the changes it admits.
        degree: exponent that it multiplies the element's degree by.
        forward: axis of the units in the input -> axis in the output, or None where they cannot be followed.
        backward: the same from output to input.
    """

    freedom: Freedom
    degree: float
    forward: Callable[[int], int | None]
    backward: Callable[[int], int | None]


def called(node: fx.Node, traced: TracedNetwork) -> Any:
    """Return what a node calls, comparable with the tables: a module's class, a function, or a method's name."""
    if node.op == "call_module":
        return type(traced.graph.get_submodule(str(node.target)))
    return node.target


def unary(node: fx.Node, traced: TracedNetwork) -> Unary | None:
    """Return how the node treats hidden units, or None if it mixes them, joins two values or is unknown."""
    if node.op not in ("call_module", "call_function", "call_method"):
        return None
    what = called(node, traced)
    reads = _reads(node, traced)
    if len(reads) != 1:
        return None
    before, after = traced.shapes.get(reads[0].name), traced.shapes.get(node.name)
    if before is None or after is None:
        return None
    row = activation_of_node(node, traced.graph)
    if row is not None:
        freedom = freedom_of(row.group)
        if row.name == "prelu" and _slopes(node, traced) == 1:
            freedom = MONOTONE
        follow = _last_only(len(before)) if row is RADIAL else _same
        return Unary(freedom, 1.0 if row.degree is None else row.degree, follow, follow)
    if is_identity(node, traced):
        return Unary(EVERYTHING, 1.0, _same, _same)
    if what in _MEAN_POOLS or what in _MAXIMUM_POOLS:
        follow = _channels_only(what, len(before))
        return Unary(EVERYTHING if what in _MEAN_POOLS else MONOTONE, 1.0, follow, follow)
    if what in _ELEMENTWISE:
        return Unary(RELABELLING, 1.0, _same, _same)
    if what in ADDITIONS or what in PRODUCTS or what in _QUOTIENTS:
        return _with_number(node, what)
    return _moving(node, what, before, after)


def _moving(node: fx.Node, what: Any, before: Shape, after: Shape) -> Unary | None:
    """Return how an operation that moves axes treats hidden units."""
    if what in _RESHAPES:
        return Unary(EVERYTHING, 1.0, _reshaped(before, after), _reshaped(after, before))
    if what in _MEANS or what in _MAXIMA:
        removed = _reduced(node, len(before))
        if removed is None:
            return None
        freedom = EVERYTHING if what in _MEANS else MONOTONE
        kept = list(range(len(before))) if len(after) == len(before) else _kept(removed, len(before))
        return Unary(freedom, 1.0, _position(kept, removed), _at(kept))
    if what is operator.getitem:
        left = _sliced(node.args[1], len(before))
        return None if left is None else Unary(EVERYTHING, 1.0, _position(left, ()), _nowhere)
    order = _axis_order(node, what, len(before))
    return None if order is None else Unary(EVERYTHING, 1.0, _position(order, ()), _at(order))


def is_identity(node: fx.Node, traced: TracedNetwork) -> bool:
    """Return whether the node hands its input on unchanged in evaluation mode."""
    what = called(node, traced)
    return what in _IDENTITIES or getattr(what, "__name__", "") in _IDENTITIES_BY_NAME


def is_measure(node: fx.Node) -> bool:
    """Return whether the node only asks for a tensor's size or kind, not for its values."""
    if node.op == "call_method":
        return node.target in ("size", "dim")
    return node.target is getattr and node.args[1] in ("shape", "ndim", "dtype", "device")


def is_number(value: object) -> bool:
    """Return whether an argument of a node is a plain number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _reads(node: fx.Node, traced: TracedNetwork) -> list[fx.Node]:
    """Return the tensors a node reads; sizes that only shape its result are not among them."""
    first = node.args[0] if node.args else node.kwargs.get("input")
    return [read for read in node.all_input_nodes if read is first or read.name in traced.shapes]


def _with_number(node: fx.Node, what: Any) -> Unary | None:
    other = next((value for value in node.args if not isinstance(value, fx.Node)), None)
    if not is_number(other) or len(node.args) != 2 or node.kwargs:
        return None
    linear = what in PRODUCTS or (what in _QUOTIENTS and isinstance(node.args[0], fx.Node))
    return Unary(EVERYTHING if linear else RELABELLING, 1.0, _same, _same)


def _slopes(node: fx.Node, traced: TracedNetwork) -> int:
    module = traced.graph.get_submodule(str(node.target))
    return module.num_parameters if isinstance(module, nn.PReLU) else 0


def _same(axis: int) -> int | None:
    return axis


def _last_only(ndim: int) -> Callable[[int], int | None]:
    return lambda axis: axis if axis == ndim - 1 else None


def _channels_only(what: Any, ndim: int) -> Callable[[int], int | None]:
    """Return how a pool treats an axis: only that of the channels is not pooled."""
    expected = 3 if "1d" in what.__name__ else 4
    return lambda axis: 1 if axis == 1 and ndim == expected else None


def _reshaped(before: Shape, after: Shape) -> Callable[[int], int | None]:
    """Return where an axis goes: it keeps its size, or swallows (or releases) the axes behind it, units outermost."""

    def follow(axis: int) -> int | None:
        lead = math.prod(before[:axis])
        whole = math.prod(before[axis:])
        for place in range(1, len(after)):
            if math.prod(after[:place]) == lead and (after[place] == before[axis] or after[place] == whole):
                return place
        return None

    return follow


def _reduced(node: fx.Node, ndim: int) -> tuple[int, ...] | None:
    dims = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    if isinstance(dims, int):
        dims = (dims,)
    if not isinstance(dims, list | tuple) or not all(isinstance(dim, int) for dim in dims):
        return None
    return tuple(dim % ndim for dim in dims if isinstance(dim, int))


def _sliced(index: object, ndim: int) -> list[int | None] | None:
    """Return the input axis at every output axis of x[index], None where the axis was cut; None for other indexing."""
    entries = index if isinstance(index, tuple) else (index,)
    if len(entries) > ndim or not all(isinstance(entry, int | slice) for entry in entries):
        return None
    whole = (*entries, *[slice(None)] * (ndim - len(entries)))
    return [axis if entry == slice(None) else None for axis, entry in enumerate(whole) if isinstance(entry, slice)]


def _nowhere(axis: int) -> int | None:
    return None


def _kept(removed: tuple[int, ...], ndim: int) -> list[int]:
    return [axis for axis in range(ndim) if axis not in removed]


def _position(order: Sequence[int | None], removed: tuple[int, ...]) -> Callable[[int], int | None]:
    return lambda axis: order.index(axis) if axis in order and axis not in removed else None


def _at(order: list[int]) -> Callable[[int], int | None]:
    return lambda axis: order[axis] if axis < len(order) else None


def _axis_order(node: fx.Node, what: Any, ndim: int) -> list[int] | None:
    """Return the input axis at every output axis of a permutation of axes."""
    if what in _TRANSPOSITIONS:
        pair = [value for value in node.args[1:] if isinstance(value, int)]
        if len(pair) != 2:
            return None
        order = list(range(ndim))
        order[pair[0]], order[pair[1]] = order[pair[1]], order[pair[0]]
        return order
    if what not in _PERMUTATIONS:
        return None
    dims = node.kwargs.get("dims", node.args[1:])
    flat = dims[0] if isinstance(dims, tuple) and len(dims) == 1 and isinstance(dims[0], list | tuple) else dims
    if not isinstance(flat, list | tuple) or not all(isinstance(dim, int) for dim in flat):
        return None
    return [dim % ndim for dim in flat if isinstance(dim, int)]
