"""Greedy attack on a random member: one member after another to its nearest boundary, kept if the expectation allows.

After the idea of ARC (Dbouk & Shanbhag, 2022), reimplemented: the gradient of an expectation can point where no member
is ever lost; this attack looks at every member's own boundary and asks the exact expectation only whether a step hurts.
"""

from typing import Any

import eagerpy as ep
import torch
from foolbox.attacks.base import FixedEpsilonAttack, raise_if_kwargs, verify_input_bounds
from torch import Tensor

from attacks.gradient.ball import BALLS, FLAT, Ball, per_point
from attacks.gradient.climb import Found
from attacks.gradient.goal import Goal, goal_of
from attacks.gradient.keeping import KEEP_SERVED_MARGIN
from attacks.gradient.members import members_left, parts_of, require_members
from attacks.norm_table import row_of_norm

#: A step goes a little past the linearised boundary: this share of the way, and this share of epsilon.
BEYOND, FLOOR = 1.05, 0.02
#: The exponent of the norm in which a gradient is measured, so that margin / norm is a distance.
DUAL = {"linf": 1.0, "l2": 2.0}


class GreedyMemberAttack(FixedEpsilonAttack):  # type: ignore[misc]
    """Steps to single members' boundaries, kept where the expected accuracy does not rise.

    Every member is drawn with the same probability, so they are visited in their own order.

    Args:
        norm: a key of `BALLS`.
        rounds: passes over all members.
        classes: wrong classes whose boundary is tried, most likely first.
    """

    def __init__(self, norm: str, *, rounds: int = 20, classes: int = 3) -> None:
        self.ball: Ball = row_of_norm(BALLS, "the greedy attack", norm)
        self.dual = DUAL[norm]
        self.rounds = rounds
        self.classes = classes

    @property
    def distance(self) -> Any:
        """The distance of the ball."""
        return self.ball.distance

    def run(
        self,
        model: Any,
        inputs: Any,
        criterion: Any,
        *,
        epsilon: float,
        starting_points: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the example of each point that leaves the fewest members; the input itself is the first candidate.

        After Dbouk & Shanbhag (2022), algorithm 1, reimplemented from the idea; the exact expectation decides here.

        Args:
            model: a foolbox model of torch with `member_logits`.
            inputs: `[batch ...]` float32, inside the model's bounds.
            criterion: true labels `[batch]` int64, or foolbox's targeted or untargeted criterion.
            epsilon: the radius, in input units, > 0.
            starting_points: `[batch ...]`, where to start instead of the inputs, inside ball and box.
            kwargs: nothing else is accepted.

        Returns:
            Examples, same type and shape as `inputs`, inside ball and box.

        Raises:
            InputError: a criterion of another kind.
            AssertionError: an input outside the model's bounds (foolbox's own check).
            TypeError: the model has no members, or another keyword.
            ModelFailure: the model raised an error of its own, where it was made by `wrap`.
        """
        raise_if_kwargs(kwargs)
        require_members(model, "greedy member attack")
        wrapped, restore = ep.astensor_(inputs)
        verify_input_bounds(wrapped, model)
        goal, origin = goal_of(criterion), wrapped.raw
        with torch.no_grad():
            logits = model.member_logits(origin)
        found = Found(origin.clone(), members_left(logits, goal))
        everything = torch.arange(len(origin), device=origin.device)
        if starting_points is not None:
            self._offer(model, starting_points, goal, everything, found)
        # One iterate per point, which may be another than the best: a step that loses nothing is taken.
        now = Found(found.x.clone(), found.rank.clone())
        for _ in range(self.rounds):
            for member in range(logits.shape[1]):
                index = found.unfinished(KEEP_SERVED_MARGIN)
                if len(index) == 0:
                    return restore(ep.astensor(found.x))
                self._visit(model, member, origin, goal, index, epsilon, now, found)
        return restore(ep.astensor(found.x))

    def _visit(
        self,
        model: Any,
        member: int,
        origin: Tensor,
        goal: Goal,
        index: Tensor,
        epsilon: float,
        now: Found,
        found: Found,
    ) -> None:
        """Step from where the points are to one member's boundary, and stay there unless more members are right."""
        step = self._step(model, member, now.x[index], goal[index], epsilon)
        x = self.ball.project(now.x[index] + step, origin[index], epsilon, model.bounds)
        rank = self._offer(model, x, goal, index, found)
        # Whole members only: the part behind the point is a probability, and no reason to refuse a step.
        fine = rank.ceil() <= now.rank[index].ceil()
        now.x[index[fine]] = x[fine]
        now.rank[index[fine]] = rank[fine]

    def _offer(self, model: Any, x: Tensor, goal: Goal, index: Tensor, found: Found) -> Tensor:
        """Return the rank of x for the points of `index`, which are kept where they are better."""
        with torch.no_grad():
            rank = members_left(model.member_logits(x), goal[index])
        found.keep(index, x, rank)
        return rank

    def _step(self, model: Any, member: int, x: Tensor, goal: Goal, epsilon: float) -> Tensor:
        """Return the step to the member's nearest linearised boundary, `[batch ...]`; zero where it is crossed."""
        part = parts_of(model, 1)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            logits = part[member](x)[:, 0] if len(part) > 1 else part[0](x)[:, member]
            own = logits.gather(1, goal.labels[:, None])
            others = logits.scatter(1, goal.labels[:, None], -torch.inf).topk(self._rivals(goal, logits), dim=1).values
            margins = goal.sign * (own - others)
            gradients = torch.stack(
                [torch.autograd.grad(margin.sum(), x, retain_graph=True)[0] for margin in margins.unbind(1)]
            )
        sizes = gradients.flatten(2).norm(self.dual, dim=2).clamp_min(FLAT)
        away = margins.detach().T / sizes
        nearest = away.argmin(0)
        points = torch.arange(len(x), device=x.device)
        length = (BEYOND * away[nearest, points] + FLOOR * epsilon).clamp_max(2 * epsilon)
        crossed = (margins.detach() < 0).any(1)
        length = torch.where(crossed, 0.0, length)
        return -per_point(length, x) * self.ball.direction(gradients[nearest, points])

    def _rivals(self, goal: Goal, logits: Tensor) -> int:
        """Return how many boundaries are tried: towards a given class only the one of the present answer counts."""
        return 1 if goal.sign < 0 else min(self.classes, logits.shape[1] - 1)


def greedy_members(norm: str, *, rounds: int = 20, classes: int = 3) -> GreedyMemberAttack:
    """Return the greedy attack on a random member.

    Args:
        norm: a key of `BALLS`.
        rounds: passes over all members.
        classes: wrong classes whose boundary is tried.

    Returns:
        A foolbox attack; a model without `member_logits` is a TypeError.

    Raises:
        UnknownName: the attack is not defined in this norm.
    """
    return GreedyMemberAttack(norm, rounds=rounds, classes=classes)
