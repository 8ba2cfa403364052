"""Counts as the schema's proportions."""

import numpy as np

from attacks.metrics import Flags, Rate, rate
from attacks.schema import Proportion
from attacks.statistics import wilson


def proportion(flags: Flags) -> Proportion:
    """Return the share of all points: the interval is always stated.

    Args:
        flags: `[point]`.
    """
    k, n = int(flags.sum()), len(flags)
    low, high = wilson(k, n)
    return Proportion(k=k, n=n, value=k / n, low=low, high=high)


def proportion_among(flags: Flags, among: Flags) -> Proportion:
    """Return the share of some points: stated for all of them, as a rate where they are a part.

    Args:
        flags: `[point]`.
        among: `[point]`, the points that count.
    """
    if bool(np.all(among)):
        return proportion(flags)
    return from_rate(rate(int((flags & among).sum()), int(among.sum())))


def from_rate(of: Rate) -> Proportion:
    """Return a conditional rate: value and interval are null where it is of too few cases."""
    return Proportion(k=of.k, n=of.n, value=of.value, low=of.low, high=of.high)
