r"""Orbit search by variable projection: the group element moves, the upper weights follow in closed form.

.. math:: J(g) = \min_{U', c'} \frac1k \sum_p \lVert U' \varphi_p(\sigma(g z)) + c' - t_p \rVert^2

over the member's own pre-activations z (clean and crafted inputs), with the base's clean outputs as targets t. The
inner minimum is solved in closed form at the start and at the end; in between, Adam moves g and the warm upper weights
together on minibatches of images (docs/mathematics.md, section 9).

V' = g V with a free U' is layer-local fine-tuning restricted to the left orbit of V: what the symmetry contributes is
shown by the controls, not assumed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ensemble.calibration import Fit, NormalEquations, regressor_rows, target_rows
from ensemble.errors import CalibrationError
from ensemble.groups import GeneralLinear, GroupElement
from ensemble.layers import FoldedLayer
from ensemble.recipe import Recipe

CHUNK = 64
# Rows for the closed form at the start and for judging whether the search helped; the last closed form uses all rows.
PROBE = 256
# The ridge may shrink to U g^-1 only while the inverse is harmless (docs/mathematics.md, section 5).
PRIOR_CONDITION = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class SiteProblem:
    """The regression of one site of one member.

    Attributes:
        preactivation: z, `[rows hidden ...]` (or hidden last), the member's own.
        target: what the upper layer must produce, `[rows out ...]`.
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

    def upper_input(self, g: Tensor, rows: Tensor | slice) -> Tensor:
        """Return what the upper layer reads for the given rows when the hidden units are mixed by g."""
        return self.through(mix(g, self.preactivation[rows], self.channel_axis))

    def refit(self, element: GroupElement, *, ridge: float, rows: Tensor) -> tuple[FoldedLayer, Fit]:
        """Return the upper layer refitted in closed form on the given rows, and how good the fit is."""
        weight = self.upper.weight
        g = element.matrix.to(weight)
        equations = NormalEquations(weight[0].numel(), weight.shape[0], affine=self.affine, device=weight.device)
        with torch.no_grad():
            for part in rows.split(CHUNK):
                phi = regressor_rows(self.upper, self.upper_input(g, part))
                equations.add(phi, target_rows(self.upper, self.target[part]))
        inverse = (~element).matrix if element.condition() <= PRIOR_CONDITION else torch.eye(element.hidden)
        fit = equations.solve(ridge=ridge, prior=self.upper.mix_input(inverse).weight.flatten(1))
        bias = fit.bias if self.affine else None
        layer = replace(
            self.upper,
            weight=fit.weight.to(weight.dtype).reshape(weight.shape),
            bias=None if bias is None else bias.to(weight.dtype),
        )
        return layer, fit


@dataclass(frozen=True, slots=True, eq=False)
class SearchResult:
    """Where the search of one site ended.

    Attributes:
        element: the group element that is kept.
        upper: the upper layer refitted at it on all rows.
        fit: that refit's residual, rank and condition.
        start_residual: residual at the element the search started from, on the probe rows.
        end_residual: residual at the kept element, on the same rows; never above `start_residual`.
    """

    element: GroupElement
    upper: FoldedLayer
    fit: Fit
    start_residual: float
    end_residual: float


def search(problem: SiteProblem, start: GroupElement, recipe: Recipe, rng: torch.Generator) -> SearchResult:
    """Return the best group element found from `start` and the upper layer that goes with it.

    Args:
        problem: the site's regression.
        start: a random element.
        recipe: steps, batch, rate, ridge and the bound on the condition number.
        rng: CPU generator of the minibatches.

    Raises:
        CalibrationError: the refit fails, or the search left the finite numbers.
    """
    count = problem.preactivation.shape[0]
    device = problem.preactivation.device
    everything = torch.arange(count, device=device)
    probe = torch.randperm(count, generator=rng)[:PROBE].to(device)
    try:
        warm, begin = problem.refit(start, ridge=recipe.ridge, rows=probe)
    except CalibrationError:
        # The probe is a part of the data: only too few rows in all is the caller's error.
        probe = everything
        warm, begin = problem.refit(start, ridge=recipe.ridge, rows=probe)
    kept, end_residual = start, begin.residual
    if recipe.search_steps:
        moved = GeneralLinear(recipe.max_condition).project(_descend(problem, start, warm, recipe, rng))
        _, end = problem.refit(moved, ridge=recipe.ridge, rows=probe)
        if end.residual <= begin.residual:
            kept, end_residual = moved, end.residual
    upper, fit = problem.refit(kept, ridge=recipe.ridge, rows=everything)
    return SearchResult(kept, upper, fit, begin.residual, end_residual)


def _descend(
    problem: SiteProblem, start: GroupElement, warm: FoldedLayer, recipe: Recipe, rng: torch.Generator
) -> Tensor:
    """Return g after Adam steps on g and the warm upper weights."""
    g = start.matrix.to(warm.weight).clone().requires_grad_()
    weight = warm.weight.clone().requires_grad_()
    upper_rate = recipe.search_rate * float(warm.weight.std())
    groups = [{"params": [g], "lr": recipe.search_rate}, {"params": [weight], "lr": upper_rate}]
    bias = None
    if warm.bias is not None:
        bias = warm.bias.clone().requires_grad_()
        groups.append({"params": [bias], "lr": upper_rate})
    optimiser = torch.optim.Adam(groups)
    count = problem.preactivation.shape[0]
    unit = float(problem.target.square().mean()) or 1.0
    with torch.enable_grad():
        for _ in range(recipe.search_steps):
            rows = torch.randint(count, (min(recipe.search_batch, count),), generator=rng).to(weight.device)
            output = replace(warm, weight=weight, bias=bias)(problem.upper_input(g, rows))
            loss = (output - problem.target[rows]).square().mean() / unit
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    if not bool(torch.isfinite(g).all()):
        raise CalibrationError(
            "orbit search: expected finite values, got NaN or infinity; lower the recipe's search_rate or scale"
        )
    return g.detach()


def mix(g: Tensor, z: Tensor, channel_axis: int) -> Tensor:
    """Return g z along the hidden axis: `[rows hidden ...]` for axis 1, `[... hidden]` for axis -1."""
    if channel_axis == -1:
        return z @ g.T
    flat = torch.matmul(g, z.flatten(2))
    return flat.reshape(z.shape)
