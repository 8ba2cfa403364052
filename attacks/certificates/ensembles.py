"""From the members' margin bounds to the served answer: one rule per serving mode.

`mean of probabilities` needs care: a bound on a margin is no bound on a mean of softmaxes, because members that lose
little in logits may lose much in probability. Its rule therefore bounds each probability by itself, p_y from below and
p_j from above, and is the loosest of the four.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor


def _by_logits(margins: Tensor) -> Tensor:
    """The mean logit's margin against each class is the mean of the members' margins."""
    return margins.mean(0).amin(1)


def _by_votes(margins: Tensor) -> Tensor:
    """More than half of the members are certified for the label: then no tie can arise."""
    votes = (margins.amin(2) > 0).double().mean(0)
    return votes - 0.5


def _by_probabilities(margins: Tensor) -> Tensor:
    """With m_j <= z_y - z_j: p_y >= 1/(1 + sum_j exp(-m_j)), and p_j <= 1/(1 + exp(m_j)) for each j (derived here)."""
    least = 1 / (1 + torch.exp(-margins).sum(2))
    largest = torch.sigmoid(-margins).mean(0)
    return least.mean(0) - largest.amax(1)


def _by_every_member(margins: Tensor) -> Tensor:
    """No draw can be wrong where every member is certified."""
    return margins.amin(2).amin(0)


#: Serving mode -> members' margin bounds `[member batch classes]`, infinity at the label -> `[batch]`, certified if
#: above nought.
RULES: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "prob": _by_probabilities,
        "logit": _by_logits,
        "vote": _by_votes,
        "random_member": _by_every_member,
    }
)


def certified_flags(margins: Tensor, mode: str) -> Tensor:
    """Return which points keep their label over their whole box, `[batch]` bool.

    Args:
        margins: `[member batch classes]`, lower bounds on z_y - z_j with infinity at the label, less any rounding.
        mode: a key of `RULES`; for a single network every mode is the same.
    """
    if len(margins) == 1:
        return margins[0].amin(1) > 0
    return RULES[mode](margins) > 0
