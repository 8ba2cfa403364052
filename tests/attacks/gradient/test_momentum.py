"""MI and NI against the published formulas, written out point by point.

Seen to fail with: signs accumulated in place of gradients; the mean absolute value taken over the batch; the gradient
normalised after it is accumulated; the decay left out; the momentum of one point remembered for another; the look
ahead without its decay, or in the direction of the signs; the memory kept from one run to the next; the logits of the
point ahead kept in place of the iterate's.
"""

import pytest
import torch
from foolbox.attacks import (
    L2MomentumIterativeFastGradientMethod,
    LinfBasicIterativeAttack,
    LinfMomentumIterativeFastGradientMethod,
)
from foolbox.criteria import TargetedMisclassification
from torch import Tensor, nn
from torch.nn import functional

from attacks.gradient import KEEP_SERVED_MARGIN, KEEP_SURROGATE_LOSS, mi, ni, pgd
from attacks.gradient.keeping import served_margin
from attacks.targets import NetworkModel
from tests.attacks.conftest import Points
from tests.attacks.gradient.linear import DUAL, linear, points
from tests.attacks.gradient.recording import BOX, Prescribed, Recorded

STEPS = {"steps": 5, "rel_stepsize": 0.2}


def _gradient(network: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    functional.cross_entropy(network(x[None]), label[None]).backward()
    assert x.grad is not None
    return x.grad


def _published(network: nn.Module, x: Tensor, label: Tensor, epsilon: float, *, ahead: float) -> list[Tensor]:
    """Algorithm 1 of Dong et al., with equation 6 of Lin et al. where `ahead` is 1, on one point in Linf."""
    origin, momentum, iterates = x, torch.zeros_like(x), [x]
    alpha = 0.7 * epsilon
    for _ in range(5):
        gradient = _gradient(network, x + ahead * alpha * 0.9 * momentum, label)
        momentum = 0.9 * momentum + gradient / gradient.abs().mean()
        x = x + alpha * momentum.sign()
        x = torch.minimum(torch.maximum(x, origin - epsilon), origin + epsilon).clamp(0, 1)
        iterates.append(x)
    return iterates


@pytest.mark.parametrize("ahead", [0.0, 1.0])
def test_the_iterates_are_the_published_ones(ahead: float, network: nn.Module, held_out: Points) -> None:
    """Every iterate of a batch equals that of the formula applied to each point alone."""
    model, x, y = Recorded(network), held_out.inputs[:12], held_out.labels[:12]
    attack = mi("linf", keep=KEEP_SURROGATE_LOSS, decay=0.9, lookahead=ahead, steps=5, rel_stepsize=0.7)
    best = attack.run(model, x, y, epsilon=0.15)
    published = [_published(network, image, label, 0.15, ahead=ahead) for image, label in zip(x, y, strict=True)]
    iterates = [torch.stack(step) for step in zip(*published, strict=True)]
    for expected in iterates:
        nearest = min((batch - expected).abs().flatten(1).amax(1).max().item() for batch in model.seen[1:])
        assert nearest <= 1e-6
    losses = torch.stack([functional.cross_entropy(network(step), y, reduction="none") for step in iterates])
    assert not torch.equal(losses.argmax(0), torch.full((12,), 5))  # the best iterate is not always the last
    torch.testing.assert_close(
        functional.cross_entropy(network(best), y, reduction="none"), losses.amax(0), rtol=1e-4, atol=1e-5
    )


def test_gradients_are_normalised_before_they_are_accumulated() -> None:
    """Two prescribed gradients whose accumulated signs, by hand, differ from the accumulation of their signs."""
    first, second = torch.tensor([30.0, 10.0]), torch.tensor([-0.1, 0.3])
    x, y = torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])
    moved = {}
    for name, attack in {
        "published": mi("linf", keep=KEEP_SURROGATE_LOSS, steps=2, rel_stepsize=0.25),
        "signs": LinfMomentumIterativeFastGradientMethod(steps=2, rel_stepsize=0.25),
    }.items():
        model = Recorded(Prescribed([first, second]), classes=2)
        returned = attack.run(model, x, y, epsilon=0.4)
        # Ours keeps the best iterate by a loss that changes here; the last one is what the model is shown last.
        moved[name] = (model.seen[-1] if name == "published" else returned).flatten() - 0.5
    # 30/20 - 0.1/0.2 = 1.0 > 0 and 10/20 + 0.3/0.2 = 2.0 > 0: both steps go up. Signs: 1 - 1 = 0 and 1 + 1 = 2.
    torch.testing.assert_close(moved["published"], torch.tensor([0.2, 0.2]))
    torch.testing.assert_close(moved["signs"], torch.tensor([0.1, 0.2]))


def test_where_signs_do_not_change_foolbox_agrees(network: nn.Module) -> None:
    """On a linear network of two classes accumulated signs are signs: foolbox's MI, BIM and ours end alike."""
    model = linear(2)
    x, y = points(model)
    ours = mi("linf", keep=KEEP_SURROGATE_LOSS, **STEPS).run(model, x, y, epsilon=0.1)
    for twin in (LinfMomentumIterativeFastGradientMethod, LinfBasicIterativeAttack):
        torch.testing.assert_close(ours, twin(steps=5, rel_stepsize=0.2).run(model, x, y, epsilon=0.1))
    ours = mi("l2", keep=KEEP_SURROGATE_LOSS, **STEPS).run(model, x, y, epsilon=0.1)
    twin = L2MomentumIterativeFastGradientMethod(steps=5, rel_stepsize=0.2)
    torch.testing.assert_close(ours, twin.run(model, x, y, epsilon=0.1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_without_decay_it_is_projected_gradient_descent(norm: str, network: nn.Module, held_out: Points) -> None:
    """Momentum that forgets everything takes the steps of PGD from the same start."""
    model, x, y = Recorded(network), held_out.inputs[:16], held_out.labels[:16]
    plain = pgd(norm, random_start=False, keep=KEEP_SURROGATE_LOSS, **STEPS).run(model, x, y, epsilon=0.3)
    forgetful = mi(norm, keep=KEEP_SURROGATE_LOSS, decay=0.0, **STEPS).run(model, x, y, epsilon=0.3)
    torch.testing.assert_close(plain, forgetful, rtol=0, atol=1e-6)
    assert not torch.allclose(plain, mi(norm, keep=KEEP_SURROGATE_LOSS, **STEPS).run(model, x, y, epsilon=0.3))


@pytest.mark.parametrize("make", [mi, ni])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_on_a_linear_network_the_margin_falls_as_far_as_it_can(make: type, norm: str) -> None:
    """By epsilon times the dual norm of the weights in Linf and L2; in L1 as far as the gradient's direction leads."""
    model: NetworkModel = linear(2)
    x, y = points(model)
    found = make(norm, keep=KEEP_SURROGATE_LOSS, **STEPS).run(model, x, y, epsilon=0.1)
    weight = model.network.weight[0] - model.network.weight[1]
    best = 0.1 * weight.norm(DUAL[norm])
    fall = {"linf": best, "l2": best, "l1": 0.1 * weight.square().sum() / weight.abs().sum()}[norm]
    fallen = served_margin(model.logits(x), y) - served_margin(model.logits(found), y)
    torch.testing.assert_close(fallen, fall.expand(len(x)), rtol=1e-4, atol=1e-5)
    assert (fallen <= best * (1 + 1e-4)).all()


def test_a_look_ahead_is_as_long_as_the_steps_of_its_norm(network: nn.Module, held_out: Points) -> None:
    """After one step in L2 the gradient is taken about one step beyond the iterate, not many."""
    model, x, y = Recorded(network), held_out.inputs[:16], held_out.labels[:16]
    ni("l2", keep=KEEP_SURROGATE_LOSS, steps=2, rel_stepsize=0.5).run(model, x, y, epsilon=0.2)
    iterate, ahead = model.seen[3], model.seen[4]
    length = (ahead - iterate).flatten(1).norm(dim=1) / 0.1
    assert ((length >= 0.9) & (length < 5)).all()


def test_points_do_not_see_each_other(network: nn.Module, held_out: Points) -> None:
    """A point attacked alone ends where it ends in a batch that others leave early."""
    model, x, y = NetworkModel(network, bounds=BOX, classes=10), held_out.inputs[:20], held_out.labels[:20]
    attack = mi("linf", keep=KEEP_SERVED_MARGIN, steps=8, rel_stepsize=0.125)
    together = attack.run(model, x, y, epsilon=0.12)
    alone = torch.cat([attack.run(model, x[i : i + 1], y[i : i + 1], epsilon=0.12) for i in range(20)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


def test_every_pass_is_counted_and_survivors_only(network: nn.Module, held_out: Points) -> None:
    """All steps cost a pass each way per point, and two forwards more; with an early stop, fewer by those that left."""
    x, y = held_out.inputs[:20], held_out.labels[:20]
    model = NetworkModel(network, bounds=BOX, classes=10)
    mi("linf", keep=KEEP_SURROGATE_LOSS, **STEPS).run(model, x, y, epsilon=0.12)
    assert (model.passes.forwards, model.passes.backwards) == (20 * 7, 20 * 5)
    model = NetworkModel(network, bounds=BOX, classes=10)
    ni("linf", keep=KEEP_SURROGATE_LOSS, **STEPS).run(model, x, y, epsilon=0.12)
    assert (model.passes.forwards, model.passes.backwards) == (20 * 12, 20 * 5)
    recorded = Recorded(network)
    mi("linf", keep=KEEP_SERVED_MARGIN, **STEPS).run(recorded, x, y, epsilon=0.12)
    assert recorded.passes.forwards == sum(len(batch) for batch in recorded.seen) < 20 * 7
    assert recorded.passes.backwards == sum(len(batch) for batch in recorded.differentiated) < 20 * 5


def test_a_target_class_is_reached_by_the_shortest_way() -> None:
    """Of three linear classes the one wished for gains on both others, and the keep rule ranks it alone."""
    model = linear(3)
    x, y = points(model, n=40)
    wished = (y + 1) % 3
    attack = mi("linf", keep=KEEP_SERVED_MARGIN, steps=20, rel_stepsize=0.1)
    found = attack.run(model, x, TargetedMisclassification(wished), epsilon=0.3)
    assert (model.answers(found) == wished).all()
    _, clipped, success = attack(model, x, TargetedMisclassification(wished), epsilons=0.3)
    assert success.all()
    assert (clipped - x).abs().max() <= 0.3 + 1e-6
    near = attack.run(model, x, TargetedMisclassification(wished), epsilon=0.01)
    assert (served_margin(model.logits(near), wished) > served_margin(model.logits(x), wished)).all()
    assert not (model.answers(near) == wished).all()


def test_the_start_is_the_one_given(network: nn.Module, held_out: Points) -> None:
    """A warm start is the first point the model is shown after the input."""
    model, x, y = Recorded(network), held_out.inputs[:4], held_out.labels[:4]
    start = (x + 0.05).clamp(0, 1)
    mi("linf", keep=KEEP_SURROGATE_LOSS, **STEPS).run(model, x, y, epsilon=0.1, starting_points=start)
    assert torch.equal(model.seen[1], start)
