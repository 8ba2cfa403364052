"""Decision attacks behind their fence: near the exact distance, one point at a time, counted, never failing a batch.

Seen to fail with: the mean of the signs left in; directions not normalised; foolbox's own gradient estimate on a batch
of two; the seed independent of the point; torch's state not restored; the budget not enforced; the early stop left out;
the last example returned instead of the nearest; a failed start raising; a given start that is no example used; wrong
points attacked; queries of the start not counted.
"""

from typing import Any

import eagerpy as ep
import pytest
import torch
from foolbox.attacks import HopSkipJumpAttack
from foolbox.criteria import Misclassification, TargetedMisclassification
from foolbox.distances import l2
from torch import Tensor, nn

from attacks.gradient.goal import Goal
from attacks.query import boundary, hopskipjump
from attacks.query.decision import Witness
from attacks.query.hopskipjump import OnePointHopSkipJump
from attacks.targets import NetworkModel, wrap
from attacks.threat import measure
from ensemble.errors import InputError, UnknownName
from tests.attacks.conftest import Points
from tests.attacks.gradient.linear import BOX, class_radii, least_radius, linear, points

NORM = pytest.mark.parametrize("norm", ["linf", "l2"])


@pytest.fixture(scope="module")
def model(network: nn.Module, held_out: Points) -> NetworkModel:
    """The trained network as foolbox sees it."""
    return wrap(network, bounds=BOX, example=held_out.inputs[:4])


class Counted(NetworkModel):
    """A model that counts the points it was asked about."""

    asked = 0

    def __call__(self, inputs: Any) -> Any:
        """Count and answer."""
        self.asked += len(inputs)
        return super().__call__(inputs)


def counted(model: NetworkModel) -> Counted:
    """Return the same network with a count of its own."""
    return Counted(model.network, bounds=BOX, classes=model.classes)


@NORM
def test_hopskipjump_comes_near_the_hyperplane(norm: str) -> None:
    """The example lies a little beyond the exact distance, never before it, and is an example."""
    model = linear(3, features=6)
    x, labels = points(model, n=6)
    attack = hopskipjump(norm, steps=12)
    found = attack.run(model, x, labels)
    radius = least_radius(model, x, labels, norm)
    ratio = measure(norm, found - x).float() / radius
    assert (model.answers(found) != labels).all()
    assert ratio.min() > 0.999
    assert ratio.max() < 1.35
    torch.testing.assert_close(attack.outcome.reach, measure(norm, found - x).float())


def test_the_boundary_attack_comes_near_the_hyperplane() -> None:
    """In L2 a random walk of six hundred steps is within a factor of three, from a start that was farther away."""
    model = linear(3, features=6)
    x, labels = points(model, n=4)
    found, start = (boundary("l2", steps=steps).run(model, x, labels) for steps in (600, 0))
    radius = least_radius(model, x, labels, "l2")
    ratio = measure("l2", found - x).float() / radius
    assert (model.answers(found) != labels).all()
    assert ratio.min() > 0.999
    assert ratio.max() < 3
    assert (measure("l2", start - x).float() / radius).min() > 3


@NORM
def test_the_gradient_estimate_is_that_of_foolbox(norm: str, model: NetworkModel, held_out: Points) -> None:
    """From one start and seed, one point ends where foolbox's own attack ends, which asks one direction at a time."""
    x, y = held_out.inputs[:1], held_out.labels[:1]
    start = held_out.inputs[held_out.labels != y[0]][:1]
    results = []
    for kind in (OnePointHopSkipJump, HopSkipJumpAttack):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            attack = kind(steps=2, initial_gradient_eval_steps=10, constraint=norm)
            criterion = _AnyBatch(y) if kind is OnePointHopSkipJump else Misclassification(y)
            results.append(attack.run(model, x, criterion, starting_points=start))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)


class _AnyBatch(Misclassification):  # type: ignore[misc]
    """One label for batches of any size."""

    def __call__(self, perturbed: Any, outputs: Any) -> Any:
        """Return whether each answer differs from the label."""
        return outputs.argmax(axis=-1) != self.labels


@pytest.mark.parametrize("attack", [hopskipjump("linf", steps=2), boundary("l2", steps=20)], ids=["hsj", "boundary"])
def test_a_point_does_not_depend_on_its_batch(attack: Any, model: NetworkModel, held_out: Points) -> None:
    """Alone, in a batch and in reverse order each point ends in the same place, whatever torch's seed."""
    x, y = held_out.inputs[:4], held_out.labels[:4]
    together = attack.run(model, x, y)
    torch.rand(3)
    backwards = attack.run(model, x.flip(0), y.flip(0)).flip(0)
    alone = torch.cat([attack.run(model, x[i : i + 1], y[i : i + 1]) for i in range(4)])
    assert torch.equal(together, backwards)
    assert torch.equal(together, alone)


def test_torch_state_is_left_alone_and_the_seed_counts(model: NetworkModel, held_out: Points) -> None:
    """Other attacks draw what they would have drawn; another seed finds another example."""
    x, y = held_out.inputs[:1], held_out.labels[:1]
    before = torch.get_rng_state()
    found = [hopskipjump("l2", steps=1, seed=seed).run(model, x, y) for seed in (0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(found[0], found[1])


def test_each_point_draws_numbers_of_its_own() -> None:
    """The noise tried as a start of one point is not that of another."""
    seen: list[Tensor] = []

    class Watched(NetworkModel):
        def __call__(self, inputs: Any) -> Any:
            seen.append(getattr(inputs, "raw", inputs).clone())
            return super().__call__(inputs)

    x = torch.tensor([0.2, 0.7]).view(2, 1, 1, 1)
    hopskipjump("l2", starts=10).run(Watched(Constant(), bounds=BOX, classes=3), x, torch.tensor([1, 1]))
    noise = [batch for batch in seen if len(batch) == 10]
    assert len(noise) == 2
    assert not torch.equal(noise[0], noise[1])


def test_queries_are_counted_and_bounded(model: NetworkModel, held_out: Points) -> None:
    """The count is what the model was asked; a budget ends a point with the best so far."""
    x, y = held_out.inputs[:2], held_out.labels[:2]
    target = counted(model)
    attack = hopskipjump("linf", steps=3, queries=150)
    found = attack.run(target, x, y)
    assert attack.outcome.used.sum() == target.asked
    assert (attack.outcome.used >= 150).all()
    assert (attack.outcome.used < 150 + 150).all()
    assert (model.answers(found) != y).all()


def test_a_fixed_epsilon_is_judged_by_distance_and_ends_early(model: NetworkModel, held_out: Points) -> None:
    """Foolbox's call with one radius: success exactly where the example is within it, for fewer queries."""
    x, y = held_out.inputs[:6], held_out.labels[:6]
    attack = hopskipjump("linf", steps=6)
    whole = attack.run(model, x, y)
    spent = attack.outcome.used.sum()
    epsilon = measure("linf", whole - x).median().item() * 1.1
    _, clipped, success = attack(model, x, y, epsilons=epsilon)
    assert torch.equal(success, model(clipped).argmax(1) != y)
    assert (attack.outcome.reach <= epsilon)[success].all()
    assert 3 <= success.sum() < 6
    assert attack.outcome.used.sum() < spent


def test_the_nearest_example_seen_is_returned() -> None:
    """No example that the model was asked about is nearer than the one returned, wherever the budget ends."""
    model = linear(3, features=6)
    x, labels = points(model, n=1)

    seen: list[Tensor] = []

    class Watched(NetworkModel):
        def __call__(self, inputs: Any) -> Any:
            seen.append(getattr(inputs, "raw", inputs).clone())
            return super().__call__(inputs)

    target = Watched(model.network, bounds=BOX, classes=3)
    for queries in (100, 160, 250, 330, 1000):
        seen.clear()
        found = hopskipjump("l2", steps=3, queries=queries).run(target, x, labels)
        asked = torch.cat(seen)
        examples = asked[model.answers(asked) != labels]
        assert measure("l2", found - x) <= measure("l2", examples - x).min() + 1e-9


def test_a_witness_keeps_the_nearest_of_all_batches() -> None:
    """A later, farther example does not replace it, and an answer that is no example counts as a query only."""
    origin = torch.zeros(1, 2)
    witness = Witness(Goal(torch.tensor([0])), origin, l2, 100, None)
    wrong, right = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])
    near, far, own = torch.tensor([[0.1, 0.0]]), torch.tensor([[0.5, 0.0], [0.4, 0.0]]), torch.tensor([[0.01, 0.0]])
    for asked, answer in ((far, wrong), (near, wrong), (far, wrong), (own, right)):
        witness(ep.astensor(asked), ep.astensor(answer.expand(len(asked), 2)))
    assert torch.equal(witness.nearest, near)
    assert witness.reach == pytest.approx(0.1)
    assert witness.used == 6


class Constant(nn.Module):
    """Always the same class: no start exists."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return `[batch 3]`, class 1."""
        return torch.tensor([0.0, 1.0, 0.0]).expand(len(inputs), 3) + 0 * inputs.flatten(1)[:, :1]


def test_a_point_without_a_start_counts_as_held() -> None:
    """It is returned as it was, after the queries of the search; a wrong point costs one query and stays, too."""
    model = counted(NetworkModel(Constant(), bounds=BOX, classes=3))
    x = torch.rand(2, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    attack = hopskipjump("linf", steps=2, starts=10)
    found = attack.run(model, x, torch.tensor([1, 0]))
    assert torch.equal(found, x)
    assert attack.outcome.used.tolist() == [1 + 3 + 10, 1]
    assert attack.outcome.started.tolist() == [False, True]
    assert attack.outcome.reach.tolist() == [torch.inf, 0.0]


def test_a_given_start_is_used_only_where_it_is_an_example() -> None:
    """The first point's start is an example and saves the search; the second's is not and is passed over."""
    model = linear(2, features=6)
    x, labels = points(model, n=40)
    right, left = x[labels == 0], x[labels == 1]
    inputs, starts = torch.stack([right[0], right[1]]), torch.stack([left[0], right[2]])
    attack = hopskipjump("l2", steps=0)
    found = attack.run(model, inputs, torch.tensor([0, 0]), starting_points=starts)
    assert (model.answers(found) == 1).all()
    assert measure("l2", found - inputs)[0] <= measure("l2", starts - inputs)[0]
    assert attack.outcome.started.all()
    assert attack.outcome.used[1] > attack.outcome.used[0]


def test_a_given_class_is_reached() -> None:
    """Targeted: the example answers the class, and cannot be nearer than that class is."""
    model = linear(3, features=6)
    x, labels = points(model, n=4)
    targets = (labels + 1) % 3
    found = hopskipjump("l2", steps=3).run(model, x, TargetedMisclassification(targets))
    radius = class_radii(model, x, labels, "l2").gather(1, targets[:, None])[:, 0]
    assert (model.answers(found) == targets).all()
    assert (measure("l2", found - x) >= 0.999 * radius).all()


def test_other_bounds_and_norms_are_refused(network: nn.Module, held_out: Points) -> None:
    """Foolbox would clip to [0, 1], or never return."""
    model = wrap(network, bounds=(-1.0, 1.0), example=held_out.inputs[:4])
    with pytest.raises(InputError, match="rescale the inputs"):
        hopskipjump("l2").run(model, held_out.inputs[:1], held_out.labels[:1])
    with pytest.raises(UnknownName, match="HopSkipJump"):
        hopskipjump("l1")
    with pytest.raises(UnknownName, match="boundary"):
        boundary("linf")
