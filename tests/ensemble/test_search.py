"""The orbit search: its gradient against the envelope theorem, its flat directions, and that it never ends worse.

Seen to fail: g transposed in mix; the best element not kept.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from ensemble.errors import InputError
from ensemble.groups import DirectSum, GeneralLinear, Orthogonal, identity
from ensemble.layers import FoldedLayer
from ensemble.problem import MapProblem, mix
from ensemble.recipe import Recipe
from ensemble.search import _judged, search
from tests.ensemble.cases import generator


def _problem(rows: int = 300, hidden: int = 8, out: int = 5, noise: float = 0.3) -> MapProblem:
    rng = generator(3)
    z = torch.randn(rows, hidden, generator=rng, dtype=torch.float64)
    upper = nn.Linear(hidden, out).double()
    layer = FoldedLayer(upper, upper.weight.detach(), upper.bias.detach())
    shifted = z + noise * torch.randn(rows, hidden, generator=rng, dtype=torch.float64)
    return MapProblem(shifted, layer(F.relu(z)), F.relu, layer, -1, True)


def _objective(problem: MapProblem, g: Tensor) -> Tensor:
    """J(g) with the inner least squares solved by a dense, differentiable solver."""
    a = F.relu(problem.preactivation @ g.T)
    wide = torch.cat([a, torch.ones(len(a), 1, dtype=a.dtype)], 1)
    solution = torch.linalg.lstsq(wide, problem.target).solution
    return (wide @ solution - problem.target).square().mean()


def test_envelope_gradient_equals_autograd_through_the_solve() -> None:
    """With U' at its optimum, the gradient with U' held fixed is the gradient through the solve."""
    problem = _problem()
    g = GeneralLinear().sample(8, scale=0.5, rng=generator()).matrix.requires_grad_()
    (through,) = torch.autograd.grad(_objective(problem, g), g)
    element = GeneralLinear().project(g.detach())
    layer, _ = problem.refit(element, ridge=0.0, rows=torch.arange(300))
    (envelope,) = torch.autograd.grad(
        (layer(problem.upper_input(g, torch.arange(300))) - problem.target).square().mean(), g
    )
    assert_close(envelope, through, rtol=1e-6, atol=1e-9)
    # ReLU: J is constant along positive scalings of a hidden unit.
    assert_close((through @ g.detach().T).diagonal(), torch.zeros(8, dtype=torch.float64), rtol=0, atol=1e-9)


def test_identity_element_is_exact_on_clean_inputs() -> None:
    """J(1) = 0 where the member's inputs are the base's."""
    problem = _problem(noise=0.0)
    _, fit = problem.refit(identity(GeneralLinear(), 8), ridge=0.0, rows=torch.arange(300))
    assert fit.residual < 1e-6


def test_search_lowers_the_residual_and_keeps_the_best() -> None:
    """The search ends well below its start; with an absurd rate it keeps the start instead of a worse point."""
    problem = _problem()
    start = GeneralLinear(1e4).sample(8, scale=1.5, rng=generator())
    found = search(problem, start, Recipe(search_steps=150, search_batch=64), generator())
    assert found.end_residual < 0.9 * found.start_residual
    assert float((found.element.matrix - start.matrix).abs().max()) > 0.05
    wild = search(problem, start, Recipe(search_steps=3, search_rate=50.0), generator())
    assert wild.end_residual <= wild.start_residual
    still = search(problem, start, Recipe(search_steps=0), generator())
    assert_close(still.element.matrix, start.matrix, rtol=0, atol=0)


def test_search_keeps_the_blocks_of_a_direct_sum() -> None:
    """Units of different blocks are never mixed, the blocks themselves move, and other groups are refused."""
    group = DirectSum(GeneralLinear(1e4), 2)
    start = group.sample(8, scale=1.0, rng=generator())
    found = search(_problem(), start, Recipe(search_steps=60), generator())
    matrix = found.element.matrix
    assert float(matrix[:4, 4:].abs().max()) == float(matrix[4:, :4].abs().max()) == 0.0
    assert float((matrix - start.matrix).abs().max()) > 0.05
    assert found.end_residual < found.start_residual
    with pytest.raises(InputError, match="orthogonal"):
        search(_problem(), Orthogonal().sample(8, scale=1.0, rng=generator()), Recipe(), generator())


def test_a_search_that_kills_every_unit_keeps_its_start() -> None:
    """Where the moved element leaves nothing to fit, the start is kept instead of an error."""
    z = torch.rand(300, 4, generator=generator(), dtype=torch.float64)
    upper = FoldedLayer(nn.Linear(4, 2).double(), torch.zeros(2, 4, dtype=torch.float64), None)
    problem = MapProblem(z, torch.zeros(300, 2, dtype=torch.float64), lambda a: F.relu(a - 3.0), upper, -1, False)
    start = GeneralLinear().project(20 * torch.eye(4, dtype=torch.float64))
    dead = GeneralLinear().project(torch.eye(4, dtype=torch.float64))
    assert _judged(problem, start, Recipe(), torch.arange(300)) is not None
    assert _judged(problem, dead, Recipe(), torch.arange(300)) is None


def test_search_respects_the_condition_bound() -> None:
    """The kept element never exceeds the recipe's bound."""
    start = GeneralLinear(20).sample(8, scale=3.0, rng=generator())
    found = search(_problem(), start, Recipe(search_steps=30, max_condition=20), generator())
    assert found.element.condition() <= 20


@pytest.mark.parametrize("shape", [(3, 4, 2, 5), (3, 4, 6)])
def test_mix_acts_on_channels(shape: tuple[int, ...]) -> None:
    """G mixes axis 1 of images and sequences and the last axis of Linear outputs, not its transpose."""
    rng = generator()
    g = torch.randn(4, 4, generator=rng)
    z = torch.randn(shape, generator=rng)
    assert_close(mix(g, z, 1), torch.einsum("ij,bj...->bi...", g, z))
    flat = torch.randn(7, 4, generator=rng)
    assert_close(mix(g, flat, -1), torch.einsum("ij,bj->bi", g, flat))
