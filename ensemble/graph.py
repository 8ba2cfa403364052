"""A traced network: its torch.fx graph, the shape of every value, and a way to run any part of it.

Generation and execution both run parts of one graph with some layers replaced, so both run the nodes here; nothing
else in the package interprets a graph.
"""

import copy
import operator
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.node import map_arg
from torch.fx.passes.shape_prop import ShapeProp

from ensemble.activations import RadialRescaling
from ensemble.errors import InputError, TraceError
from ensemble.groups import all_finite

Override = Mapping[str, Callable[[Tensor], Tensor]]
# torch.fx replaces nn.Module.__call__ for the whole process while it traces: two at once would leave it replaced.
_TRACING: Final = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class TracedNetwork:
    """A network's graph and the shape of each tensor in it.

    Attributes:
        graph: the traced module; it shares the network's own submodules.
        shapes: node name -> shape for the example input, for every node whose value is one tensor.
        tied: names of parameters that are one tensor under several names, in use or not.
    """

    graph: fx.GraphModule
    shapes: Mapping[str, tuple[int, ...]]
    tied: frozenset[str] = frozenset()

    @property
    def nodes(self) -> tuple[fx.Node, ...]:
        """Return the nodes in the order in which they run."""
        return tuple(self.graph.graph.nodes)

    @property
    def input(self) -> fx.Node:
        """Return the placeholder of the network's input."""
        return next(node for node in self.nodes if node.op == "placeholder")

    @property
    def output(self) -> fx.Node:
        """Return the node whose value the network returns."""
        result = next(node for node in self.nodes if node.op == "output").args[0]
        assert isinstance(result, fx.Node)
        return result

    def node(self, name: str) -> fx.Node:
        """Return the node called `name`."""
        return next(node for node in self.nodes if node.name == name)

    def call(self, node: fx.Node, values: Mapping[fx.Node, object], override: Override) -> object:
        """Return the value of one node, given the values of the nodes it reads.

        Args:
            node: any node but the placeholder and the output.
            values: value of every input node.
            override: module name -> what to call in its place.
        """
        args, kwargs = _arguments(node, values)
        if node.op == "call_module":
            target = str(node.target)
            module = override[target] if target in override else self.graph.get_submodule(target)
            return module(*args, **kwargs)
        if node.op == "call_function":
            assert callable(node.target)
            return node.target(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        assert node.op == "get_attr"
        owner, _, attribute = str(node.target).rpartition(".")
        return getattr(self.graph.get_submodule(owner), attribute)

    def run(
        self, wanted: Sequence[fx.Node], known: Mapping[fx.Node, object], override: Override
    ) -> dict[fx.Node, object]:
        """Return the values of the `wanted` nodes, running only what they need beyond the `known` values.

        Values are dropped as soon as the last node that reads them has run, so the peak is that of one forward pass.
        """
        values = dict(known)
        todo = self.between(wanted, known)
        uses = _count_uses(todo, keep=wanted)
        for node in todo:
            values[node] = self.call(node, values, override)
            for read in node.all_input_nodes:
                if read in uses:
                    uses[read] -= 1
                    if uses[read] == 0:
                        del values[read]
        return {node: values[node] for node in wanted}

    def between(self, wanted: Iterable[fx.Node], known: Iterable[fx.Node]) -> list[fx.Node]:
        """Return the nodes to run, in order, to get from the `known` values to the `wanted` ones."""
        have, need, stack = set(known), set(), list(wanted)
        while stack:
            node = stack.pop()
            if node in have or node in need:
                continue
            need.add(node)
            stack.extend(node.all_input_nodes)
        return [node for node in self.nodes if node in need]

    def downstream(self, start: Iterable[fx.Node]) -> set[fx.Node]:
        """Return the `start` nodes and every node that depends on one of them."""
        found = set(start)
        for node in self.nodes:
            if any(read in found for read in node.all_input_nodes):
                found.add(node)
        return found


def _arguments(node: fx.Node, values: Mapping[fx.Node, object]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    # torch.fx types an argument as anything a graph may hold; what comes back are the values put in its place.
    read = cast("Callable[[fx.Node], Any]", values.__getitem__)
    return cast("tuple[Any, ...]", map_arg(node.args, read)), cast("dict[str, Any]", map_arg(node.kwargs, read))


def _count_uses(todo: Sequence[fx.Node], *, keep: Sequence[fx.Node]) -> dict[fx.Node, int]:
    uses: dict[fx.Node, int] = {}
    for node in todo:
        for read in node.all_input_nodes:
            uses[read] = uses.get(read, 0) + 1
    return {node: count for node, count in uses.items() if node not in set(keep)}


def trace(network: nn.Module, example_input: Tensor) -> TracedNetwork:
    """Return the traced network.

    Args:
        network: a classifier in evaluation mode; it is neither changed nor moved.
        example_input: `[batch ...]` on the network's device, in its dtype; one row is enough.

    Raises:
        InputError: the network is in training mode, holds a NaN, or lies on another device or dtype than the input.
        TraceError: torch.fx cannot follow the forward, or the forward fails on the example.
    """
    check_network(network, example_input)
    try:
        with _TRACING:
            traced_graph = _Tracer().trace(network)
        graph = fx.GraphModule(network, traced_graph, type(network).__name__)
    except Exception as error:  # torch.fx raises whatever the traced code raises
        raise TraceError(
            f"torch.fx cannot trace {type(network).__name__}: {_innermost(error)}; expected a forward without branches "
            "on tensor values; rewrite them with torch operations (torch.where), or move them out of the network"
        ) from error
    _remove_inplace(graph)
    placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
    if not placeholders or any(node.op != "placeholder" or node.args == () for node in placeholders[1:]):
        raise TraceError(f"{type(network).__name__}: expected a forward with one input, got {len(placeholders)}")
    try:
        with torch.no_grad():
            # A plain call first: ShapeProp prints a traceback of its own where the forward fails.
            graph(example_input[:1])
            ShapeProp(graph).propagate(example_input[:1])
    except Exception as error:
        raise TraceError(
            f"{type(network).__name__} fails on an input of shape {tuple(example_input[:1].shape)}: "
            f"{_innermost(error)}; pass inputs of the shape the network was trained on"
        ) from error
    shapes = {
        node.name: tuple(node.meta["tensor_meta"].shape)
        for node in graph.graph.nodes
        if hasattr(node.meta.get("tensor_meta"), "shape")
    }
    traced = TracedNetwork(graph, shapes, _tied_parameters(network))
    logits = shapes.get(traced.output.name)
    if logits is None or len(logits) != 2:
        raise TraceError(f"{type(network).__name__}: expected logits [batch classes], got shape {logits}")
    return traced


def _tied_parameters(network: nn.Module) -> frozenset[str]:
    by_place: dict[tuple[int, int], list[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        # Two parameters may also be views of the same memory; writing one would write the other.
        place = (parameter.untyped_storage().data_ptr(), int(parameter.storage_offset()))
        if parameter.numel() and place[0]:
            by_place.setdefault(place, []).append(name)
    return frozenset(name for names in by_place.values() if len(names) > 1 for name in names)


# In-place operations would overwrite values that generation keeps: graph node target -> its pure counterpart.
_PURE: Mapping[object, object] = MappingProxyType(
    {operator.iadd: operator.add, operator.imul: operator.mul, "relu_": "relu", "add_": "add", "mul_": "mul",
     F.relu_: F.relu, torch.relu_: torch.relu, F.leaky_relu_: F.leaky_relu}
)  # fmt: skip


def _remove_inplace(graph: fx.GraphModule) -> None:
    """Make every node pure. The traced module owns its parents, so the user's network keeps its own submodules."""
    for node in graph.graph.nodes:
        if node.op in ("call_function", "call_method"):
            node.target = _PURE.get(node.target, node.target)
            if node.kwargs.get("inplace"):
                node.kwargs = {**node.kwargs, "inplace": False}
        elif node.op == "call_module" and getattr(graph.get_submodule(node.target), "inplace", False):
            pure = copy.copy(graph.get_submodule(node.target))
            setattr(pure, "inplace", False)  # noqa: B010 - the attribute is not declared on nn.Module
            graph.set_submodule(node.target, pure)
    graph.recompile()


class _Tracer(fx.Tracer):
    """Keeps a module whole if it is torch's own or an activation of the table; lets other threads run networks."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, RadialRescaling) or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def check_network(network: nn.Module, inputs: Tensor) -> None:
    """Raise InputError unless the network is in eval mode, finite, on one device and dtype, and those of `inputs`."""
    training = [name for name, module in network.named_modules() if module.training]
    if training:
        raise InputError(
            f"expected a network in evaluation mode, got training mode in {training[0] or type(network).__name__!r} "
            f"({len(training)} modules); call network.eval() first"
        )
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    floating = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    for quality in ("device", "dtype"):
        found = {str(getattr(tensor, quality)) for tensor in floating.values()}
        if len(found) > 1:
            raise InputError(f"expected a network on one {quality}, got {sorted(found)}; call network.to(...) first")
        if found and found != {str(getattr(inputs, quality))}:
            raise InputError(
                f"expected inputs of {quality} {found.pop()} (the network's), got {getattr(inputs, quality)}"
            )
    for name, tensor in floating.items():
        if not all_finite(tensor):
            raise InputError(f"weight {name}: expected finite values, got NaN or infinity; load a sound checkpoint")


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    where = ""
    trace_ = error.__traceback__
    while trace_ is not None and trace_.tb_next is not None:
        trace_ = trace_.tb_next
    if trace_ is not None:
        where = f" (in {trace_.tb_frame.f_code.co_name}, line {trace_.tb_lineno})"
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}{where}"
