"""Auto-PGD on the expectation over a random serving: exact over the members, or over draws of a random model.

What is climbed is -log mean_m p_m(y): the loss of the expected answer, whose gradient is the expectation's own and
never that of one draw (Athalye et al., 2018). A first pass gives each member's share w_m = p_m(y) / sum p(y), a second
one adds up w_m times the gradient of -log p_m(y), some members at a time, so that memory does not grow with their
number.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attacks.gradient.apgd import AutoPGD
from attacks.gradient.ball import BALLS, Ball
from attacks.gradient.climb import Reading
from attacks.gradient.goal import Goal
from attacks.gradient.keeping import KEEP_SERVED_MARGIN, KeepRule
from attacks.gradient.members import Part, members_left, parts_of, require_members
from attacks.norm_table import row_of_norm

#: model -> the members or draws of one gradient, which answer alike however often they are asked.
Source = Callable[[Any], Sequence[Part]]


def exact_source(chunk: int | None) -> Source:
    """Return the source of all members of an ensemble.

    Args:
        chunk: members at a time; None for all at once.
    """

    def source(model: Any) -> Sequence[Part]:
        require_members(model, "exact expectation")
        return parts_of(model, chunk)

    return source


def sampled_source(samples: int) -> Source:
    """Return the source of fresh draws from a model that answers at random, from torch's generator.

    Args:
        samples: draws per gradient.
    """

    def source(model: Any) -> Sequence[Part]:
        seeds = torch.randint(2**62, (samples,)).tolist()
        return tuple(_draw(model, seed) for seed in seeds)

    return source


def _draw(model: Any, seed: int) -> Part:
    """Return one draw of a random model, `[batch 1 classes]`: the same one at every call."""

    def part(x: Tensor) -> Tensor:
        with torch.random.fork_rng(devices=[x.device] if x.device.type == "cuda" else []):
            torch.manual_seed(seed)
            logits: Tensor = model(x)
            return logits[:, None]

    return part


def expectation(parts: Sequence[Part], x: Tensor, goal: Goal) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss of the expected answer, its gradient, and what every member said.

    Args:
        parts: members or draws, some at a time.
        x: `[batch ...]`.
        goal: of each point.

    Returns:
        Loss `[batch]` (negative log of the mean probability of the goal's class, turned round where the class must be
        reached), gradient `[batch ...]`, and logits `[batch member classes]` without a gradient.
    """
    if len(parts) == 1:  # one pass does: the graph of the first is still there
        return _at_once(parts[0], x, goal)
    with torch.no_grad():
        answers = [part(x) for part in parts]
    logits = torch.cat(answers, dim=1)
    named = _log_probability(logits, goal)
    shares = named.softmax(1).split([answer.shape[1] for answer in answers], dim=1)
    gradient = torch.zeros_like(x)
    for part, share in zip(parts, shares, strict=True):
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            loss = -goal.sign * (share * _log_probability(part(at), goal)).sum()
            gradient += torch.autograd.grad(loss, at)[0]
    return -goal.sign * _log_mean(named), gradient, logits


def _at_once(part: Part, x: Tensor, goal: Goal) -> tuple[Tensor, Tensor, Tensor]:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = part(x)
        loss = -goal.sign * _log_mean(_log_probability(logits, goal))
        (gradient,) = torch.autograd.grad(loss.sum(), x)
    return loss.detach(), gradient, logits.detach()


def _log_probability(logits: Tensor, goal: Goal) -> Tensor:
    """Return each member's log-probability of the goal's class, `[batch member]`."""
    return logits.log_softmax(2).gather(2, goal.labels[:, None, None].expand(-1, logits.shape[1], 1))[..., 0]


def _log_mean(named: Tensor) -> Tensor:
    """Return the log of the mean over the members, `[batch]`."""
    return named.logsumexp(1) - math.log(named.shape[1])


class ExpectationAutoPGD(AutoPGD):
    """Auto-PGD on the expected answer; a point is finished when no member, or no draw, is left.

    Args:
        ball: a row of `BALLS`.
        source: the members or draws of one gradient.
        steps: gradients of one restart.
        restarts: runs from a random point.
        keep: a rule that never stops keeps the highest expected loss, as on a surrogate; any other keeps the example
            that leaves the fewest members.
    """

    def __init__(
        self, ball: Ball, source: Source, *, steps: int = 100, restarts: int = 1, keep: KeepRule = KEEP_SERVED_MARGIN
    ) -> None:
        super().__init__(ball, steps=steps, restarts=restarts, keep=keep)
        self.source = source

    def outputs(self, model: Any, x: Tensor) -> Tensor:
        """Return the logits of all members or of fresh draws, `[batch member classes]`.

        Args:
            model: the model under attack.
            x: `[batch ...]`.

        Raises:
            TypeError: the exact expectation of a model without members.
        """
        return torch.cat([part(x) for part in self.source(model)], dim=1)

    def rank(self, outputs: Tensor, goal: Goal) -> Tensor:
        """Return the rank of each point, `[batch]`; below zero where no member is left.

        Args:
            outputs: `[batch member classes]`.
            goal: of each point.
        """
        if self.keep.stop_below is None:
            return goal.sign * _log_mean(_log_probability(outputs, goal))
        return members_left(outputs, goal)

    def read(self, model: Any, x: Tensor, goal: Goal) -> Reading:
        """Return expected loss, rank and gradient at x.

        Args:
            model: the model under attack.
            x: `[batch ...]`.
            goal: of each point.
        """
        loss, gradient, logits = expectation(self.source(model), x, goal)
        return Reading(loss, self.rank(logits, goal), gradient)


def eot(norm: str, *, steps: int = 100, restarts: int = 1, chunk: int | None = None) -> ExpectationAutoPGD:
    """Return Auto-PGD on the exact expectation over an ensemble's members; the fewest members left are kept.

    Args:
        norm: a key of `BALLS`.
        steps: gradients of one restart.
        restarts: runs from a random point.
        chunk: members at a time; None for all at once.

    Returns:
        A foolbox attack; a model without `member_logits` is a TypeError.

    Raises:
        UnknownName: the attack is not defined in this norm.
    """
    return ExpectationAutoPGD(
        row_of_norm(BALLS, "the expectation attack", norm), exact_source(chunk), steps=steps, restarts=restarts
    )


def eot_sampled(norm: str, *, steps: int = 100, restarts: int = 1, samples: int = 20) -> ExpectationAutoPGD:
    """Return Auto-PGD on the expectation over fresh draws of a model that answers at random.

    Args:
        norm: a key of `BALLS`.
        steps: gradients of one restart.
        restarts: runs from a random point.
        samples: draws per gradient.

    Returns:
        A foolbox attack.

    Raises:
        UnknownName: the attack is not defined in this norm.
    """
    return ExpectationAutoPGD(
        row_of_norm(BALLS, "the expectation attack", norm), sampled_source(samples), steps=steps, restarts=restarts
    )
