"""What a site is: names of layers and graph nodes of one traced network, and the group that acts there. All values."""

from dataclasses import dataclass
from enum import Enum

from ensemble.activations import Activation
from ensemble.groups import DirectSum, GeneralLinear, Group
from ensemble.layers import LayerRef


class Role(Enum):
    """How a layer takes part in the action of a group element on hidden units."""

    WRITER = "writer"
    """Its output units are the hidden units: W' = g W, b' = g b."""
    READER = "reader"
    """Its input units are the hidden units: U' = U g^-1."""
    RIDER = "rider"
    """A depthwise layer between hidden units and themselves: its filters are relabelled, its bias follows g."""


@dataclass(frozen=True, slots=True)
class Part:
    """One layer that an exact element changes.

    Attributes:
        ref: the layer.
        role: how it changes.
        degree: the element acts on the layer's side of the site with every entry raised to this power: 1 before a
            homogeneous activation, its degree behind it, 0 where a gate multiplies the hidden units.
    """

    ref: LayerRef
    role: Role
    degree: float


@dataclass(frozen=True, slots=True)
class Site:
    """One place where a group element acts on `hidden` units and one upper layer can be refitted.

    Attributes:
        lower: the layer whose output units are mixed.
        upper: the layer whose weights are refitted.
        activation: the table row behind the lower layer.
        hidden: number of hidden units, the size of the group element.
        channel_axis: axis of the hidden units in the pre-activation (1 for convolutions, -1 for Linear).
        regressors: inputs of the upper layer per output unit, the size of the refit.
        affine: whether the upper layer can store a bias, so the refit may have a constant term.
        lower_input: graph node that the lower layer reads.
        preactivation: graph node that the activation reads.
        upper_input: graph node that the upper layer reads.
        upper_output: graph node that holds the folded upper layer's output.
        addition: graph node where a shortcut joins the upper output, or None.
        shortcut: graph node of that shortcut, or None.
        exact_group: the largest group of the table that is exact for everything between lower and upper.
        blocks: units of different blocks cannot be mixed (a grouped lower convolution); 1 where all can.
        riders: layers between lower and upper that an exact element also changes; the data-dependent action leaves
            them alone, since the refit reads what comes out of them.
        upper_degree: the degree of the element's action on the upper layer's input.
    """

    lower: LayerRef
    upper: LayerRef
    activation: Activation
    hidden: int
    channel_axis: int
    regressors: int
    affine: bool
    lower_input: str
    preactivation: str
    upper_input: str
    upper_output: str
    addition: str | None
    shortcut: str | None
    exact_group: Group
    blocks: int = 1
    riders: tuple[Part, ...] = ()
    upper_degree: float = 1.0

    @property
    def name(self) -> str:
        """Return the site's name in reports: lower layer, arrow, upper layer."""
        return f"{self.lower} -> {self.upper}"

    @property
    def group(self) -> Group:
        """Return the group that the data-dependent action may use."""
        return self.bounded_group(GeneralLinear().max_condition)

    def bounded_group(self, max_condition: float) -> "GeneralLinear | DirectSum":
        """Return the same group with another bound on the condition number."""
        dense = GeneralLinear(max_condition)
        return dense if self.blocks == 1 else DirectSum(dense, self.blocks)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Return every layer that an exact element changes."""
        return (Part(self.lower, Role.WRITER, 1.0), Part(self.upper, Role.READER, self.upper_degree), *self.riders)


@dataclass(frozen=True, slots=True)
class CoupledSite:
    """Hidden units with several writers or readers: one exact element acts on all of them, and no refit is possible.

    The residual stream of a ResNet is one: every block writes to it and reads from it.

    Attributes:
        parts: all layers that write, read or carry the units.
        hidden: number of units.
        exact_group: the largest group of the table that is exact here.
        reason: why no single upper layer can be refitted.
    """

    parts: tuple[Part, ...]
    hidden: int
    exact_group: Group
    reason: str

    @property
    def name(self) -> str:
        """Return the first writer and how many layers take part."""
        writers, readers = (
            [str(part.ref) for part in self.parts if part.role is role] for role in (Role.WRITER, Role.READER)
        )
        return f"{writers[0]} (+{len(writers) - 1}) -> {readers[0]} (+{len(readers) - 1})"


@dataclass(frozen=True, slots=True)
class RefusedSite:
    """A layer that looks like a site but must not be acted on, and why."""

    layer: str
    reason: str
