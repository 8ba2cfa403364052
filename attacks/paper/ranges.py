"""What several seeds say about one more run: the 95 % range that an official number is set beside."""

from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Range:
    """Mean over seeds, and the 95 % range of one more run.

    Attributes:
        mean: over the seeds.
        low: mean − t s sqrt(1 + 1/n), t with n − 1 degrees of freedom.
        high: the same above.
        seeds: n.
    """

    mean: float
    low: float
    high: float
    seeds: int

    def __str__(self) -> str:
        """Return the mean with the range in brackets."""
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def holds(self, value: float) -> bool:
        """Return whether a number lies in the range."""
        return self.low <= value <= self.high

    def overlaps(self, low: float, high: float) -> bool:
        """Return whether an interval meets the range."""
        return low <= self.high and high >= self.low

    def of_a_share(self) -> "Range":
        """Return the range cut to [0, 1], for accuracies."""
        return Range(self.mean, max(0.0, self.low), min(1.0, self.high), self.seeds)


def prediction_range(values: Tensor) -> Range:
    """Return the 95 % range of one more run, from one value per seed.

    Args:
        values: `[seed]`, at least two.
    """
    return _range(values, (1 + 1 / len(values)) ** 0.5)


def mean_interval(values: Tensor) -> Range:
    """Return the mean over seeds with its 95 % t interval; `low` and `high` bound the mean, not one more run.

    Args:
        values: `[seed]`, at least two.
    """
    return _range(values, (1 / len(values)) ** 0.5)


def _range(values: Tensor, factor: float) -> Range:
    values = torch.as_tensor(values, dtype=torch.float64)
    n = len(values)
    mean = float(values.mean())
    half = float(stats.t.ppf(0.975, n - 1)) * float(values.std()) * factor
    return Range(mean, mean - half, mean + half, n)
