"""Minimum-norm attacks at a fixed radius, on linear networks whose nearest boundary is known in closed form.

Seen to fail with: points beyond the radius passed on; NaN passed on; overshoot of one; targeted criteria
let through to DeepFool; foolbox's own projection in L2.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from foolbox.attacks.base import MinimizationAttack
from foolbox.criteria import TargetedMisclassification
from foolbox.distances import l1, l2, linf
from torch import Tensor

from attacks.minimum_norm import MinimumNorm, blur, cw, ddn, deepfool, ead, fmn
from attacks.targets import NetworkModel
from attacks.threat import measure
from ensemble.errors import InputError, UnknownName
from tests.attacks.conftest import Points
from tests.attacks.gradient.linear import class_radii, least_radius, linear, points

#: (attack, norm, parameters, slack): with this share of radius to spare the attack must find three of four boundaries.
CASES: tuple[tuple[Callable[..., MinimumNorm], str, dict[str, Any], float], ...] = (
    (deepfool, "linf", {}, 0.1),
    (deepfool, "l2", {}, 0.05),
    (cw, "l2", {"steps": 200}, 0.1),
    (ddn, "l2", {"init_epsilon": 0.1, "steps": 200}, 0.25),
    (fmn, "linf", {"steps": 200}, 0.2),
    (fmn, "l2", {"steps": 200}, 0.2),
    (fmn, "l1", {"steps": 200, "max_stepsize": 3.0}, 0.5),
    (ead, "l1", {"steps": 200}, 0.5),
)
NAMES = [f"{make.__name__}-{norm}" for make, norm, _, _ in CASES]


@pytest.fixture(autouse=True)
def seeded() -> Any:
    """Each test draws the same numbers and leaves the generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize(("make", "norm", "parameters", "slack"), CASES, ids=NAMES)
def test_the_nearest_boundary_is_found_and_never_passed(
    make: Callable[..., MinimumNorm], norm: str, parameters: dict[str, Any], slack: float
) -> None:
    """Most points are fooled at their exact distance and a little; none nearer, and none beyond the radius given."""
    model = linear(3)
    x, y = points(model, n=24)
    exact = least_radius(model, x, y, norm)
    attack = make(norm, **parameters)
    found = attack.run(model, x, y, epsilon=3 * float(exact.max()))
    fooled, ratio = model.answers(found) != y, measure(norm, found - x) / exact
    assert (fooled & (ratio <= 1 + slack)).float().mean() >= 0.75
    assert ratio[fooled].min() >= 1 - 1e-3
    radius = float(exact.median())
    inside = attack.run(model, x, y, epsilon=radius)
    assert measure(norm, inside - x).max() <= radius * (1 + 1e-5)
    assert not (model.answers(inside) != y)[exact > radius * 1.001].any()
    assert (model.answers(inside) != y)[exact < radius / (1 + slack)].float().mean() >= 0.5


@pytest.mark.parametrize("make", [cw, ddn, fmn])
def test_a_named_class_is_reached(make: Callable[..., MinimumNorm]) -> None:
    """Within a little more than twice the distance to its hyperplane most points reach the class wished for."""
    model = linear(3)
    x, y = points(model, n=24)
    wished = (y + 1) % 3
    radius = float(2.5 * class_radii(model, x, y, "l2").gather(1, wished[:, None]).max())
    found = make("l2", steps=200).run(model, x, TargetedMisclassification(wished), epsilon=radius)
    assert (model.answers(found) == wished).float().mean() >= 0.9


def test_deepfool_refuses_a_named_class() -> None:
    """It only knows the nearest boundary, and says so."""
    model = linear(3)
    x, y = points(model, n=2)
    with pytest.raises(InputError, match="untargeted"):
        deepfool("l2").run(model, x, TargetedMisclassification(y), epsilon=0.1)


class Failing(MinimizationAttack):  # type: ignore[misc]
    """Returns what failed searches return: NaN, zeros, and a far point."""

    distance = l2

    def run(self, model: Any, inputs: Tensor, criterion: Any, *, early_stop: Any = None, **kwargs: Any) -> Tensor:
        """Return NaN for the first point, zeros for the second, ones for the others."""
        found = torch.ones_like(inputs)
        found[0], found[1] = torch.nan, 0.0
        return found


def test_failed_searches_stay_in_the_ball() -> None:
    """NaN becomes the input; anything far away is moved along its line to the ball."""
    model = linear(2)
    x, y = points(model, n=4)
    found = MinimumNorm(Failing()).run(model, x, y, epsilon=0.2)
    assert torch.equal(found[0], x[0])
    for i, end in ((1, 0.0), (2, 1.0)):
        step = torch.full_like(x[i], end) - x[i]
        torch.testing.assert_close(found[i], x[i] + 0.2 * step / step.norm(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("norm", "distance"), [("linf", linf), ("l2", l2), ("l1", l1)])
def test_blur_is_measured_in_any_norm(norm: str, distance: Any, digits: Points, network: Any) -> None:
    """A wide blur erases digits; the change is cut to the radius, and the public foolbox call works."""
    model, x, y = (
        NetworkModel(network, bounds=(0.0, 1.0), classes=10),
        digits.inputs[1500:1540],
        digits.labels[1500:1540],
    )
    wide = {"linf": 1.0, "l2": 8.0, "l1": 64.0}[norm]
    _, clipped, success = blur(norm, steps=8)(model, x, y, epsilons=wide)
    assert success.float().mean() > 0.8
    narrow = blur(norm, steps=8).run(model, x, y, epsilon=wide / 20)
    assert distance(x, narrow).max() <= wide / 20 + 1e-5
    assert (model.answers(narrow) != y).sum() < (model.answers(clipped) != y).sum()


@pytest.mark.parametrize(("make", "norm"), [(deepfool, "l1"), (cw, "linf"), (ddn, "l1"), (ead, "l2"), (fmn, "l0")])
def test_norms_without_the_attack_are_refused(make: Callable[..., MinimumNorm], norm: str) -> None:
    """The message lists where it exists."""
    with pytest.raises(UnknownName, match=make.__name__):
        make(norm)
