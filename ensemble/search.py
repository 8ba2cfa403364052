r"""Orbit search by variable projection: the group element moves, the upper weights follow in closed form.

.. math:: J(g) = \min_{U', c'} \frac1k \sum_p \lVert U' \varphi_p(\sigma(g z)) + c' - t_p \rVert^2

over the member's own pre-activations z (clean and crafted inputs), with the base's clean outputs as targets t. The
inner minimum is solved in closed form at the start and at the end; in between, Adam moves g and the warm upper weights
together on minibatches of images (docs/mathematics.md, section 9).

V' = g V with a free U' is layer-local fine-tuning restricted to the left orbit of V: what the symmetry contributes is
shown by the controls, not assumed.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ensemble.calibration import Fit
from ensemble.errors import CalibrationError, InputError
from ensemble.groups import DirectSum, GeneralLinear, GroupElement
from ensemble.layers import FoldedLayer
from ensemble.problem import SiteProblem
from ensemble.recipe import Recipe

# Inputs for the closed form at the start and for judging whether the search helped; the last one uses all of them.
PROBE = 256


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
        start: a random element of the general linear group, or of a direct sum of such groups.
        recipe: steps, batch, rate, ridge and the bound on the condition number.
        rng: CPU generator of the minibatches.

    Raises:
        CalibrationError: the refit fails, or the search left the finite numbers.
        InputError: the start belongs to a group that cannot be searched.
    """
    if not isinstance(start.group, GeneralLinear | DirectSum):
        raise InputError(f"orbit search: expected an element of a group that mixes units, got {start.group.name}")
    device = problem.upper.weight.device
    everything = torch.arange(problem.count, device=device)
    if recipe.fit_rows_per_unit is not None:
        return _interpolate(problem, start, recipe.fit_rows_per_unit, rng)
    if not (recipe.search_steps and problem.searchable):
        upper, fit = problem.refit(start, ridge=recipe.ridge, rows=everything)
        return SearchResult(start, upper, fit, fit.residual, fit.residual)
    probe = torch.randperm(problem.count, generator=rng)[:PROBE].to(device)
    try:
        warm, begin = problem.refit(start, ridge=recipe.ridge, rows=probe)
    except CalibrationError:
        # The probe is a part of the data: only too few rows in all is the caller's error.
        probe = everything
        warm, begin = problem.refit(start, ridge=recipe.ridge, rows=probe)
    kept, end_residual = start, begin.residual
    moved = start.group.project(_descend(problem, start, warm, recipe, rng))
    end = _judged(problem, moved, recipe, probe)
    if end is not None and end.residual <= begin.residual:
        kept, end_residual = moved, end.residual
    upper, fit = problem.refit(kept, ridge=recipe.ridge, rows=everything)
    return SearchResult(kept, upper, fit, begin.residual, end_residual)


def _judged(problem: SiteProblem, moved: GroupElement, recipe: Recipe, rows: Tensor) -> Fit | None:
    """Return the fit at the element the search ended at, or None where it cannot be fitted (it killed every unit)."""
    try:
        return problem.refit(moved, ridge=recipe.ridge, rows=rows)[1]
    except CalibrationError:
        return None


def _interpolate(problem: SiteProblem, start: GroupElement, per_unit: float, rng: torch.Generator) -> SearchResult:
    """Return the minimum-norm refit on a few inputs, as published: exact on them, nothing known elsewhere."""
    inputs = max(round(per_unit * start.hidden), 1)
    if inputs > problem.count:
        raise CalibrationError(
            f"the refit needs {inputs} inputs ({per_unit:g} per unit), got {problem.count}; add calibration inputs"
        )
    rows = torch.randperm(problem.count, generator=rng)[:inputs].to(problem.upper.weight.device)
    upper, fit = problem.refit(start, ridge=None, rows=rows)
    return SearchResult(start, upper, fit, fit.residual, fit.residual)


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
    # Units of different blocks are not mixed: Adam leaves entries alone whose gradient is always zero.
    blocks = start.group.blocks if isinstance(start.group, DirectSum) else 1
    support = torch.block_diag(*[torch.ones(start.hidden // blocks, start.hidden // blocks)] * blocks).to(g)
    count = problem.count
    unit = _mean_square(problem)
    with torch.enable_grad():
        for _ in range(recipe.search_steps):
            rows = torch.randint(count, (min(recipe.search_batch, count),), generator=rng).to(weight.device)
            output = problem.output(g * support, replace(warm, weight=weight, bias=bias), rows)
            loss = (output - problem.wanted(rows)).square().mean() / unit
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    if not bool(torch.isfinite(g).all()):
        raise CalibrationError(
            "orbit search: expected finite values, got NaN or infinity; lower the recipe's search_rate or scale"
        )
    return g.detach()


def _mean_square(problem: SiteProblem) -> float:
    rows = torch.arange(min(problem.count, PROBE), device=problem.upper.weight.device)
    return float(problem.wanted(rows).square().mean()) or 1.0
