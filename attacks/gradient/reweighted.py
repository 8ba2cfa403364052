"""Auto-PGD that turns members one after another: most weight on those that can still be turned most cheaply.

After the idea of MORA (Yu et al., 2022), derived here: the loss of a mean follows whichever member has a gradient left,
however hopeless, and forgets members whose probabilities are saturated although their boundary is near. Here each
member has a loss of its own that ignores its scale, and the weights are computed anew at every step from how much of
its lead each member has left; no gradient flows through them.
"""

from typing import Any

import torch
from torch import Tensor

from attacks.gradient.apgd import AutoPGD
from attacks.gradient.ball import BALLS
from attacks.gradient.climb import Reading
from attacks.gradient.dlr import TINY
from attacks.gradient.goal import Goal
from attacks.gradient.keeping import KEEP_SERVED_MARGIN, KeepRule, served_margin
from attacks.gradient.members import require_members
from attacks.norm_table import row_of_norm
from ensemble.prediction import log_mean_probability

#: Leads are compared on this scale; the ratio of a lead to the spread of the logits lies in [-1, 1] or near it.
TEMPERATURE = 0.3
#: A turned member that is deep in the wrong needs no more weight; one that has just turned keeps some, lest it return.
TURNED = 4.0


def weights_of(leads: Tensor) -> Tensor:
    """Return each member's weight, `[batch member]`, summing to one.

    Args:
        leads: `[batch member]`, how far each member is from doing what the attacker wants; negative where it does.
    """
    cost = torch.where(leads > 0, leads, -TURNED * leads)
    return (-cost / TEMPERATURE).softmax(1)


def leads_of(logits: Tensor, goal: Goal, mean: Tensor) -> Tensor:
    """Return each member's lead of the goal's class over one rival, as a share of its spread, `[batch member]`.

    The rival is the same for all members, the one that is next in the mean: members that each turn to a class of their
    own do not turn what is served.

    Args:
        logits: `[batch member classes]`.
        goal: of each point.
        mean: log of the mean probability, `[batch classes]`.
    """
    rival = mean.scatter(1, goal.labels[:, None], -torch.inf).argmax(1)
    largest = logits.topk(min(3, logits.shape[2]), dim=2).values
    lead = _column(logits, goal.labels) - _column(logits, rival)
    return lead / (largest[..., 0] - largest[..., -1] + TINY)


def _column(logits: Tensor, classes: Tensor) -> Tensor:
    """Return every member's logit of one class per point, `[batch member]`."""
    return logits.gather(2, classes[:, None, None].expand(-1, logits.shape[1], 1))[..., 0]


class ReweightedAutoPGD(AutoPGD):
    """Auto-PGD on the members' own losses, re-weighted at every step; judged by the rule as served.

    The step length follows the margin of the members' mean probability, which weights cannot move.
    """

    def outputs(self, model: Any, x: Tensor) -> Tensor:
        """Return the served scores, `[batch classes]`, from one pass of all members.

        Args:
            model: with `member_logits`.
            x: `[batch ...]`.

        Raises:
            TypeError: the model has none.
        """
        return self._served(model, self._members(model, x))

    def read(self, model: Any, x: Tensor, goal: Goal) -> Reading:
        """Return progress, rank and the gradient of the re-weighted losses at x.

        Args:
            model: with `member_logits`.
            x: `[batch ...]`.
            goal: of each point.
        """
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            logits = self._members(model, x)
            mean = log_mean_probability(logits.detach().transpose(0, 1))
            leads = goal.sign * leads_of(logits, goal, mean)
            (gradient,) = torch.autograd.grad(-(weights_of(leads.detach()) * leads).sum(), x)
        progress = -goal.sign * served_margin(mean, goal.labels)
        return Reading(progress, self.rank(self._served(model, logits.detach()), goal), gradient)

    def _members(self, model: Any, x: Tensor) -> Tensor:
        require_members(model, "re-weighted attack")
        logits: Tensor = model.member_logits(x)
        return logits

    def _served(self, model: Any, logits: Tensor) -> Tensor:
        """Return the served scores of member logits; a model that names no rule serves the mean probability."""
        serving = getattr(model, "serving", None)
        scores: Tensor = (log_mean_probability if serving is None else serving.scores)(logits.transpose(0, 1))
        return scores


def reweighted(
    norm: str, *, steps: int = 50, restarts: int = 1, keep: KeepRule = KEEP_SERVED_MARGIN
) -> ReweightedAutoPGD:
    """Return the re-weighted attack for a norm.

    Args:
        norm: a key of `BALLS`.
        steps: gradient passes of one restart.
        restarts: runs from a random point.
        keep: which iterate is returned.

    Returns:
        A foolbox attack; a model without `member_logits` is a TypeError.

    Raises:
        UnknownName: the attack is not defined in this norm.
    """
    return ReweightedAutoPGD(
        row_of_norm(BALLS, "the re-weighted attack", norm), steps=steps, restarts=restarts, keep=keep
    )
