"""How members' answers become one: aggregations as values.

Each aggregation maps member logits `[member batch classes]` to served logits `[batch classes]` whose arg max, ties to
the smallest label, is the served answer.
"""

from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ensemble.errors import InputError, UnknownName
from ensemble.prediction import log_mean_probability


class Aggregation(Protocol):
    """What every aggregation offers."""

    @property
    def name(self) -> str:
        """Return the name that requests and reports use."""
        ...

    def __call__(self, member_logits: Tensor) -> Tensor:
        """Return served logits `[batch classes]` of member logits `[member batch classes]`."""
        ...


@dataclass(frozen=True, slots=True)
class MeanProbability:
    """The log of the mean member probability; its softmax is that mean."""

    name: str = "prob"

    def __call__(self, member_logits: Tensor) -> Tensor:
        """Return log mean softmax."""
        return log_mean_probability(member_logits)


@dataclass(frozen=True, slots=True)
class MeanLogit:
    """The mean of the members' logits; a member with larger logits counts for more."""

    name: str = "logit"

    def __call__(self, member_logits: Tensor) -> Tensor:
        """Return the mean."""
        return member_logits.mean(0)


@dataclass(frozen=True, slots=True)
class MajorityVote:
    """The number of members for each label; among equal counts the smallest label wins.

    It has no gradient: an attacker goes through soft votes.
    """

    name: str = "vote"

    def __call__(self, member_logits: Tensor) -> Tensor:
        """Return vote counts, in the logits' dtype."""
        classes = member_logits.shape[-1]
        return F.one_hot(member_logits.argmax(-1), classes).sum(0).to(member_logits.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class RandomMember:
    """One member per request row, drawn by the generator; the draw moves the generator on.

    Attributes:
        rng: CPU generator of the draws.
    """

    rng: torch.Generator
    name: str = field(default="random_member", init=False)

    def __call__(self, member_logits: Tensor) -> Tensor:
        """Return each row's logits from its own member."""
        members, batch = member_logits.shape[:2]
        chosen = torch.randint(members, (batch,), generator=self.rng).to(member_logits.device)
        return member_logits[chosen, torch.arange(batch, device=member_logits.device)]


DETERMINISTIC: tuple[Aggregation, ...] = (MeanProbability(), MeanLogit(), MajorityVote())


def aggregation(name: str, *, rng: torch.Generator | None = None) -> Aggregation:
    """Return the aggregation called `name`.

    Args:
        name: "prob", "logit", "vote" or "random_member".
        rng: CPU generator, needed for "random_member" only.

    Raises:
        UnknownName: no aggregation has that name.
        InputError: "random_member" without a generator.
    """
    for value in DETERMINISTIC:
        if value.name == name:
            return value
    if name == "random_member":
        if rng is None:
            raise InputError("random_member: expected a torch.Generator, got none; pass rng=torch.Generator()")
        return RandomMember(rng)
    raise UnknownName("aggregation", name, [*(value.name for value in DETERMINISTIC), "random_member"])
