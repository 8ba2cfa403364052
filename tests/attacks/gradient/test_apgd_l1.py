"""Auto-PGD in the L1 ball: the exact projection, the published sparsity rule, and the optimum of linear networks.

Seen to fail with: ball and box projected one after the other; the threshold not searched; the room of the other side;
one value too few in a step; the step not of length one; the share left as it was; the return to the best left out; the
step not bounded from below; values at the box pushed on.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from attacks.gradient import KEEP_SERVED_MARGIN, KEEP_SURROGATE_LOSS, pgd
from attacks.gradient.apgd_l1 import L1, SparseClimb, apgd_l1, project_l1, sparse_direction
from attacks.gradient.climb import Reading
from attacks.gradient.keeping import served_margin
from attacks.targets import NetworkModel
from ensemble.errors import UnknownName
from tests.attacks.gradient.linear import BOX, Linear, least_radius, linear, points


@pytest.fixture(autouse=True)
def _seeded() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def _onto_ball(delta: Tensor, epsilon: float) -> Tensor:
    """Return the projection onto the L1 ball by sorting (Duchi et al., 2008)."""
    size = delta.abs()
    order = size.sort(dim=1, descending=True).values
    excess = (order.cumsum(1) - epsilon) / torch.arange(1, delta.shape[1] + 1)
    last = (order > excess).sum(1, keepdim=True) - 1
    threshold = excess.gather(1, last).clamp_min(0)
    projected = (size - threshold).clamp_min(0) * delta.sign()
    return torch.where(size.sum(1, keepdim=True) <= epsilon, delta, projected)


def _by_dykstra(x: Tensor, origin: Tensor, epsilon: float) -> Tensor:
    """Return the projection onto ball and box by Dykstra's alternating projections."""
    ball, box = torch.zeros_like(x), torch.zeros_like(x)
    for _ in range(3000):
        inside = origin + _onto_ball(x + ball - origin, epsilon)
        ball = x + ball - inside
        x = (inside + box).clamp(*BOX)
        box = inside + box - x
    return x


def test_the_projection_is_the_nearest_point_of_ball_and_box() -> None:
    """Equal to an independent iteration, where box and ball both bind, and the identity inside both."""
    origin = torch.rand(20, 6, dtype=torch.float64)
    origin[:, 0] = 0.02
    x = origin + torch.randn(20, 6, dtype=torch.float64)
    found = project_l1(x, origin, 0.8, BOX)
    torch.testing.assert_close(found, _by_dykstra(x, origin, 0.8), rtol=0, atol=1e-4)
    assert (found - origin).abs().sum(1).max() <= 0.8 + 1e-9
    inside = origin + 0.01 * (0.5 - origin)
    torch.testing.assert_close(project_l1(inside, origin, 0.8, BOX), inside)


def test_the_ball_of_the_attack_projects_onto_both_at_once() -> None:
    """What the attack calls is the joint projection, for iterates and for starts."""
    origin = torch.rand(20, 1, 2, 3)
    origin[:, 0, 0, 0] = 0.02
    x = origin + torch.randn(20, 1, 2, 3)
    assert torch.equal(L1.project(x, origin, 0.8, BOX), project_l1(x, origin, 0.8, BOX))
    apart = (origin + _onto_ball((x - origin).flatten(1), 0.8).view_as(origin)).clamp(*BOX)
    assert (L1.project(x, origin, 0.8, BOX) - apart).abs().max() > 0.05
    used = (L1.start(origin, 0.8, BOX) - origin).flatten(1).abs().sum(1)
    assert used.max() <= 0.8 + 1e-5
    assert used.median() > 0.79  # the whole radius, except where the box is in the way of a draw


def test_a_step_changes_the_largest_gradients() -> None:
    """Half of four values: the two largest, by sign, of total length one; at least one always."""
    gradient = torch.tensor([[3.0, -4.0, 1.0, 0.5], [3.0, -4.0, 1.0, 0.5]])
    step = sparse_direction(gradient, torch.tensor([0.5, 0.0]))
    assert step.tolist() == [[0.5, -0.5, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0]]


def test_a_sparser_best_starts_afresh_and_others_shrink_their_step() -> None:
    """Point 0 uses 4 of 10 values where it used 10: full step from its best; point 1 still uses all: step / 1.5."""
    origin = torch.zeros(2, 10)
    best = torch.zeros(2, 10)
    best[0, :4], best[1] = 1.0, 1.0
    climb = SparseClimb.begin(torch.arange(2), best, Reading(torch.ones(2), torch.ones(2), best), 3.0)
    climb = climb.moved(best + 1, Reading(torch.zeros(2), torch.ones(2), 2 * best + 1)).looked_at(origin, 3.0)
    assert climb.step.tolist() == [3.0, 2.0]
    torch.testing.assert_close(climb.share, torch.tensor([0.4, 1.0]) / 1.5)
    assert torch.equal(climb.x[0], best[0])
    assert torch.equal(climb.gradient[0], best[0])
    assert torch.equal(climb.x[1], best[1] + 1)
    for _ in range(10):
        climb = climb.looked_at(origin, 3.0)
    torch.testing.assert_close(climb.step, torch.full((2,), 0.3))


def test_on_linear_classes_the_reachable_points_fall() -> None:
    """With two classes: exactly the points whose hyperplane is within epsilon, the box out of reach."""
    model = linear(2)
    x, labels = points(model, n=200)
    radius = least_radius(model, x, labels, "l1")
    epsilon = radius.median().clamp_max(0.35).item()
    found = apgd_l1("l1", steps=60).run(model, x, labels, epsilon=epsilon)
    fooled = model.answers(found) != labels
    clear = (radius / epsilon - 1).abs() > 0.1
    assert torch.equal(fooled[clear], (radius < epsilon)[clear])
    assert (found - x).flatten(1).abs().sum(1).max() <= epsilon + 1e-5


def _best_fall(weight: Tensor, x: Tensor, epsilon: float) -> Tensor:
    """Return how far w . x can fall, by filling the steepest values up to the box first, `[batch]`."""
    order = weight.abs().argsort(descending=True)
    flat = x.flatten(1)[:, order]
    room = torch.where(weight[order] > 0, flat, 1 - flat)
    filled = torch.minimum(room, (epsilon - (room.cumsum(1) - room)).clamp_min(0))
    return (filled * weight[order].abs()).sum(1)


def test_with_the_box_in_the_way_the_optimum_is_reached() -> None:
    """The steepest values reach the box long before the radius is used up; plain L1 descent is far from it."""
    weight = torch.randn(40, generator=torch.Generator().manual_seed(0))
    model = NetworkModel(Linear(torch.stack([weight, torch.zeros(40)])), bounds=BOX, classes=2)
    x, labels = torch.rand(30, 1, 1, 40), torch.zeros(30, dtype=torch.int64)
    before = served_margin(model.logits(x), labels)
    falls = {}
    for name, attack in {
        "apgd": apgd_l1("l1", steps=100, keep=KEEP_SURROGATE_LOSS),
        "pgd": pgd("l1", steps=100, rel_stepsize=0.1, random_start=True, keep=KEEP_SURROGATE_LOSS),
    }.items():
        falls[name] = before - served_margin(model.logits(attack.run(model, x, labels, epsilon=4.0)), labels)
    best = _best_fall(weight, x, 4.0)
    assert (falls["apgd"] <= best * 1.0001).all()
    assert (falls["apgd"] / best).min() > 0.97
    assert (falls["pgd"] / best).mean() < (falls["apgd"] / best).mean() - 0.02


def test_a_plain_foolbox_call_works_and_other_norms_are_refused() -> None:
    """Foolbox clips, measures and scores; other balls have their own attack."""
    model = linear(3)
    x, labels = points(model, n=40)
    attack = apgd_l1("l1", steps=20, restarts=2, keep=KEEP_SERVED_MARGIN)
    _, clipped, success = attack(model, x, labels, epsilons=0.1)
    assert torch.equal(success, model(clipped).argmax(1) != labels)
    assert success.any()
    with pytest.raises(UnknownName, match="L1"):
        apgd_l1("l2")
