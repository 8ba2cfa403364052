"""What an attacker wants of each point: away from its label, or to a class of the attacker's choice."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from foolbox.attacks.base import get_criterion
from foolbox.criteria import Misclassification, TargetedMisclassification
from torch import Tensor
from torch.nn import functional

from attacks.gradient.keeping import KeepRule
from ensemble.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Goal:
    """The class of each point, and whether the attacker wants away from it or towards it.

    Attributes:
        labels: `[batch]` int64: the true labels, or the classes wished for.
        sign: 1.0 where the loss of `labels` shall rise (untargeted), -1.0 where it shall fall (targeted).
        rivals: `[batch]` int64, the class that a loss with a rival pits against each label; None where none is named.
    """

    labels: Tensor
    sign: float = 1.0
    rivals: Tensor | None = None

    def __getitem__(self, points: Tensor) -> "Goal":
        """Return the goal of some points, `[points]` int64 (repeats are allowed) or bool."""
        return Goal(self.labels[points], self.sign, None if self.rivals is None else self.rivals[points])

    def against(self, rivals: Tensor) -> "Goal":
        """Return the same goal with rivals, `[batch]` int64."""
        return replace(self, rivals=rivals)

    def loss(self, logits: Tensor) -> Tensor:
        """Return what the attacker raises: the cross-entropy of `labels`, negated where targeted.

        Args:
            logits: `[batch classes]`, or log-probabilities.

        Returns:
            `[batch]`.
        """
        return self.sign * functional.cross_entropy(logits, self.labels, reduction="none")

    def rank(self, keep: KeepRule, outputs: Tensor) -> Tensor:
        """Return the rank of each point by a keep rule, `[batch]`: lower is better, targeted or not.

        Args:
            keep: the rule.
            outputs: what its rank reads, usually `[batch classes]`.
        """
        return self.sign * keep.rank(outputs, self.labels)


def goal_of(criterion: Any) -> Goal:
    """Return the goal of a foolbox criterion.

    Args:
        criterion: `Misclassification`, `TargetedMisclassification`, or the true labels.

    Returns:
        The goal, its classes as a torch tensor.

    Raises:
        InputError: any other criterion.
    """
    criterion = get_criterion(criterion)
    if isinstance(criterion, Misclassification):
        return Goal(criterion.labels.raw)
    if isinstance(criterion, TargetedMisclassification):
        return Goal(criterion.target_classes.raw, -1.0)
    raise InputError(
        f"criterion: expected Misclassification or TargetedMisclassification, got {type(criterion).__name__}; "
        "pass the true labels, or foolbox's TargetedMisclassification(classes)"
    )


#: (logits `[batch classes]`, goal) -> `[batch]`; higher is better for the attacker.
PointLoss = Callable[[Tensor, Goal], Tensor]
