"""Calibration inputs on their way through one network, site by site.

A `Stream` holds the values that later sites still need and nothing else. Replacing a layer drops every value that
depends on it, so what is read afterwards is what the changed network computes: that is the drift feedback.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, fx

from ensemble.graph import TracedNetwork
from ensemble.layers import FoldedLayer, LayerRef

CHUNK = 128


class Stream:
    """The values of one (changing) network on a fixed set of inputs.

    Args:
        traced: the base's graph.
        inputs: `[rows ...]`.
    """

    def __init__(self, traced: TracedNetwork, inputs: Tensor) -> None:
        self.traced = traced
        self.rows = inputs.shape[0]
        self._values: dict[fx.Node, Tensor] = {traced.input: inputs}
        self._override: dict[str, Callable[[Tensor], Tensor]] = {}

    @property
    def override(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """Return module name -> replacement for every layer replaced so far."""
        return self._override

    def read(self, names: Iterable[str]) -> list[Tensor]:
        """Return the values `[rows ...]` of the named nodes and keep them, computing in chunks what is not at hand."""
        wanted = [self.traced.node(name) for name in names]
        missing = [node for node in wanted if node not in self._values]
        todo = self.traced.between(missing, self._values)
        frontier = {read for node in todo for read in node.all_input_nodes if read in self._values}
        parts: dict[fx.Node, list[Tensor]] = {node: [] for node in missing}
        with torch.no_grad():
            for start in range(0, self.rows if missing else 0, CHUNK):
                known = {node: self._values[node][start : start + CHUNK] for node in frontier}
                for node, value in self.traced.run(missing, known, self._override).items():
                    assert isinstance(value, Tensor)
                    parts[node].append(value)
        self._values |= {node: torch.cat(chunks) for node, chunks in parts.items()}
        return [self._values[node] for node in wanted]

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


def _unchanged(x: Tensor) -> Tensor:
    return x
