"""The losses, by hand.

Seen to fail with: the third logit replaced by the second; the fourth left out of the mean; the sign of the goal left
out; the fallback for few classes left out; the margin of the largest logit instead of the label's; a temperature.
"""

import pytest
import torch

from attacks.gradient.dlr import cross_entropy, dlr, dlr_targeted
from attacks.gradient.goal import Goal

LOGITS = torch.tensor([[5.0, 3.0, 1.0, -1.0], [0.0, 4.0, 2.0, 1.0]])
LABELS = torch.tensor([0, 0])
LEAVE = Goal(LABELS, 1)
REACH = Goal(LABELS, -1)


def test_the_ratio_by_hand() -> None:
    """-(5 - 3) / (5 - 1) = -0.5 where the answer is right; -(0 - 4) / (4 - 1) = 4/3 where it is wrong."""
    torch.testing.assert_close(dlr(LOGITS, LEAVE), torch.tensor([-0.5, 4 / 3]))


def test_the_targeted_ratio_by_hand() -> None:
    """-(5 - 1) / (5 - (1 - 1)/2) = -0.8; -(0 - 2) / (4 - (1 + 0)/2) = 4/7."""
    goal = LEAVE.against(torch.tensor([2, 2]))
    torch.testing.assert_close(dlr_targeted(LOGITS, goal), torch.tensor([-0.8, 4 / 7]))


def test_reaching_a_class_turns_every_loss_round() -> None:
    """The attacker who wants the class climbs where the other descends."""
    torch.testing.assert_close(dlr(LOGITS, REACH), -dlr(LOGITS, LEAVE))
    torch.testing.assert_close(cross_entropy(LOGITS, REACH), -cross_entropy(LOGITS, LEAVE))
    torch.testing.assert_close(dlr_targeted(LOGITS, REACH), torch.tensor([2 / 5, -4 / 3.5]))


@pytest.mark.parametrize("loss", [dlr, dlr_targeted])
def test_the_ratios_ignore_scale_and_shift(loss: object) -> None:
    """Log-probabilities give the value of the logits, and logits a thousand times larger do too."""
    goal = LEAVE.against(torch.tensor([2, 2]))
    value = loss(LOGITS, goal)  # type: ignore[operator]
    torch.testing.assert_close(loss(LOGITS.log_softmax(1), goal), value)  # type: ignore[operator]
    torch.testing.assert_close(loss(1000 * LOGITS + 7, goal), value)  # type: ignore[operator]


def test_few_classes_leave_the_margin() -> None:
    """Two classes have no third logit, three no fourth: the numerator alone is left."""
    rival = LEAVE.against(torch.tensor([2, 2]))
    torch.testing.assert_close(dlr(LOGITS[:, :2], LEAVE), torch.tensor([-2.0, 4.0]))
    torch.testing.assert_close(dlr_targeted(LOGITS[:, :3], rival), torch.tensor([-4.0, 2.0]))


def test_rivals_go_with_their_points() -> None:
    """Choosing points chooses their classes and rivals, in order."""
    chosen = Goal(torch.tensor([4, 5, 6]), 1.0, torch.tensor([7, 8, 9]))[torch.tensor([2, 0])]
    assert chosen.labels.tolist() == [6, 4]
    assert chosen.rivals is not None
    assert chosen.rivals.tolist() == [9, 7]
