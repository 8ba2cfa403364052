"""The expectation over members: its exact gradient in any chunks, and of the very draws that were made.

Seen to fail with: the mean of the losses instead of the loss of the mean; shares not normalised; a chunk left out; the
sign of a targeted goal left out; fresh draws in the second pass; one draw for all samples; a point finished when the
mean is wrong although members are right; the probability left out of the rank.
"""

import math
from typing import Any

import pytest
import torch
from foolbox.criteria import TargetedMisclassification
from torch import Tensor, nn
from torch.nn import functional

from attacks.gradient import KEEP_SURROGATE_LOSS
from attacks.gradient.ball import BALLS
from attacks.gradient.eot import ExpectationAutoPGD, eot, eot_sampled, exact_source, expectation, sampled_source
from attacks.gradient.goal import Goal
from attacks.gradient.members import members_left
from attacks.targets import EnsembleModel, wrap
from attacks.threat import measure
from tests.attacks.conftest import Points, small_network
from tests.attacks.gradient.linear import BOX, linear
from tests.attacks.gradient.members import CHEAP, HOPELESS, Members, ensemble_of, middle


@pytest.fixture(autouse=True)
def _seeded() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def five() -> EnsembleModel:
    """Five untrained networks as one ensemble, served at random."""
    return ensemble_of([small_network().eval() for _ in range(5)], mode="random_member", classes=10)


def _by_autograd(model: EnsembleModel, x: Tensor, goal: Goal) -> tuple[Tensor, Tensor]:
    """Return -log mean_m p_m and its gradient, written down directly."""
    x = x.clone().requires_grad_()
    logits = model.network.member_logits(x)
    named = logits.softmax(2)[:, torch.arange(len(x)), goal.labels]
    loss = -goal.sign * named.mean(0).log()
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    return loss.detach(), gradient


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("chunk", [None, 1, 2, 5])
def test_the_gradient_is_that_of_the_exact_expectation(
    chunk: int | None, sign: float, five: EnsembleModel, held_out: Points
) -> None:
    """Equal to autograd through the mean of probabilities, however the members are cut."""
    x = held_out.inputs[:7]
    goal = Goal(held_out.labels[:7], sign)
    loss, gradient, logits = expectation(exact_source(chunk)(five), x, goal)
    expected_loss, expected_gradient = _by_autograd(five, x, goal)
    torch.testing.assert_close(loss, expected_loss)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(logits, five.network.member_logits(x).transpose(0, 1))


def test_memory_is_that_of_one_chunk(five: EnsembleModel, held_out: Points) -> None:
    """No gradient is ever asked of more members than the chunk holds."""
    expectation(exact_source(2)(five), held_out.inputs[:3], Goal(held_out.labels[:3]))
    assert five.network.at_once == [2, 2, 1]


class Coin(nn.Module):
    """One of several networks, drawn anew for every pass from torch's generator."""

    def __init__(self, members: nn.Module) -> None:
        super().__init__()
        self.members = members
        self.eval()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return `[batch classes]` of one member."""
        drawn = int(torch.randint(len(self.members.members), ()))
        return self.members.members[drawn](inputs)


def test_sampled_gradients_belong_to_the_draws_they_are_weighted_by(five: EnsembleModel, held_out: Points) -> None:
    """The answer of each draw is that of one member, and the gradient is autograd's for exactly these members."""
    x, goal = held_out.inputs[:4], Goal(held_out.labels[:4])
    coin = wrap(Coin(five.network), bounds=BOX, example=x)
    _, gradient, logits = expectation(sampled_source(6)(coin), x, goal)
    every = five.network.member_logits(x)
    drawn = [next(m for m in range(5) if torch.allclose(every[m], logits[:, k])) for k in range(6)]
    assert len(set(drawn)) > 1
    same = EnsembleModel(Members([five.network.members[m] for m in drawn]), bounds=BOX, classes=10)
    torch.testing.assert_close(gradient, _by_autograd(same, x, goal)[1], rtol=1e-4, atol=1e-7)


def test_many_samples_come_near_the_exact_gradient(five: EnsembleModel, held_out: Points) -> None:
    """Four hundred draws of five members: cosine above 0.97."""
    x, goal = held_out.inputs[:4], Goal(held_out.labels[:4])
    coin = wrap(Coin(five.network), bounds=BOX, example=x)
    sampled = expectation(sampled_source(400)(coin), x, goal)[1].flatten(1)
    exact = expectation(exact_source(None)(five), x, goal)[1].flatten(1)
    assert functional.cosine_similarity(sampled, exact).min() > 0.97


def test_the_rank_counts_members_first() -> None:
    """Members left, minus one, plus their mean probability; negative where none is left; turned round for a target."""
    right, wrong = [math.log(3.0), 0.0], [0.0, math.log(3.0)]
    logits = torch.tensor([[right, right], [right, wrong], [wrong, wrong]])
    labels = torch.zeros(3, dtype=torch.int64)
    torch.testing.assert_close(members_left(logits, Goal(labels)), torch.tensor([1.75, 0.5, -0.75]))
    torch.testing.assert_close(members_left(logits, Goal(labels, -1.0)), torch.tensor([-0.75, 0.5, 1.75]))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_points_stop_when_no_member_is_left(norm: str, five: EnsembleModel) -> None:
    """Two linear members over one input: what is returned is inside the ball, and where all are wrong all stays so."""
    networks = [linear(3, seed=seed).network for seed in (0, 1)]
    model = ensemble_of(networks, mode="random_member")
    x = 0.5 + 0.2 * (torch.rand(60, 1, 1, 16) - 0.5)
    labels = model.member_answers(x)[0]
    epsilon = {"linf": 0.08, "l2": 0.25}[norm]
    attack = eot(norm, steps=30)
    found = attack.run(model, x, labels, epsilon=epsilon)
    left = (model.member_answers(found) == labels).sum(0)
    before = (model.member_answers(x) == labels).sum(0)
    assert measure(norm, found - x).max() <= epsilon + 1e-6
    assert (left <= before).all()
    assert (left == 0).sum() > 20
    assert (left < before).sum() > 30


def test_a_given_class_is_reached_by_all_members(five: EnsembleModel) -> None:
    """Targeted: with a large radius both members answer the class asked for."""
    model = ensemble_of([linear(3, seed=seed).network for seed in (0, 1)], mode="random_member")
    x = 0.5 + 0.2 * (torch.rand(40, 1, 1, 16) - 0.5)
    targets = (model.answers(x) + 1) % 3
    found = eot("linf", steps=30).run(model, x, TargetedMisclassification(targets), epsilon=0.4)
    assert (model.member_answers(found) == targets).all(0).float().mean() > 0.7


def test_the_surrogate_rule_keeps_the_highest_expected_loss(five: EnsembleModel, held_out: Points) -> None:
    """Crafted for transfer, the loss of the mean rises for every point, and no point stops."""
    x, y = held_out.inputs[:6], held_out.labels[:6]
    attack = ExpectationAutoPGD(BALLS["linf"], exact_source(2), steps=5, keep=KEEP_SURROGATE_LOSS)
    found = attack.run(five, x, y, epsilon=0.2)
    assert five.network.at_once == [2, 2, 1] * 5
    assert (_by_autograd(five, found, Goal(y))[0] > _by_autograd(five, x, Goal(y))[0]).all()


def test_a_sampled_attack_turns_a_random_model(five: EnsembleModel) -> None:
    """On a coin between two linear members most draws are wrong afterwards."""
    networks = Members([linear(3, seed=seed).network for seed in (0, 1)])
    x = 0.5 + 0.2 * (torch.rand(40, 1, 1, 16) - 0.5)
    coin = wrap(Coin(networks), bounds=BOX, example=x)
    labels = networks(x).argmax(1)
    found = eot_sampled("linf", steps=20, samples=8).run(coin, x, labels, epsilon=0.2)
    assert (networks.member_logits(found).argmax(2) == labels).float().mean() < 0.2


def test_a_member_without_hope_stops_the_expectation() -> None:
    """The known weakness: the gradient follows the one member that has some, away from the one that could be turned."""
    model = ensemble_of([HOPELESS, CHEAP], mode="random_member")
    x, y = middle(5)
    found = eot("linf", steps=30).run(model, x, y, epsilon=0.1)
    assert (model.member_answers(found) == y).all()


def test_models_without_members_are_refused(network: nn.Module, held_out: Points) -> None:
    """The exact expectation needs members."""
    model = wrap(network, bounds=BOX, example=held_out.inputs[:4])
    with pytest.raises(TypeError, match="member_logits"):
        eot("linf", steps=1).run(model, held_out.inputs[:2], held_out.labels[:2], epsilon=0.1)
