"""Gradient attacks: they stay in the ball, keep their best iterate, and never ask the target.

Seen to fail with: `new > rank` in `_keep`; the last forward left out; `project` left out; the gradient's sign flipped;
`Transfer.run` crafting on the model it is called with; `KEEP_SURROGATE_LOSS` stopping at the boundary; NaN examples
passed on; the sign of a targeted loss, or of a targeted rank, left out; `loss` bypassed in `value_and_grad`; the random
start not cut to the box.
"""

from typing import Any

import pytest
import torch
from foolbox.criteria import Criterion, TargetedMisclassification
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from attacks.gradient import KEEP_SERVED_MARGIN, KEEP_SURROGATE_LOSS, Goal, Transfer, fgsm, pgd
from attacks.gradient.keeping import served_margin
from attacks.gradient.pgd import LinfProjectedGradientDescent
from attacks.ladder import craft
from attacks.noise import uniform_noise
from attacks.targets import NetworkModel, wrap
from attacks.threat import ThreatModel, measure
from ensemble.errors import InputError
from tests.attacks.conftest import Points
from tests.attacks.gradient.recording import Recorded

BOX = (0.0, 1.0)


@pytest.fixture(scope="module")
def model(network: nn.Module, held_out: Points) -> NetworkModel:
    """The trained network as foolbox sees it."""
    return wrap(network, bounds=BOX, example=held_out.inputs[:4])


class Linear(nn.Module):
    """Logits (w·x, 0): the best Linf perturbation is known in closed form."""

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.eval()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return `[batch 2]`."""
        first = (inputs.flatten(1) * self.weight).sum(1)
        return torch.stack([first, torch.zeros_like(first)], 1)


def _attack(norm: str, kind: str) -> Any:
    if kind == "noise":
        return uniform_noise(norm)
    return (
        fgsm(norm)
        if kind == "fgsm"
        else pgd(norm, steps=5, rel_stepsize=0.5, random_start=True, keep=KEEP_SERVED_MARGIN)
    )


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("kind", ["noise", "fgsm", "pgd"])
def test_examples_stay_in_ball_and_box(norm: str, kind: str, model: NetworkModel, held_out: Points) -> None:
    """Measured anew, no example passes its radius or leaves the box; epsilon 0 moves nothing."""
    threat = ThreatModel(norm, (0.0, 0.1, 0.7) if norm != "l1" else (0.0, 0.5, 7.0))
    inputs, labels = held_out.inputs[:20], held_out.labels[:20]
    crafted = craft(_attack(norm, kind), model, inputs, labels, threat)
    assert crafted.finite
    assert crafted.examples.shape == (3, *inputs.shape)
    assert crafted.examples.min() >= 0
    assert crafted.examples.max() <= 1
    for rung, epsilon, excess in zip(crafted.examples, threat.epsilons, crafted.excess, strict=True):
        assert measure(norm, rung - inputs).max() <= epsilon + threat.tolerance
        assert excess <= threat.tolerance
    torch.testing.assert_close(crafted.examples[0], inputs, rtol=0, atol=1e-7)
    assert measure(norm, crafted.examples[2] - inputs).median() > 0.1  # a point wrong from the start may stay


class Broken:
    """An attack that returns NaN for its first point and the input for the others."""

    def __call__(self, model: Any, x: Tensor, y: Tensor, *, epsilons: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return what foolbox would."""
        found = x.clone()
        found[0, 0, 0, 0] = torch.nan
        return found, found, torch.zeros(len(x), dtype=torch.bool)


def test_a_point_that_comes_back_as_nan_is_not_attacked(model: NetworkModel, held_out: Points) -> None:
    """The input stands in for it, so that it can be judged, and the run is marked for check A3."""
    x, y = held_out.inputs[:3], held_out.labels[:3]
    crafted = craft(Broken(), model, x, y, ThreatModel("linf", (0.1,)))
    assert not crafted.finite
    assert torch.equal(crafted.examples[0], x)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-1, 1).filter(lambda w: abs(w) > 0.01), min_size=4, max_size=4))
def test_on_a_linear_network_pgd_finds_the_optimum(weight: list[float]) -> None:
    """The margin falls by epsilon times the L1 norm of w, which no perturbation can pass."""
    w = torch.tensor(weight)
    network, x = Linear(w), torch.full((1, 1, 2, 2), 0.5)
    model = wrap(network, bounds=BOX, example=x)
    attack = pgd("linf", steps=10, rel_stepsize=0.5, random_start=True, keep=KEEP_SURROGATE_LOSS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        crafted = craft(attack, model, x, torch.tensor([0]), ThreatModel("linf", (0.2,)))
    found = network(crafted.examples[0])[0, 0]
    torch.testing.assert_close(found, network(x)[0, 0] - 0.2 * w.abs().sum(), rtol=1e-4, atol=1e-5)


def test_the_best_iterate_by_surrogate_loss_is_returned(network: nn.Module, held_out: Points) -> None:
    """No point that the surrogate was shown has a higher loss than the one returned."""
    model = Recorded(network)
    x, y = held_out.inputs[:16], held_out.labels[:16]
    attack = pgd("linf", steps=6, rel_stepsize=2.0, random_start=True, keep=KEEP_SURROGATE_LOSS)
    best = attack.run(model, x, y, epsilon=0.1)
    losses = torch.stack([functional.cross_entropy(network(seen), y, reduction="none") for seen in model.seen])
    assert len(model.seen) == 6 + 2
    assert losses.argmax(0).unique().numel() > 1
    torch.testing.assert_close(functional.cross_entropy(network(best), y, reduction="none"), losses.amax(0))


def test_the_white_box_stops_fooled_points_and_keeps_the_margin(network: nn.Module, held_out: Points) -> None:
    """Fooled points leave the batch, and every point ever fooled is returned fooled."""
    model = Recorded(network)
    x, y = held_out.inputs[:30], held_out.labels[:30]
    attack = pgd("linf", steps=6, rel_stepsize=2.0, random_start=True, keep=KEEP_SERVED_MARGIN)
    best = attack.run(model, x, y, epsilon=0.15)
    sizes = [len(seen) for seen in model.seen[1:]]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]
    fooled = {tuple(image.flatten().tolist()) for image in best[served_margin(network(best), y) < 0]}
    shown = {tuple(image.flatten().tolist()) for seen in model.seen for image in seen}
    assert fooled <= shown
    # A point leaves the batch when it is fooled: those of the last pass that stay right are the only ones held.
    assert len(fooled) >= 30 - sizes[-1]


def test_the_margin_is_negative_exactly_where_the_answer_is_wrong() -> None:
    """Closed form on three rows."""
    logits = torch.tensor([[3.0, 1.0, 0.0], [1.0, 4.0, 2.0], [0.0, -1.0, -5.0]])
    torch.testing.assert_close(served_margin(logits, torch.tensor([0, 0, 2])), torch.tensor([2.0, -3.0, -5.0]))


def test_transfer_never_asks_the_target(model: NetworkModel, network: nn.Module, held_out: Points) -> None:
    """Crafting shows the target nothing, and the examples do not depend on which target it is."""
    x, y = held_out.inputs[:8], held_out.labels[:8]
    found = []
    for seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
            target = Recorded(other)
            torch.manual_seed(5)
            attack = pgd("linf", steps=3, rel_stepsize=0.5, random_start=True, keep=KEEP_SURROGATE_LOSS)
            found.append(Transfer(model, attack).run(target, x, y, epsilon=0.1))
        assert target.seen == []
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], x)


def test_transfer_works_in_a_plain_foolbox_call(model: NetworkModel, held_out: Points) -> None:
    """The examples are scored by foolbox on the target it is given."""
    x, y = held_out.inputs[:30], held_out.labels[:30]
    target = wrap(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval(), bounds=BOX, example=x)
    _, clipped, success = Transfer(model, fgsm("linf"))(target, x, y, epsilons=0.1)
    assert torch.equal(success, target.logits(clipped).argmax(1) != y)


def test_transfer_refuses_other_bounds(model: NetworkModel, network: nn.Module, held_out: Points) -> None:
    """Radii would mean different things."""
    other = wrap(network, bounds=(-1.0, 1.0), example=held_out.inputs[:4])
    with pytest.raises(ValueError, match="equal bounds"):
        Transfer(model, fgsm("linf")).run(other, held_out.inputs[:2], held_out.labels[:2], epsilon=0.1)


def test_starting_points_are_used(model: NetworkModel, held_out: Points) -> None:
    """With zero-length steps the given start is the only other candidate, and it is kept where it is better."""
    x, y = held_out.inputs[:8], held_out.labels[:8]
    start = craft(fgsm("linf"), model, x, y, ThreatModel("linf", (0.1,))).examples[0]
    attack = pgd("linf", steps=1, rel_stepsize=0.0, random_start=False, keep=KEEP_SURROGATE_LOSS)
    best = attack.run(model, x, y, epsilon=0.1, starting_points=start)
    better = functional.cross_entropy(model(start), y, reduction="none") > functional.cross_entropy(
        model(x), y, reduction="none"
    )
    assert better.any()
    torch.testing.assert_close(best[better], start[better], rtol=0, atol=1e-6)


class Whim(Criterion):  # type: ignore[misc]
    """A criterion that no attack here knows."""

    def __call__(self, perturbed: Any, outputs: Any) -> Any:
        """Return true for everything."""
        return outputs.argmax(axis=-1) >= 0

    def __repr__(self) -> str:
        return "Whim()"


def test_other_criteria_are_refused(model: NetworkModel, held_out: Points) -> None:
    """The attack says what it can do instead of attacking the wrong goal."""
    attack = pgd("linf", steps=1, rel_stepsize=1.0, random_start=False, keep=KEEP_SERVED_MARGIN)
    with pytest.raises(InputError, match="TargetedMisclassification, got Whim"):
        attack.run(model, held_out.inputs[:2], Whim(), epsilon=0.1)


def test_a_targeted_run_lowers_the_loss_of_its_class(model: NetworkModel, held_out: Points) -> None:
    """Steps go towards the class, points that reached it stop, and the iterate kept is the best for the target."""
    x, wished = held_out.inputs[:30], (held_out.labels[:30] + 1) % 10
    criterion = TargetedMisclassification(wished)
    attack = pgd("linf", steps=20, rel_stepsize=0.1, random_start=True, keep=KEEP_SERVED_MARGIN)
    reached = attack.run(model, x, criterion, epsilon=0.3)
    assert (model.answers(reached) == wished).float().mean() > 0.8
    kept = pgd("linf", steps=5, rel_stepsize=0.5, random_start=True, keep=KEEP_SURROGATE_LOSS)
    best = kept.run(model, x, criterion, epsilon=0.1)
    before = functional.cross_entropy(model(x), wished, reduction="none")
    assert (functional.cross_entropy(model(best), wished, reduction="none") <= before).all()


def test_an_overridden_loss_is_what_steps_raise(network: nn.Module, held_out: Points) -> None:
    """The hook decides the direction: on the negated loss the attack makes points safer."""

    class Kind(LinfProjectedGradientDescent):
        def loss(self, logits: Tensor, goal: Goal) -> Tensor:
            return -goal.loss(logits)

    model, x, y = Recorded(network), held_out.inputs[:10], held_out.labels[:10]
    Kind(steps=3, rel_stepsize=0.3, random_start=False, keep=KEEP_SURROGATE_LOSS).run(model, x, y, epsilon=0.1)
    first, last = (served_margin(network(model.seen[i]), y) for i in (0, -1))
    assert (last > first).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_model_is_shown_nothing_outside_the_box(norm: str, network: nn.Module, held_out: Points) -> None:
    """Neither the random start nor an iterate leaves it."""
    recorded, attack = (
        Recorded(network),
        pgd(norm, steps=3, rel_stepsize=0.5, random_start=True, keep=KEEP_SERVED_MARGIN),
    )
    attack.run(recorded, held_out.inputs[:10], held_out.labels[:10], epsilon={"linf": 0.3, "l2": 2.0, "l1": 20.0}[norm])
    shown = torch.cat(recorded.seen)
    assert shown.min() >= 0
    assert shown.max() <= 1
