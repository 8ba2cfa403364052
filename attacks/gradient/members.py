"""What member-aware attacks read of a model: its members' logits, all or some at a time, and how many are left."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from attacks.gradient.goal import Goal

#: x `[batch ...]` -> logits `[batch member classes]` of some members; the same members however often it is called.
Part = Callable[[Tensor], Tensor]


def require_members(model: Any, attack: str) -> None:
    """Return nothing for a model that answers member by member.

    Args:
        model: the model under attack.
        attack: its name in the error.

    Raises:
        TypeError: the model has no `member_logits`.
    """
    if not hasattr(model, "member_logits"):
        raise TypeError(
            f"{attack}: expected a model with member_logits(x) -> [batch member classes], got {type(model).__name__}; "
            "wrap an ensemble, or use an attack that needs no members"
        )


def parts_of(model: Any, chunk: int | None) -> Sequence[Part]:
    """Return the members of a model, some at a time.

    Args:
        model: with `member_logits`; `model.network.size` tells how many there are, and the network runs some alone.
        chunk: members at a time; None for all at once, as is a network that does not tell its size.

    Returns:
        Functions whose outputs, joined along the members, are all members in order.
    """
    size = getattr(getattr(model, "network", None), "size", None)
    if chunk is None or size is None or chunk >= size:
        return (model.member_logits,)
    slices = [slice(first, min(first + chunk, size)) for first in range(0, size, chunk)]

    def part(members: slice) -> Part:
        return lambda x: model.member_logits(x, members=members)

    return tuple(part(members) for members in slices)


def members_left(member_logits: Tensor, goal: Goal) -> Tensor:
    """Return how far a random member is from doing what the attacker wants, `[batch]`: lower is better.

    The number of members that do not, minus one, plus their mean probability of not doing it: a member fewer always
    counts for more, and the result is below zero exactly where none is left.

    Args:
        member_logits: `[batch member classes]`.
        goal: of each point.
    """
    probability = member_logits.softmax(2).mean(1).gather(1, goal.labels[:, None])[:, 0]
    named = (member_logits.argmax(2) == goal.labels[:, None]).sum(1)
    if goal.sign < 0:
        return member_logits.shape[1] - named - probability
    return named - 1 + probability
