r"""The regression of one site of one member: what the upper layer reads for a group element, and what it must produce.

Three forms with one interface. `MapProblem` holds whole pre-activations. `PatchProblem` holds, for a convolution right
behind the activation, the patches at a sample of positions per image: mixing, activation and product then cost a small
part of a whole map. `SharedProblem` serves upper layers with too many regressors for the full refit: one pi for all
positions, U' = U (pi ⊗ 1).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ensemble.calibration import Fit, NormalEquations, minimum_norm, regressor_rows, target_rows
from ensemble.groups import GroupElement
from ensemble.layers import FoldedLayer

CHUNK = 64
#: The ridge may shrink to U g^-1 only while the inverse is harmless (docs/mathematics.md, section 5).
PRIOR_CONDITION = 10.0


class SiteProblem(Protocol):
    """What the search needs of a site."""

    @property
    def upper(self) -> FoldedLayer:
        """Return the upper layer as it stands."""
        ...

    @property
    def count(self) -> int:
        """Return the number of inputs (images) whose rows are held."""
        ...

    @property
    def searchable(self) -> bool:
        """Return whether the upper weights may move freely during a search."""
        ...

    def output(self, g: Tensor, layer: FoldedLayer, rows: Tensor) -> Tensor:
        """Return `layer`'s output rows `[n out]` on the given inputs when the hidden units are mixed by g."""
        ...

    def wanted(self, rows: Tensor) -> Tensor:
        """Return the target rows `[n out]` of the given inputs."""
        ...

    def refit(self, element: GroupElement, *, ridge: float | None, rows: Tensor) -> tuple[FoldedLayer, Fit]:
        """Return the upper layer refitted in closed form on the given inputs, and how good the fit is.

        `ridge=None` asks for the minimum-norm solution.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class MapProblem:
    """Whole pre-activations.

    Attributes:
        preactivation: z, `[inputs hidden ...]` (or hidden last), the member's own.
        target: what the upper layer must produce, `[inputs out ...]`.
        through: activation and whatever lies between it and the upper layer.
        upper: the upper layer as it stands.
        channel_axis: axis of the hidden units in `preactivation`.
        affine: whether the upper layer can store a bias.
    """

    preactivation: Tensor
    target: Tensor
    through: Callable[[Tensor], Tensor]
    upper: FoldedLayer
    channel_axis: int
    affine: bool
    searchable: bool = True

    @property
    def count(self) -> int:
        """Return the number of inputs held."""
        return self.preactivation.shape[0]

    def upper_input(self, g: Tensor, rows: Tensor) -> Tensor:
        """Return what the upper layer reads."""
        return self.through(mix(g, self.preactivation[rows], self.channel_axis))

    def output(self, g: Tensor, layer: FoldedLayer, rows: Tensor) -> Tensor:
        """Return `layer`'s output rows `[n out]`."""
        return target_rows(layer, layer(self.upper_input(g, rows)))

    def wanted(self, rows: Tensor) -> Tensor:
        """Return the target rows `[n out]`."""
        return target_rows(self.upper, self.target[rows])

    def refit(self, element: GroupElement, *, ridge: float | None, rows: Tensor) -> tuple[FoldedLayer, Fit]:
        """Return the refitted upper layer and its fit."""

        def regressors(g: Tensor, part: Tensor) -> Tensor:
            return regressor_rows(self.upper, self.upper_input(g, part))

        return _full_refit(self, regressors, element, ridge=ridge, rows=rows)


@dataclass(frozen=True, slots=True, eq=False)
class PatchProblem:
    """Patches of the pre-activation at a sample of the upper convolution's output positions.

    Attributes:
        patches: z at every tap of every sampled position, `[inputs hidden taps*positions]`, taps outermost.
        target: `[inputs positions out]`.
        through: the activation; it must send 0 to 0, which is what the convolution pads with.
        upper: the upper layer as it stands.
        affine: whether it can store a bias.
    """

    patches: Tensor
    target: Tensor
    through: Callable[[Tensor], Tensor]
    upper: FoldedLayer
    affine: bool
    searchable: bool = True

    @property
    def count(self) -> int:
        """Return the number of inputs held."""
        return self.patches.shape[0]

    def regressors(self, g: Tensor, rows: Tensor) -> Tensor:
        """Return the regressor rows `[n regressors]`, ordered as the flattened weight."""
        z = self.patches[rows]
        activated = self.through(torch.matmul(g, z))
        inputs, hidden, _ = activated.shape
        positions = self.target.shape[1]
        return activated.reshape(inputs, hidden, -1, positions).permute(0, 3, 1, 2).reshape(inputs * positions, -1)

    def output(self, g: Tensor, layer: FoldedLayer, rows: Tensor) -> Tensor:
        """Return `layer`'s output rows `[n out]`."""
        return torch.nn.functional.linear(self.regressors(g, rows), layer.weight.flatten(1), layer.bias)

    def wanted(self, rows: Tensor) -> Tensor:
        """Return the target rows `[n out]`."""
        return self.target[rows].flatten(0, 1)

    def refit(self, element: GroupElement, *, ridge: float | None, rows: Tensor) -> tuple[FoldedLayer, Fit]:
        """Return the refitted upper layer and its fit."""
        return _full_refit(self, self.regressors, element, ridge=ridge, rows=rows)


@dataclass(frozen=True, slots=True, eq=False)
class SharedProblem:
    """One pi `[hidden hidden]` for all positions: U' = U (pi ⊗ 1), fitted to the base's own upper input.

    Attributes:
        preactivation: z, `[inputs hidden ...]`, the member's own.
        clean_input: what the base's upper layer reads, `[inputs hidden ...]` or flattened, paired by row.
        through: activation and whatever lies between it and the upper layer.
        upper: the upper layer as it stands.
        channel_axis: axis of the hidden units in `preactivation`.
        affine: whether the upper layer can store a bias; the constant is used only where no zero padding cuts it off.
    """

    preactivation: Tensor
    clean_input: Tensor
    through: Callable[[Tensor], Tensor]
    upper: FoldedLayer
    channel_axis: int
    affine: bool
    searchable: bool = False

    @property
    def count(self) -> int:
        """Return the number of inputs held."""
        return self.preactivation.shape[0]

    def output(self, g: Tensor, layer: FoldedLayer, rows: Tensor) -> Tensor:
        """Return `layer`'s output rows `[n out]`."""
        mixed = mix(g, self.preactivation[rows], self.channel_axis)
        return target_rows(layer, layer(self.through(mixed)))

    def wanted(self, rows: Tensor) -> Tensor:
        """Return what the upper layer makes of the base's own input, as rows `[n out]`."""
        return target_rows(self.upper, self.upper(self.clean_input[rows]))

    def refit(self, element: GroupElement, *, ridge: float | None, rows: Tensor) -> tuple[FoldedLayer, Fit]:
        """Return the upper layer U (pi ⊗ 1) and the fit of pi."""
        hidden = element.hidden
        constant = self.affine and isinstance(self.upper.template, torch.nn.Linear)
        g = element.matrix.to(self.upper.weight)
        equations = NormalEquations(hidden, hidden, affine=constant, device=g.device)
        with torch.no_grad():
            for part in rows.split(CHUNK):
                read = self.through(mix(g, self.preactivation[part], self.channel_axis))
                equations.add(self._channels(read), self._channels(self.clean_input[part]))
        fit = equations.solve(ridge=ridge or 0.0)
        layer = self.upper.mix_input(fit.weight)
        if fit.bias is not None:
            per_channel = self.upper.weight.reshape(len(self.upper.weight), hidden, -1).sum(-1)
            shift = per_channel @ fit.bias.to(per_channel)
            layer = replace(layer, bias=shift if layer.bias is None else layer.bias + shift)
        return layer, fit

    def _channels(self, value: Tensor) -> Tensor:
        """Return rows `[inputs*positions hidden]` of an input of the upper layer.

        The upper layer says where the hidden units lie, not the lower one: an axis may be moved between the two. A
        Linear reads maps hidden-last; a convolution, and a Linear behind a flatten, have them first within axis 1.
        """
        hidden = self.preactivation.shape[self.channel_axis]
        if isinstance(self.upper.template, torch.nn.Linear) and value.ndim > 2:
            return value.reshape(-1, hidden)
        return value.reshape(value.shape[0], hidden, -1).transpose(1, 2).reshape(-1, hidden)


def mix(g: Tensor, z: Tensor, channel_axis: int) -> Tensor:
    """Return g z along the hidden axis: `[inputs hidden ...]` for axis 1, `[... hidden]` for axis -1."""
    if channel_axis == -1:
        return z @ g.T
    flat = torch.matmul(g, z.flatten(2))
    return flat.reshape(z.shape)


def _full_refit(
    problem: MapProblem | PatchProblem,
    regressors: Callable[[Tensor, Tensor], Tensor],
    element: GroupElement,
    *,
    ridge: float | None,
    rows: Tensor,
) -> tuple[FoldedLayer, Fit]:
    upper = problem.upper
    weight = upper.weight
    g = element.matrix.to(weight)
    with torch.no_grad():
        if ridge is None:
            phi = torch.cat([regressors(g, part) for part in rows.split(CHUNK)])
            wanted = problem.wanted(rows)
            fit = minimum_norm(phi, wanted if upper.bias is None else wanted - upper.bias)
        else:
            equations = NormalEquations(weight[0].numel(), len(weight), affine=problem.affine, device=weight.device)
            for part in rows.split(CHUNK):
                equations.add(regressors(g, part), problem.wanted(part))
            inverse = (~element).matrix if element.condition() <= PRIOR_CONDITION else torch.eye(element.hidden)
            fit = equations.solve(ridge=ridge, prior=upper.mix_input(inverse).weight.flatten(1))
    bias = None if fit.bias is None else fit.bias.to(weight.dtype)
    if ridge is None:
        bias = upper.bias
    return replace(upper, weight=fit.weight.to(weight.dtype).reshape(weight.shape), bias=bias), fit
