"""Layers as the sites see them: with the BatchNorm that alone reads them, and the reasons not to act on one."""

from collections import Counter
from functools import cached_property

from torch import fx, nn
from torch.nn.utils import parametrize

from ensemble.graph import TracedNetwork
from ensemble.layers import LayerRef, Linear

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
# A subclass that keeps these computes what its base class computes.
_OWN_CODE = ("forward", "_conv_forward", "__call__")


def is_layer(module: nn.Module) -> bool:
    """Return whether a module is a Linear or convolution layer, or derives from one."""
    return isinstance(module, LAYERS)


class LayerChecks:
    """What is asked about the layers of one traced network; the answers are computed once.

    Args:
        traced: the network.
    """

    def __init__(self, traced: TracedNetwork) -> None:
        self._graph = traced.graph
        self._nodes = traced.nodes
        self._tied = traced.tied

    @cached_property
    def _calls(self) -> Counter[str]:
        return Counter(str(node.target) for node in self._nodes if node.op == "call_module")

    @cached_property
    def _read_directly(self) -> frozenset[str]:
        return frozenset(str(node.target) for node in self._nodes if node.op == "get_attr")

    def module(self, layer: fx.Node) -> Linear:
        """Return the layer's module."""
        module = self._graph.get_submodule(str(layer.target))
        assert isinstance(module, LAYERS)
        return module

    def ref(self, layer: fx.Node) -> LayerRef:
        """Return the layer's name with that of the BatchNorm that alone reads it."""
        output = self.folded_output(layer)
        return LayerRef(str(layer.target), None if output is layer else str(output.target))

    def folded_output(self, layer: fx.Node) -> fx.Node:
        """Return the node that holds the common output of the layer and the BatchNorm that alone reads it."""
        reader = only_user(layer)
        if reader is None or reader.op != "call_module":
            return layer
        return reader if isinstance(self._graph.get_submodule(str(reader.target)), NORMS) else layer

    def layer_of(self, output: fx.Node) -> fx.Node | None:
        """Return the layer whose folded output a node is, or None."""
        if output.op != "call_module":
            return None
        if is_layer(self._graph.get_submodule(str(output.target))):
            return output if self.folded_output(output) is output else None
        layer = output.all_input_nodes[0]
        if layer.op == "call_module" and is_layer(self._graph.get_submodule(str(layer.target))):
            return layer if self.folded_output(layer) is output else None
        return None

    def is_depthwise(self, layer: fx.Node) -> bool:
        """Return whether a convolution maps every channel to itself alone."""
        module = self.module(layer)
        return not isinstance(module, nn.Linear) and 1 < module.groups == module.in_channels == module.out_channels

    def refusal(self, layer: fx.Node) -> str | None:
        """Return why the layer's weights must not be changed, or None."""
        ref = self.ref(layer)
        names = [ref.layer] if ref.norm is None else [ref.layer, ref.norm]
        return next((reason for reason in map(self._refusal, names) if reason), None)

    def _refusal(self, name: str) -> str | None:
        module = self._graph.get_submodule(name)
        keys = [f"{name}.{key}" for key, _ in module.named_parameters(recurse=False)]
        if self._calls[name] > 1:
            return f"{name} is called {self._calls[name]} times; a group element would act on every call"
        if parametrize.is_parametrized(module):
            return f"{name} is parametrised (weight or spectral norm); remove the parametrisation first"
        if module._forward_pre_hooks or module._forward_hooks:
            return f"{name} has forward hooks (old weight norm, pruning); a folded layer would not run them"
        if "quantized" in type(module).__module__ or "qat" in type(module).__module__:
            return f"{name} is a quantised {type(module).__name__}; act on the network before it is quantised"
        if not _computes_like_its_base(module):
            return f"{name} is a {type(module).__name__} with a forward of its own; a folded layer would not run it"
        if any(key in self._tied for key in keys):
            return f"{name} shares a parameter with another module (tied weights)"
        if any(key in self._read_directly for key in keys):
            return f"{name}: its parameter is also read outside the layer (tied weights)"
        if isinstance(module, NORMS) and module.running_mean is None:
            return f"{name} keeps no running statistics"
        return None


def _computes_like_its_base(module: nn.Module) -> bool:
    base = next(known for known in (*LAYERS, *NORMS) if isinstance(module, known))
    return all(getattr(type(module), name, None) is getattr(base, name, None) for name in _OWN_CODE)


def only_user(node: fx.Node) -> fx.Node | None:
    """Return the one node that reads `node`, or None if there are none or several."""
    return next(iter(node.users)) if len(node.users) == 1 else None
