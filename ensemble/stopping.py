r"""Early stopping: evaluate members in blocks until no remaining member can change the served label.

With r members left, label c is decided once it leads every other label j by more than r votes (or r units of summed
probability): a remaining member moves a difference of counts, or of probability sums, by at most 1. For mean logits no
bound exists, because a logit is unbounded; the aggregation is refused.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ensemble.aggregation import Aggregation, MajorityVote, MeanProbability
from ensemble.errors import InputError

RunBlock = Callable[[Tensor, slice], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """Labels decided early.

    Attributes:
        labels: the full ensemble's labels `[batch]` (for an exact rule: always; for a statistical one: as stated).
        members_used: members evaluated per row `[batch]`.
    """

    labels: Tensor
    members_used: Tensor


class StoppingRule(Protocol):
    """Says which rows need no further member."""

    def scores(self, member_logits: Tensor) -> Tensor:
        """Return what is summed over members, `[member batch classes]`, entries in [0, 1] with sum 1."""
        ...

    def decided(self, totals: Tensor, used: int, remaining: int) -> Tensor:
        """Return, per row of the summed scores `[batch classes]`, whether the label stands `[batch]`."""
        ...


@dataclass(frozen=True, slots=True)
class ExactRule:
    """Stops when no remaining member can change the label.

    Raises:
        InputError: the aggregation is neither "prob" nor "vote".
    """

    aggregation: Aggregation

    def __post_init__(self) -> None:
        if not isinstance(self.aggregation, MeanProbability | MajorityVote):
            raise InputError(
                f"early stopping: expected the aggregation 'prob' or 'vote', got {self.aggregation.name!r}; "
                "no bound exists for unbounded scores"
            )

    def scores(self, member_logits: Tensor) -> Tensor:
        """Return probabilities or one-hot votes."""
        if isinstance(self.aggregation, MajorityVote):
            return F.one_hot(member_logits.argmax(-1), member_logits.shape[-1]).double()
        return member_logits.double().softmax(-1)

    def decided(self, totals: Tensor, used: int, remaining: int) -> Tensor:
        """Return whether the leader stays ahead whatever the remaining members say; ties go to the smallest label."""
        leader = totals.argmax(-1, keepdim=True)
        lead = totals.gather(-1, leader) - totals
        labels = torch.arange(totals.shape[-1], device=totals.device)
        # A smaller label wins a tie, so the leader must stay strictly ahead of those. Probability sums get a guard
        # against rounding: the full ensemble adds them up in another order.
        guard = 0.0 if isinstance(self.aggregation, MajorityVote) else 1e-5
        safe = torch.where(labels < leader, lead > remaining + guard, lead >= remaining + guard)
        return (safe | (labels == leader)).all(-1)


@dataclass(frozen=True, slots=True)
class MarginRule:
    """Stops a row when the leader's mean margin after k members exceeds a fitted threshold.

    Attributes:
        exact: the rule that it shortens.
        thresholds: per number of members used (1-based), the mean margin above which a row stops.
        disagreement: stated share of labels that may differ from the full ensemble's, in expectation.
    """

    exact: ExactRule
    thresholds: tuple[float, ...]
    disagreement: float

    def scores(self, member_logits: Tensor) -> Tensor:
        """Return the exact rule's scores."""
        return self.exact.scores(member_logits)

    def decided(self, totals: Tensor, used: int, remaining: int) -> Tensor:
        """Return whether the margin is large enough, or the exact rule holds."""
        return (_margin(totals, used) > self.thresholds[used - 1]) | self.exact.decided(totals, used, remaining)


def fit_margin_rule(exact: ExactRule, member_logits: Tensor, *, disagreement: float = 1e-3) -> MarginRule:
    r"""Return the rule that stops as early as the stated disagreement allows, fitted on held-out unlabelled inputs.

    After k of M members the threshold is lambda sqrt(1/k - 1/M): the spread of a mean of k around the mean of all M, so
    that one number remains to be fitted. It is the least lambda at and above which at most (n + 1) disagreement - 1 of
    the n rows change their label. By conformal risk control (Angelopoulos et al., 2022) the expected share of changed
    labels on a new input is then at most the one stated, if it is drawn like those of the fit; training images of the
    base are not, because the base is surer of them.

    Args:
        exact: the rule to shorten.
        member_logits: `[member batch classes]` on inputs that are not the ones served or judged.
        disagreement: allowed share of changed labels, in (0, 1).

    Raises:
        InputError: the share is not in (0, 1), or there are too few inputs to bound it.
    """
    members, batch = member_logits.shape[:2]
    if not 0 < disagreement < 1:
        raise InputError(f"disagreement: expected a share in (0, 1), got {disagreement!r}")
    allowed = math.floor((batch + 1) * disagreement * (1 + 1e-12)) - 1
    if allowed < 0:
        raise InputError(
            f"margin rule: expected at least {math.ceil(1 / disagreement) - 1} inputs to bound a share, got {batch}"
        )
    totals = exact.scores(member_logits).cumsum(0)
    wrong = totals.argmax(-1) != totals[-1].argmax(-1)
    spreads = [math.sqrt(1 / used - 1 / members) for used in range(1, members)]
    ratios = torch.stack(
        [_margin(totals[used - 1], used) / spread for used, spread in enumerate(spreads, start=1)]
        or [totals.new_full((batch,), -torch.inf)]
    )
    # A row stops at the first k whose ratio passes lambda, so only a ratio above all earlier ones can ever stop it.
    first = torch.cat([ratios[:1] > -torch.inf, ratios[1:] > ratios.cummax(0).values[:-1]])
    worst = ratios.where(first & wrong[: len(ratios)], 0).amax(0)
    rate = float(worst.sort(descending=True).values[allowed])
    return MarginRule(exact, (*(rate * spread for spread in spreads), 0.0), disagreement)


def until_decided(x: Tensor, *, size: int, block: int, rule: StoppingRule, run: RunBlock) -> Decision:
    """Return labels, evaluating members only for the rows that are still open.

    Args:
        x: inputs `[batch ...]`.
        size: number of members.
        block: members evaluated before the rule is asked again.
        rule: when a row is decided.
        run: member logits `[block rows classes]` of given rows for a slice of members.

    Raises:
        InputError: block < 1.
    """
    if block < 1:
        raise InputError(f"block: expected at least 1 member per step, got {block}")
    open_rows = torch.arange(len(x), device=x.device)
    labels = torch.zeros(len(x), dtype=torch.long, device=x.device)
    members_used = torch.zeros(len(x), dtype=torch.long, device=x.device)
    totals: Tensor | None = None
    for start in range(0, size, block):
        stop = min(start + block, size)
        gained = rule.scores(run(x[open_rows], slice(start, stop))).sum(0)
        totals = gained if totals is None else totals + gained
        done = rule.decided(totals, stop, size - stop) if stop < size else torch.ones_like(open_rows, dtype=torch.bool)
        labels[open_rows[done]] = totals[done].argmax(-1)
        members_used[open_rows[done]] = stop
        open_rows, totals = open_rows[~done], totals[~done]
        if not len(open_rows):
            break
    return Decision(labels, members_used)


def _margin(totals: Tensor, used: int) -> Tensor:
    top = totals.topk(2, dim=-1).values
    return (top[:, 0] - top[:, 1]) / used
