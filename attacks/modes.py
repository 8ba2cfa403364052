"""Serving modes: how members' logits become the answer that is served, as an attacker and a judge see it.

Each row maps member logits `[member batch classes]` to scores `[batch classes]` that are differentiable and whose arg
max is the served answer. The forward values are those of `ensemble.aggregation`, so that a verdict is what a server
would have answered.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from ensemble.aggregation import MajorityVote, MeanLogit, MeanProbability
from ensemble.errors import InputError, UnknownName

#: Modes in which an evaluation can be asked for today.
MODES = ("prob", "logit", "vote", "random_member")

#: How soft the votes are that gradients go through: tau of `softmax(tau z)`.
VOTE_TEMPERATURE = 1.0


@dataclass(frozen=True, slots=True)
class ServingMode:
    """One way to serve an ensemble.

    Attributes:
        name: what requests and reports call it.
        scores: member logits `[member batch classes]` -> `[batch classes]`; differentiable, arg max = served answer.
        forward: whether the ensemble's own forward gives these scores, so that nothing has to be aggregated outside it.
        random: whether the answer is drawn per request; `scores` then belong to the expectation over the draws, and a
            point is held when every member is right.
        stepwise: whether scores are piecewise constant, with the gradients of a smooth stand-in.
    """

    name: str
    scores: Callable[[Tensor], Tensor]
    forward: bool = False
    random: bool = False
    stepwise: bool = False


def vote_scores(member_logits: Tensor, temperature: float = VOTE_TEMPERATURE) -> Tensor:
    """Return each class's share of the votes less its tie-break, with the gradient of the soft votes.

    Straight through: the value is (count - index/classes)/members, so that no two classes are equal, among equal counts
    the smallest label wins as it does when served, and a margin is negative exactly where the answer is wrong. Shares,
    not counts: the cross-entropy of counts has no float32 gradient above about ninety members. The gradient is that of
    mean_m softmax(tau z_m).

    Args:
        member_logits: `[member batch classes]`.
        temperature: tau; 1 or 5 by convention.

    Returns:
        `[batch classes]`.
    """
    size, _, classes = member_logits.shape
    soft = (temperature * member_logits).softmax(-1).mean(0)
    order = torch.arange(classes, device=soft.device, dtype=soft.dtype) / classes
    hard = (MajorityVote()(member_logits.detach()) - order) / size
    # In this order the added term is an exact zero, and the value is the hard one to the last bit.
    return hard + (soft - soft.detach())


def vote(temperature: float = VOTE_TEMPERATURE) -> ServingMode:
    """Return the mode `vote` whose gradients go through soft votes of this temperature.

    Args:
        temperature: tau of softmax(tau z), > 0; the verdict does not depend on it.

    Raises:
        InputError: the temperature is not > 0.
    """
    if not temperature > 0:
        raise InputError(f"temperature of soft votes: expected a number > 0, got {temperature!r}; 1 and 5 are usual")

    def scores(member_logits: Tensor) -> Tensor:
        return vote_scores(member_logits, temperature)

    return ServingMode("vote", scores, stepwise=True)


#: One row per mode. The scores of `random_member` are the log of the mean probability, which is the exact expectation:
#: their softmax is the probability of each label of one request, its cross-entropy minus the log of it.
SERVING_MODES: Mapping[str, ServingMode] = MappingProxyType(
    {
        "prob": ServingMode("prob", MeanProbability(), forward=True),
        "logit": ServingMode("logit", MeanLogit()),
        "vote": vote(),
        "random_member": ServingMode("random_member", MeanProbability(), random=True),
    }
)


def serving_mode(mode: str | ServingMode) -> ServingMode:
    """Return the serving mode of this name; a mode is returned as it is.

    Args:
        mode: a key of `SERVING_MODES`, or a row of one's own such as `vote(5.0)`.

    Raises:
        UnknownName: no mode has that name.
    """
    if isinstance(mode, ServingMode):
        return mode
    if mode not in SERVING_MODES:
        raise UnknownName("serving mode", str(mode), SERVING_MODES)
    return SERVING_MODES[mode]
