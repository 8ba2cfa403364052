"""Calibration inputs on their way through one network, site by site.

A `Stream` yields the values of graph nodes chunk by chunk and keeps those that later sites start from, as far as its
budget goes: what does not fit is computed again from the nearest value at hand. Replacing a layer drops every value
that depends on it, so what is read afterwards is what the changed network computes: that is the drift feedback.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, fx

from ensemble.graph import TracedNetwork
from ensemble.layers import FoldedLayer, LayerRef

CHUNK = 64
#: Bytes of kept values per stream; beyond it, time is paid instead of memory.
BUDGET = 1 << 30


class Stream:
    """The values of one (changing) network on a fixed set of inputs.

    Args:
        traced: the base's graph.
        inputs: `[rows ...]`.
        budget: bytes that kept values may take in all; the inputs do not count.
    """

    def __init__(self, traced: TracedNetwork, inputs: Tensor, *, budget: int = BUDGET) -> None:
        self.traced = traced
        self.rows = inputs.shape[0]
        self._inputs = inputs
        self._budget = budget
        self._values: dict[fx.Node, Tensor] = {traced.input: inputs}
        self._override: dict[str, Callable[[Tensor], Tensor]] = {}

    @property
    def override(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """Return module name -> replacement for every layer replaced so far."""
        return self._override

    @property
    def kept_bytes(self) -> int:
        """Return the bytes of the values kept, without the inputs."""
        return sum(_bytes(value) for node, value in self._values.items() if node is not self.traced.input)

    def chunks(self, names: Sequence[str], *, keep: Iterable[str] = ()) -> Iterator[tuple[slice, list[Tensor]]]:
        """Yield (rows, values of the named nodes on them), in order; keep the `keep` nodes where the budget allows.

        Args:
            names: graph nodes.
            keep: nodes among them that later reads start from.
        """
        wanted = [self.traced.node(name) for name in names]
        missing = [node for node in wanted if node not in self._values]
        todo = self.traced.between(missing, self._values)
        frontier = {read for node in todo for read in node.all_input_nodes if read in self._values}
        kept: dict[fx.Node, list[Tensor]] = {node: [] for node in self._affordable(missing, set(keep))}
        for start in range(0, self.rows, CHUNK):
            rows = slice(start, min(start + CHUNK, self.rows))
            with torch.no_grad():
                known = {node: self._values[node][rows] for node in frontier}
                values: dict[fx.Node, object] = dict(self.traced.run(missing, known, self._override))
            for node, parts in kept.items():
                value = values[node]
                assert isinstance(value, Tensor)
                parts.append(value)
            result = [values[node] if node in values else self._values[node][rows] for node in wanted]
            yield rows, [value for value in result if isinstance(value, Tensor)]
        self._values |= {node: torch.cat(parts) for node, parts in kept.items()}

    def read(self, name: str) -> Tensor:
        """Return a node's value on all rows; it is not kept."""
        return torch.cat([values[0] for _, values in self.chunks([name])])

    def hold(self, name: str) -> None:
        """Compute a node on all rows and keep it, if the budget allows; otherwise do nothing."""
        node = self.traced.node(name)
        if node not in self._values and self._affordable([node], {name}):
            for _ in self.chunks([name], keep=[name]):
                pass

    def at(self, name: str, indices: Tensor) -> Tensor:
        """Return a node's value on the given rows, from what is kept or computed for them alone."""
        node = self.traced.node(name)
        where = indices.to(self._inputs.device)
        if node in self._values:
            return self._values[node][where]
        frontier = {read for todo in self.traced.between([node], self._values) for read in todo.all_input_nodes}
        known = {read: self._values[read][where] for read in frontier if read in self._values}
        with torch.no_grad():
            value = self.traced.run([node], known, self._override)[node]
        assert isinstance(value, Tensor)
        return value

    def replace(self, layers: Mapping[LayerRef, FoldedLayer]) -> None:
        """Put folded layers in the place of the network's own and drop every value that depends on them."""
        for ref, layer in layers.items():
            self._override[ref.layer] = layer
            if ref.norm is not None:
                self._override[ref.norm] = _unchanged
        changed = {ref.layer for ref in layers}
        starts = [node for node in self.traced.nodes if node.op == "call_module" and str(node.target) in changed]
        for node in self.traced.downstream(starts):
            self._values.pop(node, None)

    def keep_for(self, names: Iterable[str]) -> None:
        """Drop every value that the named nodes, read later, do not need."""
        wanted = [self.traced.node(name) for name in names]
        todo = self.traced.between(wanted, self._values)
        needed = {read for node in todo for read in node.all_input_nodes} | set(wanted)
        self._values = {node: value for node, value in self._values.items() if node in needed}

    def _affordable(self, nodes: Iterable[fx.Node], keep: set[str]) -> list[fx.Node]:
        left = self._budget - self.kept_bytes
        chosen = []
        for node in nodes:
            size = self.rows * math.prod(self.traced.shapes[node.name][1:]) * self._inputs.element_size()
            if node.name in keep and size <= left:
                chosen.append(node)
                left -= size
        return chosen


def _bytes(value: Tensor) -> int:
    return value.numel() * value.element_size()


def _unchanged(x: Tensor) -> Tensor:
    return x
