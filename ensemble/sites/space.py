"""Follow hidden units through a graph: every layer that writes, reads or carries them, and what may act on them.

Starting from one layer's output, the walk goes forward to everything that reads the units and backward to everything
that is added to or multiplied with them, until only layers are left at the rim. Each value that carries units is known
by their axis and by a degree: a group element multiplies it by the element's entries raised to that power (1 at the
start, alpha behind an activation of degree alpha, 0 in a gate that multiplies the units).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from torch import fx, nn

from ensemble.graph import TracedNetwork
from ensemble.groups import Group
from ensemble.sites.freedom import EVERYTHING, RELABELLING, SEPARATE, Freedom
from ensemble.sites.operations import ADDITIONS, PRODUCTS, called, is_measure, unary
from ensemble.sites.refusals import LayerChecks, is_layer
from ensemble.sites.site import Part, Role


class Refused(Exception):
    """The units cannot be acted on; the argument says why. Never leaves this package."""


@dataclass(frozen=True, slots=True)
class Carry:
    """Where the units are in one value and by which power of an element it is multiplied."""

    axis: int
    degree: float


@dataclass(frozen=True, slots=True)
class Space:
    """All that takes part in one set of hidden units.

    Attributes:
        hidden: how many units.
        carries: graph nodes that carry them.
        parts: graph node of each layer that takes part, and how.
        freedom: what may act on them.
        blocks: units of different blocks cannot be mixed.
        joins: how many additions join two values that carry them.
    """

    hidden: int
    carries: dict[fx.Node, Carry]
    parts: dict[tuple[fx.Node, Role], Part]
    freedom: Freedom
    blocks: int
    joins: int

    @property
    def group(self) -> Group:
        """Return the largest group of the table that is exact on these units."""
        return self.freedom.group(self.blocks)

    def layers(self, role: Role) -> list[fx.Node]:
        """Return the graph nodes of the layers with one role, in the order in which they were met."""
        return [node for node, own in self.parts if own is role]


def space_of(start: fx.Node, traced: TracedNetwork, checks: LayerChecks) -> Space:
    """Return the hidden units that the layer whose folded output is `start` writes.

    Raises:
        Refused: something treats the units in a way that no change of them survives.
    """
    return _Walk(start, traced, checks).space()


class _Walk:
    def __init__(self, start: fx.Node, traced: TracedNetwork, checks: LayerChecks) -> None:
        layer = checks.layer_of(start)
        assert layer is not None
        module = checks.module(layer)
        self.traced, self.checks, self.hidden = traced, checks, module.weight.shape[0]
        if self.hidden < 2:
            raise Refused(f"{layer.target} has a single output unit; nothing can be mixed")
        self.carries: dict[fx.Node, Carry] = {}
        self.parts: dict[tuple[fx.Node, Role], Part] = {}
        self.freedom, self.blocks = EVERYTHING, 1
        self.sums: set[fx.Node] = set()
        self.todo: list[fx.Node] = []
        last = len(traced.shapes[start.name]) - 1
        self.assign(start, Carry(last if isinstance(module, nn.Linear) else 1, 1.0))
        while self.todo:
            node = self.todo.pop(0)
            self.produce(node)
            for user in node.users:
                self.consume(user)

    def space(self) -> Space:
        return Space(self.hidden, self.carries, self.parts, self.freedom, self.blocks, len(self.sums))

    def assign(self, node: fx.Node, carry: Carry) -> None:
        known = self.carries.get(node)
        if known is None:
            self.carries[node] = carry
            self.todo.append(node)
        elif known.axis != carry.axis:
            raise Refused(f"{node.name} would carry the hidden units on two axes")
        elif known.degree != carry.degree:
            self.freedom &= RELABELLING

    def produce(self, node: fx.Node) -> None:
        """Carry the units back across the operation that made a value."""
        if node.op == "placeholder":
            raise Refused("the network's input would have to be changed with its units")
        if node.op == "get_attr":
            raise Refused(f"the learned tensor {node.target} would have to move along with its units")
        if self.checks.layer_of(node) is not None:
            self.write(node)
        else:
            self.pass_through(node)

    def consume(self, node: fx.Node) -> None:
        """Carry the units on across an operation that reads them."""
        if node.op == "output":
            raise Refused("its units are the network's output")
        if node.op == "call_module" and is_layer(self.traced.graph.get_submodule(str(node.target))):
            self.read(node)
        elif not is_measure(node):
            self.pass_through(node)

    def write(self, output: fx.Node) -> None:
        """Let the layer with this folded output take part as a writer, or as a depthwise rider."""
        layer = self.checks.layer_of(output)
        assert layer is not None
        module = self.checks.module(layer)
        carry = self.carries[output]
        if module.weight.shape[0] != self.hidden:
            raise Refused(f"{layer.target} writes {module.weight.shape[0]} units where {self.hidden} are joined")
        if self.checks.is_depthwise(layer):
            self.ride(layer, output, carry)
            return
        self.take(layer, Role.WRITER, carry.degree)
        self.split(getattr(module, "groups", 1), layer)

    def read(self, layer: fx.Node) -> None:
        """Let a layer that reads units take part as a reader, or as a depthwise rider."""
        module = self.checks.module(layer)
        source = layer.all_input_nodes[0]
        carry = self.carries[source]
        shape = self.traced.shapes[source.name]
        if self.checks.is_depthwise(layer):
            self.ride(layer, self.checks.folded_output(layer), carry)
            return
        linear = isinstance(module, nn.Linear)
        if carry.axis != (len(shape) - 1 if linear else 1):
            raise Refused(f"{layer.target} mixes positions, not the hidden units that lie on axis {carry.axis}")
        if shape[carry.axis] % self.hidden:
            raise Refused(f"{layer.target} reads {shape[carry.axis]} values, no multiple of {self.hidden} units")
        self.take(layer, Role.READER, carry.degree)
        self.split(getattr(module, "groups", 1), layer)

    def ride(self, layer: fx.Node, output: fx.Node, carry: Carry) -> None:
        self.freedom &= SEPARATE
        self.take(layer, Role.RIDER, carry.degree)
        self.assign(layer.all_input_nodes[0], carry)
        self.assign(output, carry)

    def take(self, layer: fx.Node, role: Role, degree: float) -> None:
        reason = self.checks.refusal(layer)
        if reason:
            raise Refused(reason)
        self.parts[layer, role] = Part(self.checks.ref(layer), role, degree)

    def split(self, groups: int, layer: fx.Node) -> None:
        finer, coarser = max(groups, self.blocks), min(groups, self.blocks)
        if finer % coarser:
            raise Refused(f"{layer.target} has {groups} groups where {self.blocks} blocks of units are kept apart")
        self.blocks = finer

    def pass_through(self, node: fx.Node) -> None:
        effect = unary(node, self.traced)
        if effect is None:
            self.combine(node)
            return
        source = next(read for read in node.all_input_nodes if read.name in self.traced.shapes)
        known = self.carries.get(source)
        merged = self.traced.shapes[source.name]
        if known is not None:
            axis = effect.forward(known.axis)
            degree = known.degree * effect.degree
            if merged[known.axis] != self.hidden and axis != known.axis:
                axis = None  # units already share their axis with positions
        else:
            carry = self.carries[node]
            axis, degree = effect.backward(carry.axis), carry.degree / effect.degree
        if axis is None:
            raise Refused(self.in_the_way(node))
        # A gate (degree 0) is only ever relabelled, which every elementwise function survives.
        self.freedom &= effect.freedom if degree else replace(SEPARATE, relabel=effect.freedom.relabel)
        self.assign(node if known is not None else source, Carry(axis, degree))

    def in_the_way(self, node: fx.Node) -> str:
        what = called(node, self.traced)
        name = getattr(what, "__name__", str(what))
        return f"{node.name} ({name}) stands between the activation and the next layer and mixes or joins hidden units"

    def combine(self, node: fx.Node) -> None:
        """Carry the units through a sum or a product of two values."""
        what = called(node, self.traced)
        operands = node.all_input_nodes
        if (what not in ADDITIONS and what not in PRODUCTS) or len(operands) != 2 or node.kwargs:
            raise Refused(self.in_the_way(node))
        shapes = self.traced.shapes
        if any(value.name not in shapes for value in (node, *operands)):
            raise Refused(f"{node.name} combines hidden units with a value of unknown shape")
        place = self._axis_from_the_end(node, operands)
        carriers = [value for value in operands if _size(shapes[value.name], place) == self.hidden]
        if len(carriers) == 2 and what in ADDITIONS:
            self.sums.add(node)
        if what in PRODUCTS:
            self.multiply(node, carriers, place)
            return
        if len(carriers) < 2:
            self.freedom &= RELABELLING
        degree = next(self.carries[value].degree for value in (*carriers, node) if value in self.carries)
        for value in (*carriers, node):
            self.assign(value, Carry(place + len(shapes[value.name]), degree))

    def multiply(self, node: fx.Node, carriers: list[fx.Node], place: int) -> None:
        """Degrees add up; an operand that is not reached otherwise is a gate, of degree 0."""
        if len(carriers) == 2:
            self.freedom &= SEPARATE
        shapes, carries = self.traced.shapes, self.carries
        known = [value for value in carriers if value in carries]
        if not known:
            main = max(carriers, key=lambda value: _count(shapes[value.name]))
            self.assign(main, Carry(place + len(shapes[main.name]), carries[node].degree))
        for value in carriers:
            if value not in carries:
                self.assign(value, Carry(place + len(shapes[value.name]), 0.0))
        total = sum(carries[value].degree for value in carriers)
        self.assign(node, Carry(place + len(shapes[node.name]), total))

    def _axis_from_the_end(self, node: fx.Node, operands: Iterable[fx.Node]) -> int:
        known = next(value for value in (node, *operands) if value in self.carries)
        shape = self.traced.shapes[known.name]
        axis = self.carries[known].axis
        if shape[axis] != self.hidden:
            raise Refused(f"{node.name} joins hidden units that already share their axis with positions")
        return axis - len(shape)


def _size(shape: tuple[int, ...], place: int) -> int:
    return shape[place] if -place <= len(shape) else 1


def _count(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
