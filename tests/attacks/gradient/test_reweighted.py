"""Re-weighting turns the members that can be turned, where the mean's gradient follows one that cannot.

Seen to fail with: equal weights; a rival of each member's own; leads not divided by the spread; weights growing with
the lead; a gradient through the weights; turned members weighted like others; the served rule replaced by the mean.
"""

from typing import Any

import pytest
import torch
from foolbox.criteria import TargetedMisclassification
from torch import nn

from attacks.gradient import KEEP_SERVED_MARGIN, KEEP_SURROGATE_LOSS, pgd
from attacks.gradient.apgd import apgd_ce
from attacks.gradient.goal import Goal
from attacks.gradient.reweighted import leads_of, reweighted, weights_of
from attacks.targets import wrap
from attacks.threat import measure
from tests.attacks.conftest import Points
from tests.attacks.gradient.linear import BOX, linear
from tests.attacks.gradient.members import CHEAP, HOPELESS, ensemble_of, middle


@pytest.fixture(autouse=True)
def _seeded() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def test_the_cheapest_member_weighs_most() -> None:
    """Weights sum to one, fall with the lead, and a member deep in the wrong weighs less than one as far from it."""
    weights = weights_of(torch.tensor([[0.1, 0.3, -0.3, -0.01]]))
    torch.testing.assert_close(weights.sum(1), torch.ones(1))
    near, far, deep, turned = weights[0].tolist()
    assert turned > near > far > deep


def test_leads_by_hand() -> None:
    """One rival for all, the next class of the mean; each lead is a share of the member's own spread."""
    logits = torch.tensor([[[4.0, 2.0, 0.0], [30.0, 10.0, -10.0], [1.0, 2.0, 3.0]]])
    mean = torch.tensor([[0.6, 0.3, 0.1]]).log()
    torch.testing.assert_close(leads_of(logits, Goal(torch.tensor([0])), mean), torch.tensor([[0.5, 0.5, -0.5]]))


@pytest.mark.parametrize("mode", ["prob", "vote"])
def test_it_wins_where_descent_on_the_mean_fails(mode: str) -> None:
    """Two of three members turn cheaply but are saturated; descent follows the third, which nothing can turn."""
    model = ensemble_of([HOPELESS, CHEAP, CHEAP], mode=mode)
    x, y = middle(20)
    fooled = {}
    for name, attack in {
        "pgd": pgd("linf", steps=50, rel_stepsize=0.1, random_start=True, keep=KEEP_SERVED_MARGIN),
        "reweighted": reweighted("linf", steps=50),
    }.items():
        found = attack.run(model, x, y, epsilon=0.1)
        assert measure("linf", found - x).max() <= 0.1 + 1e-6
        fooled[name] = int((model.answers(found) != y).sum())
    assert fooled["reweighted"] == 20
    assert mode == "vote" or fooled["pgd"] == 0


def test_auto_pgd_fails_there_too() -> None:
    """The schedule of the step does not help: the gradient of the mean is the trouble."""
    model = ensemble_of([HOPELESS, CHEAP, CHEAP])
    x, y = middle(20)
    found = apgd_ce("linf", steps=50).run(model, x, y, epsilon=0.1)
    assert (model.answers(found) == y).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_is_no_weaker_on_members_alike(norm: str) -> None:
    """On three linear members, where nothing is saturated, it fools nearly as many points as descent on the mean."""
    model = ensemble_of([linear(4, seed=seed).network for seed in range(3)], classes=4)
    x = 0.5 + 0.2 * (torch.rand(100, 1, 1, 16) - 0.5)
    y = model.answers(x)
    epsilon = {"linf": 0.02, "l2": 0.06}[norm]
    fooled = [
        int((model.answers(build(norm, steps=40).run(model, x, y, epsilon=epsilon)) != y).sum())
        for build in (reweighted, apgd_ce)
    ]
    assert fooled[0] >= 0.85 * fooled[1] > 20


def test_a_given_class_is_reached() -> None:
    """Targeted: with a large radius the served answer is the class asked for."""
    model = ensemble_of([linear(3, seed=seed).network for seed in range(3)], mode="vote")
    x = 0.5 + 0.2 * (torch.rand(40, 1, 1, 16) - 0.5)
    targets = (model.answers(x) + 1) % 3
    found = reweighted("linf", steps=30).run(model, x, TargetedMisclassification(targets), epsilon=0.4)
    assert (model.answers(found) == targets).float().mean() > 0.7


def test_one_pass_a_step(held_out: Points) -> None:
    """Weights cost nothing: a gradient of all members once per step, however many there are."""
    model = ensemble_of([HOPELESS, CHEAP])
    x, y = middle(3)
    reweighted("linf", steps=7, keep=KEEP_SURROGATE_LOSS).run(model, x, y, epsilon=0.1)
    assert model.network.at_once == [2] * 7


def test_models_without_members_are_refused(network: nn.Module, held_out: Points) -> None:
    """There is nothing to weight."""
    model = wrap(network, bounds=BOX, example=held_out.inputs[:4])
    with pytest.raises(TypeError, match="member_logits"):
        reweighted("linf", steps=1).run(model, held_out.inputs[:2], held_out.labels[:2], epsilon=0.1)
