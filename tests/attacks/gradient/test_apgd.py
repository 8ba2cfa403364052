"""Auto-PGD: it reaches the optimum where that is known, returns its best iterate, and pays for survivors only.

Seen to fail with: the sign of the step flipped; the projection onto the ball or the box left out; momentum replaced by
its complement; the last look left out; `Found` left at the origin; fooled points kept in the batch; restarts started at
the starting points again; one restart only; classes in reverse order; the rival left out of the goal; targets that
include the label; the surrogate rule stopping early.
"""

from typing import Any

import pytest
import torch
from foolbox.criteria import TargetedMisclassification
from torch import Tensor, nn
from torch.nn import functional

from attacks.gradient import KEEP_SERVED_MARGIN, KEEP_SURROGATE_LOSS, Transfer, pgd
from attacks.gradient.apgd import apgd_ce, apgd_dlr
from attacks.gradient.apgd_targeted import apgd_dlr_targeted
from attacks.gradient.goal import Goal
from attacks.gradient.keeping import served_margin
from attacks.ladder import craft
from attacks.targets import NetworkModel, wrap
from attacks.threat import ThreatModel, measure
from tests.attacks.conftest import Points
from tests.attacks.gradient.linear import BOX, DUAL, class_radii, least_radius, linear, points

NORM = pytest.mark.parametrize("norm", ["linf", "l2"])
BUILDER = pytest.mark.parametrize("build", [apgd_ce, apgd_dlr, apgd_dlr_targeted])


class Recorded(NetworkModel):
    """A model that remembers every batch it was shown, and which of them with a gradient."""

    def __init__(self, network: nn.Module, classes: int = 10) -> None:
        super().__init__(network, bounds=BOX, classes=classes)
        self.seen: list[Tensor] = []
        self.with_gradient = 0

    def __call__(self, inputs: Any) -> Any:
        """Remember and answer."""
        raw = getattr(inputs, "raw", inputs)
        self.with_gradient += len(raw) if raw.requires_grad else 0
        self.seen.append(raw.detach().clone())
        return super().__call__(inputs)


@pytest.fixture(autouse=True)
def _seeded() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def model(network: nn.Module, held_out: Points) -> NetworkModel:
    """The trained network as foolbox sees it."""
    return wrap(network, bounds=BOX, example=held_out.inputs[:4])


@NORM
@BUILDER
def test_examples_stay_in_ball_and_box(norm: str, build: Any, model: NetworkModel, held_out: Points) -> None:
    """Before foolbox clips anything, no example passes its radius or leaves the box."""
    inputs, labels = held_out.inputs[:20], held_out.labels[:20]
    for epsilon in (0.1, 0.7):
        found = build(norm, steps=6, keep=KEEP_SERVED_MARGIN).run(model, inputs, labels, epsilon=epsilon)
        assert measure(norm, found - inputs).max() <= epsilon + 1e-6
        assert found.min() >= 0
        assert found.max() <= 1


@NORM
def test_on_two_linear_classes_the_optimum_is_reached(norm: str) -> None:
    """The margin falls by epsilon times the dual norm of the weights, which no perturbation can pass."""
    model = linear(2)
    x, labels = points(model)
    weight = model.network.weight
    attack = apgd_ce(norm, steps=30, keep=KEEP_SURROGATE_LOSS)
    found = attack.run(model, x, labels, epsilon=0.2)
    fall = served_margin(model(x), labels) - served_margin(model(found), labels)
    best = 0.2 * (weight[0] - weight[1]).norm(DUAL[norm])
    torch.testing.assert_close(fall, best.expand(len(x)), rtol=1e-3, atol=1e-4)


@NORM
def test_on_linear_classes_exactly_the_reachable_points_fall(norm: str) -> None:
    """Trying every class finds each point whose nearest hyperplane is within epsilon, and no other."""
    model = linear(6)
    x, labels = points(model, n=200)
    radius = least_radius(model, x, labels, norm)
    epsilon = radius.median().item()
    clear = (radius / epsilon - 1).abs() > 0.02
    attack = apgd_dlr_targeted(norm, steps=40, keep=KEEP_SERVED_MARGIN)
    found = attack.run(model, x, labels, epsilon=epsilon)
    fooled = model.answers(found) != labels
    assert torch.equal(fooled[clear], (radius < epsilon)[clear])
    assert 60 < fooled.sum() < 140


@BUILDER
def test_a_given_class_is_reached_where_it_can_be(build: Any) -> None:
    """Targeted: no success beyond the distance to that class, at least half of the points within it reach it."""
    model = linear(5)
    x, labels = points(model, n=200)
    targets = (labels + 1) % 5
    radius = class_radii(model, x, labels, "linf").gather(1, targets[:, None])[:, 0]
    epsilon = radius.median().item()
    found = build("linf", steps=40, keep=KEEP_SERVED_MARGIN).run(
        model, x, TargetedMisclassification(targets), epsilon=epsilon
    )
    reached = model.answers(found) == targets
    assert not reached[radius > 1.01 * epsilon].any()
    assert reached.sum() > 0.5 * (radius < epsilon).sum() > 40


@BUILDER
def test_a_plain_foolbox_call_agrees(build: Any, model: NetworkModel, held_out: Points) -> None:
    """Foolbox clips, measures and scores what `run` returns."""
    _, clipped, success = build("linf", steps=5, keep=KEEP_SERVED_MARGIN)(
        model, held_out.inputs[:20], held_out.labels[:20], epsilons=[0.05, 0.15]
    )
    for rung, fooled in zip(clipped, success, strict=True):
        assert torch.equal(fooled, model(rung).argmax(1) != held_out.labels[:20])
    assert success[1].sum() > success[0].sum()


def test_at_least_as_strong_as_projected_descent(model: NetworkModel, held_out: Points) -> None:
    """With the same number of gradient passes it fools no fewer digits, at a radius where about half fall."""
    fooled = {}
    for name, attack in {
        "apgd": apgd_ce("linf", steps=20, keep=KEEP_SERVED_MARGIN),
        "pgd": pgd("linf", steps=20, rel_stepsize=0.1, random_start=True, keep=KEEP_SERVED_MARGIN),
    }.items():
        crafted = craft(attack, model, held_out.inputs, held_out.labels, ThreatModel("linf", (0.08,)))
        fooled[name] = int(crafted.fooled.sum())
    assert fooled["apgd"] >= fooled["pgd"]
    assert 20 < fooled["apgd"] < 95


def test_the_surrogate_rule_takes_all_steps_and_returns_the_highest_loss(network: nn.Module, held_out: Points) -> None:
    """No point that the surrogate was shown has a higher loss; the last look takes no gradient."""
    model = Recorded(network)
    x, y = held_out.inputs[:16], held_out.labels[:16]
    found = apgd_ce("linf", steps=12, keep=KEEP_SURROGATE_LOSS).run(model, x, y, epsilon=0.3)
    assert [len(seen) for seen in model.seen] == [16] * (1 + 12 + 1)
    assert model.with_gradient == 12 * 16
    losses = torch.stack([functional.cross_entropy(network(seen), y, reduction="none") for seen in model.seen])
    torch.testing.assert_close(functional.cross_entropy(network(found), y, reduction="none"), losses.amax(0))


def test_the_last_look_counts(network: nn.Module, held_out: Points) -> None:
    """With one step the only moved iterates are the start and the last; many points keep the last."""
    x, y = held_out.inputs[:16], held_out.labels[:16]
    model = Recorded(network)
    found = apgd_ce("linf", steps=1, keep=KEEP_SURROGATE_LOSS).run(model, x, y, epsilon=0.1)
    assert (found == model.seen[-1]).flatten(1).all(1).sum() >= 12


def test_fooled_points_leave_and_restarts_see_survivors(network: nn.Module, held_out: Points) -> None:
    """Batches never grow; wrong points are passed once; the second restart begins with the survivors of the first."""
    model = Recorded(network)
    x, y = held_out.inputs, held_out.labels
    right = int((network(x).argmax(1) == y).sum())
    found = apgd_ce("linf", steps=8, restarts=2, keep=KEEP_SERVED_MARGIN).run(model, x, y, epsilon=0.06)
    sizes = [len(seen) for seen in model.seen[1:]]
    assert sizes[0] == right
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[4] < sizes[0]
    assert len(sizes) == 2 * 9
    held = int((network(found).argmax(1) == y).sum())
    assert 0 < held <= sizes[9] < right


class Pit(nn.Module):
    """Class 0 everywhere but in a narrow pit, and flat: only a start inside the pit finds it."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return `[batch 2]` for `[batch 1 1 1]` inputs."""
        x = inputs.flatten(1)[:, 0]
        first = torch.where((x - 0.65).abs() < 0.05, -1.0, 1.0) + 0 * x
        return torch.stack([first, torch.zeros_like(first)], 1)


def test_later_restarts_start_elsewhere_and_lose_nothing() -> None:
    """One start in six falls into the pit: eight restarts find three times as much, and all that one found."""
    model = NetworkModel(Pit(), bounds=BOX, classes=2)
    x, labels = torch.full((200, 1, 1, 1), 0.5), torch.zeros(200, dtype=torch.int64)
    results = []
    for restarts in (1, 8):
        torch.manual_seed(3)
        found = apgd_ce("linf", steps=2, restarts=restarts).run(model, x, labels, epsilon=0.3)
        results.append(model.answers(found) != labels)
    assert (results[1] >= results[0]).all()
    assert 20 < results[0].sum() < 50
    assert results[1].sum() > 130


def test_classes_are_tried_from_the_most_likely_on(network: nn.Module, held_out: Points) -> None:
    """The rivals are the wrong classes by falling logit; never the label."""
    x, y = held_out.inputs[:8], held_out.labels[:8]
    logits = network(x)
    attack = apgd_dlr_targeted("linf", steps=1, classes=20, keep=KEEP_SERVED_MARGIN)
    rivals = torch.stack(
        [goal.rivals for goal in attack.rounds(logits, Goal(y)) if goal.rivals is not None and goal.rivals is not None]
    )
    assert rivals.shape == (9, 8)
    assert not (rivals == y).any()
    values = logits.gather(1, rivals.T)
    assert (values[:, :-1] >= values[:, 1:]).all()


@BUILDER
def test_the_first_run_begins_at_the_starting_points(build: Any, network: nn.Module, held_out: Points) -> None:
    """They are shown to the model right after the inputs; a second restart begins elsewhere."""
    x, y = held_out.inputs[:6], held_out.labels[:6]
    start = (x + 0.01).clamp(0, 1)
    model = Recorded(network)
    build("linf", steps=2, restarts=2, keep=KEEP_SURROGATE_LOSS).run(model, x, y, epsilon=0.1, starting_points=start)
    assert torch.equal(model.seen[1], start)
    assert not torch.equal(model.seen[4], start)


def test_transfer_crafts_on_the_surrogate_alone(model: NetworkModel, network: nn.Module, held_out: Points) -> None:
    """The target is shown nothing, and the examples are those of the surrogate."""
    x, y = held_out.inputs[:8], held_out.labels[:8]
    target = Recorded(network)
    attack = apgd_ce("linf", steps=3, keep=KEEP_SURROGATE_LOSS)
    found = Transfer(model, attack).run(target, x, y, epsilon=0.1)
    torch.manual_seed(0)
    assert target.seen == []
    assert torch.equal(found, attack.run(model, x, y, epsilon=0.1))


def test_one_seed_gives_one_result(model: NetworkModel, held_out: Points) -> None:
    """The start is random and comes from torch's seed."""
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        attack = apgd_ce("l2", steps=3, keep=KEEP_SURROGATE_LOSS)
        found.append(attack.run(model, held_out.inputs[:5], held_out.labels[:5], epsilon=0.5))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
