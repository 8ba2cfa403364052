"""A pool's networks take turns, one per gradient call, and every run begins with the same one.

Seen to fail with: turns taken by calls without a gradient; the order not shuffled anew in each pass; `restart` left out
of `Transfer`; the order's seed ignored; the mean of probabilities in place of the mean of logits.
"""

import pytest
import torch
from torch import Tensor, nn

from attacks.gradient import KEEP_SURROGATE_LOSS, Transfer, pgd
from attacks.surrogates import MemberPerStep
from attacks.targets import UINT8, EnsembleModel, ModelFailure, wrap
from ensemble.aggregation import aggregation
from tests.attacks.conftest import Points

BOX = (0.0, 1.0)


class Scales(nn.Module):
    """Networks that differ by a factor: number k answers (k + 1) times the input's pixels."""

    num_classes = 9

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.asked: list[int] = []
        self.train(False)

    def member_logits(self, x: Tensor, *, members: slice | None = None) -> Tensor:
        """Return the logits of some of them."""
        chosen = range(self.size)[slice(None) if members is None else members]
        self.asked += list(chosen)
        return torch.stack([(k + 1) * x.flatten(1) for k in chosen])

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of all."""
        return self.member_logits(x).mean(0)


def turns(model: MemberPerStep, calls: int) -> list[int]:
    """Return whose gradient each of some calls gave."""
    found = []
    for _ in range(calls):
        x = torch.full((2, 1, 3, 3), 0.5, requires_grad=True)
        (gradient,) = torch.autograd.grad(model(x).sum(), x)
        found.append(round(float(gradient.mean())) - 1)
    return found


def per_step(size: int = 5, seed: int = 0) -> MemberPerStep:
    """Return a pool whose networks take turns."""
    return MemberPerStep(Scales(size), bounds=BOX, classes=9, seed=seed)


def test_every_network_has_one_turn_per_pass_in_a_new_order() -> None:
    """Four passes are four permutations, not all the same."""
    found = turns(per_step(), 20)
    passes = [tuple(found[start : start + 5]) for start in range(0, 20, 5)]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in passes)
    assert len(set(passes[1:])) > 1


def test_a_restart_repeats_the_order_and_a_seed_decides_it() -> None:
    """Same seed, same turns; another seed, others; a restart begins anew in the middle of a pass."""
    model = per_step()
    first = turns(model, 13)
    model.restart()
    assert turns(model, 13) == first
    assert turns(per_step(), 13) == first
    assert turns(per_step(seed=1), 13) != first


def test_a_call_without_a_gradient_takes_no_turn() -> None:
    """It is answered by the network whose turn it is; judging and rounding do not disturb the order."""
    model, x = per_step(), torch.full((2, 1, 3, 3), 0.5)
    expected, turn = turns(per_step(), 3), model.turn
    torch.testing.assert_close(model(x), torch.full((2, 9), 0.5 * (turn + 1)))
    model.logits(x)
    assert turns(model, 3) == expected
    assert turns(model.with_coding(UINT8), 3) == expected


def test_passes_are_those_of_one_network() -> None:
    """Two points forward and backward in each of three calls."""
    model = per_step()
    turns(model, 3)
    assert (model.passes.forwards, model.passes.backwards) == (6, 6)


def test_every_run_of_an_attack_begins_with_the_same_network(held_out: Points, network: nn.Module) -> None:
    """Seven steps at two radii: both runs ask the same networks in the same order."""
    pool = Scales(5)
    surrogate = MemberPerStep(pool, bounds=BOX, classes=9, seed=3)
    inputs, labels = torch.full((2, 1, 3, 3), 0.5), torch.tensor([0, 1])
    attack = Transfer(surrogate, pgd("linf", steps=7, rel_stepsize=0.25, random_start=False, keep=KEEP_SURROGATE_LOSS))
    runs = []
    for epsilon in (0.1, 0.2):
        pool.asked.clear()
        attack.run(surrogate, inputs, labels, epsilon=epsilon)
        runs.append(list(pool.asked))
    assert runs[0] == runs[1]
    assert set(runs[0]) == set(range(5))


def test_the_mean_of_a_pool_is_the_mean_of_its_logits() -> None:
    """Mean logits, with the gradient of all networks."""
    model = EnsembleModel(Scales(4), bounds=BOX, classes=9, mode="logit")
    x = torch.full((2, 1, 3, 3), 0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(x).sum(), x)
    torch.testing.assert_close(gradient, torch.full_like(gradient, 2.5))
    wrapped = wrap(Scales(4), bounds=BOX, example=torch.rand(2, 1, 3, 3), mode="logit")
    y = torch.rand(3, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(wrapped(y), aggregation("logit")(Scales(4).member_logits(y)))


def test_a_network_of_a_pool_that_fails_is_named() -> None:
    """The message says which pool, and on what."""
    with pytest.raises(ModelFailure, match=r"pool: .*shape \[2\], got IndexError"):
        per_step()(torch.zeros(2))
