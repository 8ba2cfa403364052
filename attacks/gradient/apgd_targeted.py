"""Auto-PGD against one class after another: what untargeted losses miss, a loss with a rival class may find."""

from collections.abc import Iterator

import torch
from torch import Tensor

from attacks.gradient.apgd import AutoPGD
from attacks.gradient.ball import BALLS, Ball
from attacks.gradient.dlr import dlr_targeted
from attacks.gradient.goal import Goal, PointLoss
from attacks.gradient.keeping import KEEP_SERVED_MARGIN, KeepRule
from attacks.norm_table import row_of_norm


class TargetedAutoPGD(AutoPGD):
    """Auto-PGD against one class after another, most likely class first.

    Args:
        ball: a row of `BALLS`.
        classes: how many wrong classes are tried, at most all.
        loss: what is climbed; reads the goal's rivals.
        steps: gradient passes of one run.
        restarts: runs per class.
        keep: which iterate is returned.
    """

    def __init__(
        self,
        ball: Ball,
        loss: PointLoss = dlr_targeted,
        *,
        classes: int = 9,
        steps: int = 100,
        restarts: int = 1,
        keep: KeepRule = KEEP_SERVED_MARGIN,
    ) -> None:
        super().__init__(ball, loss, steps=steps, restarts=restarts, keep=keep)
        self.classes = classes

    def rounds(self, outputs: Tensor, goal: Goal) -> Iterator[Goal]:
        """Yield one goal per class and restart; a criterion that names the class to reach has that one class only.

        Args:
            outputs: logits at the inputs, which order the classes.
            goal: of the whole attack.
        """
        if goal.sign < 0:
            yield from super().rounds(outputs, goal)
            return
        order = outputs.scatter(1, goal.labels[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)
        for rank in range(min(self.classes, outputs.shape[1] - 1)):
            yield from super().rounds(outputs, goal.against(order[:, rank]))


def apgd_dlr_targeted(
    norm: str, *, steps: int = 100, classes: int = 9, restarts: int = 1, keep: KeepRule = KEEP_SERVED_MARGIN
) -> TargetedAutoPGD:
    """Return Auto-PGD on the targeted difference-of-logits ratio, one class after another.

    Args:
        norm: a key of `BALLS`.
        steps: gradient passes of one run.
        classes: wrong classes tried, most likely first.
        restarts: runs per class.
        keep: which iterate is returned.

    Returns:
        A foolbox attack.

    Raises:
        UnknownName: the attack is not defined in this norm.
    """
    return TargetedAutoPGD(
        row_of_norm(BALLS, "targeted Auto-PGD", norm), steps=steps, classes=classes, restarts=restarts, keep=keep
    )
