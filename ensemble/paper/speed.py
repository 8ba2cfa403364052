"""How fast runs converge: steps to a wanted distance and the rate of the last decay, from a record."""

import math
from itertools import pairwise

import torch
from torch import Tensor

from ensemble.paper.descent import Record

NEAR = 0.01  # of ‖Y‖: converged
FLOOR = 1e-9  # of ‖Y‖: below it rounding decides


def steps_to(record: Record, share: float = NEAR) -> Tensor:
    """Return after how many steps ‖Y − F‖ first is below a share of ‖Y‖, `[run]`; infinite where it never is.

    Between two records the logarithm of the distance is taken to be linear in the step.

    Args:
        record: of the runs.
        share: of ‖Y‖.
    """
    goal = share * record.end.Y.flatten(1).norm(dim=1)
    found = torch.full_like(goal, math.inf)
    steps = record.steps.double()
    for run in range(len(goal)):
        below = (record.distance[:, run] <= goal[run]).nonzero()
        if len(below) == 0:
            continue
        after = int(below[0])
        if after == 0:
            found[run] = 0.0
            continue
        low, high = record.distance[after - 1, run].log(), record.distance[after, run].clamp_min(1e-300).log()
        part = (low - goal[run].log()) / (low - high)
        found[run] = steps[after - 1] + part * (steps[after] - steps[after - 1])
    return found


def last_rate(record: Record) -> Tensor:
    """Return the decay of ‖Y − F‖ per unit of time over the last tenfold of steps above rounding, `[run]`.

    Args:
        record: of the runs; NaN where too few records are left.
    """
    scale = record.end.Y.flatten(1).norm(dim=1)
    rates = torch.full_like(scale, math.nan)
    for run in range(len(scale)):
        usable = record.distance[:, run] > FLOOR * scale[run]
        last = int(usable.nonzero()[-1])
        first = int((record.steps >= record.steps[last] / 2).nonzero()[0])
        if last > first:
            time = (record.steps[last] - record.steps[first]) * record.end.rates[run]
            rates[run] = (record.distance[first, run] / record.distance[last, run]).log() / time
    return rates


def ordered(key: Tensor, value: Tensor, slack: float = 0.02) -> bool:
    """Return whether `value` falls, within a relative slack, as `key` grows; infinities count as equal.

    Args:
        key: `[run]`.
        value: `[run]`.
        slack: relative growth that is still no disagreement.
    """
    sorted_values = value[key.argsort()].tolist()
    return all(b <= a * (1 + slack) for a, b in pairwise(sorted_values))


def finite(value: float) -> float | None:
    """Return the value, or None where it is infinite or not a number, which JSON cannot say."""
    return value if abs(value) < float("inf") else None


def in_words(steps: float) -> str:
    """Return a number of steps, or that convergence was not reached."""
    return f"{steps:,.0f}" if steps < float("inf") else "not reached"
