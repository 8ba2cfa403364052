"""The schedule of Auto-PGD, by hand.

Seen to fail with: `ceil` replaced by the floor; 0.03 left out of the shrinking gap; the floor 0.06 left out; `<`
replaced by `<=` in the rule on rises; the standstill rule left out, or applied although the last checkpoint halved;
the best iterate left out of the return; rises not counted anew; `best_x` taking every iterate; `Found.keep` taking the
worse example.
"""

import pytest
import torch
from torch import Tensor

from attacks.gradient.climb import Climb, Found, Reading, checkpoints
from attacks.gradient.keeping import KEEP_SERVED_MARGIN, KEEP_SURROGATE_LOSS


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (100, (22, 41, 57, 70, 80, 87, 93, 99)),
        (50, (11, 21, 29, 35, 40, 44, 47)),
        (10, (3, 5, 6, 7, 8, 9)),
        (1, ()),
    ],
)
def test_checkpoints_are_those_of_the_paper(steps: int, expected: tuple[int, ...]) -> None:
    """Shares 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99 of the steps, rounded up."""
    assert checkpoints(steps) == tuple(step for step in expected if step < steps)


def _reading(loss: list[float], gradient: float = 1.0) -> Reading:
    values = torch.tensor(loss)
    return Reading(values, -values, torch.full((len(loss), 1), gradient))


def _climb(losses: list[list[float]]) -> Climb:
    """Return the state after readings at iterates 0, 1, 2, ..., whose gradients carry the same number."""
    points = len(losses[0])
    climb = Climb.begin(torch.arange(points), torch.zeros(points, 1), _reading(losses[0], 0.0), step=1.0)
    for number, loss in enumerate(losses[1:], start=1):
        climb = climb.moved(torch.full((points, 1), float(number)), _reading(loss, float(number)))
    return climb


def test_the_best_iterate_travels_with_its_gradient() -> None:
    """Point 0 is best at iterate 1, point 1 at iterate 2; the last iterate is the current one of both."""
    climb = _climb([[0.0, 0.0], [3.0, 1.0], [2.0, 5.0]])
    assert climb.best_loss.tolist() == [3.0, 5.0]
    assert climb.best_x.flatten().tolist() == [1.0, 2.0]
    assert climb.best_gradient.flatten().tolist() == [1.0, 2.0]
    assert climb.x.flatten().tolist() == [2.0, 2.0]
    assert climb.before.flatten().tolist() == [1.0, 1.0]
    assert climb.rises.tolist() == [1, 2]


def test_too_few_rises_halve_the_step_and_return_to_the_best() -> None:
    """Of four steps three must rise: point 0 rises three times and goes on, point 1 twice and goes back."""
    climb = _climb([[0.0, 0.0], [1.0, 1.0], [2.0, 4.0], [3.0, 3.0], [2.5, 2.0]]).at_checkpoint(4)
    assert climb.step.tolist() == [1.0, 0.5]
    assert climb.x.flatten().tolist() == [4.0, 2.0]
    assert climb.gradient.flatten().tolist() == [4.0, 2.0]
    assert climb.loss.tolist() == [2.5, 4.0]
    assert climb.rises.tolist() == [0, 0]
    assert climb.just_halved.tolist() == [False, True]


def test_a_standstill_halves_unless_the_last_checkpoint_did() -> None:
    """The loss rises at every step but stays below its best: halved once, and not by the same rule again."""
    climb = _climb([[9.0], [5.0]]).at_checkpoint(1)
    assert climb.step.tolist() == [0.5]
    after_halving = _low_and_rising(climb).at_checkpoint(1)
    assert after_halving.step.tolist() == [0.5]
    assert _low_and_rising(after_halving).at_checkpoint(1).step.tolist() == [0.25]


def _low_and_rising(climb: Climb) -> Climb:
    """Return the state after one step that rises from 1 to 2 while the best is 9."""
    climb.loss = torch.tensor([1.0])
    return climb.moved(torch.ones(1, 1), _reading([2.0]))


def test_only_keeps_every_field_of_the_points_left() -> None:
    """The second of three points, with all it carries."""
    left = _climb([[0.0, 1.0, 2.0], [1.0, 7.0, 3.0]]).only(torch.tensor([False, True, False]))
    assert left.index.tolist() == [1]
    assert left.best_loss.tolist() == [7.0]
    assert left.gradient.shape == (1, 1)


@pytest.mark.parametrize(
    ("rule", "unfinished"), [(KEEP_SERVED_MARGIN, [1, 2]), (KEEP_SURROGATE_LOSS, [0, 1, 2])], ids=["margin", "loss"]
)
def test_found_keeps_the_lower_rank_and_lists_the_unfinished(rule: object, unfinished: list[int]) -> None:
    """A rank below zero finishes a point in the white box only; a worse example is not taken over."""
    found = Found(torch.zeros(3, 1), torch.tensor([1.0, 1.0, 0.0]))
    new: Tensor = torch.tensor([-2.0, 3.0])
    found.keep(torch.tensor([0, 1]), torch.tensor([[4.0], [5.0]]), new)
    assert found.x.flatten().tolist() == [4.0, 0.0, 0.0]
    assert found.rank.tolist() == [-2.0, 1.0, 0.0]
    assert found.unfinished(rule).tolist() == unfinished  # type: ignore[arg-type]
