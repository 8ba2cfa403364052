"""How long an execution takes: `a * rows + b` seconds, learned from every execution, one line per class of cost."""

import math
from collections.abc import Hashable
from typing import Final

RATE: Final = 0.2  # share of an error that one observation corrects
CLIP: Final = 4.0  # an observation counts as at most this many times the prediction: a suspended machine is no trend
STEADINESS: Final = 0.05  # weight of one observation in the measured spread
_LEAST: Final = 1e-7  # seconds; no term may vanish, or it could never grow again


class _Line:
    """`a * rows + b`, both terms positive."""

    def __init__(self, slope: float, base: float) -> None:
        self.slope = max(slope, _LEAST)
        self.base = max(base, _LEAST)

    def predict(self, rows: int) -> float:
        return self.slope * rows + self.base

    def learn(self, rows: int, seconds: float) -> None:
        """Correct the prediction at `rows` by `RATE` of its error.

        The error is split by the squares of the two terms: large batches teach the slope, small ones the base.
        """
        predicted = self.predict(rows)
        error = RATE * (min(seconds, CLIP * predicted) - predicted)
        varying = (self.slope * rows) ** 2
        share = varying / (varying + self.base**2)
        self.slope = max(self.slope + error * share / rows, _LEAST)
        self.base = max(self.base + error * (1 - share), _LEAST)


class CostModel:
    """Predicts the seconds of executions; classes without an observation use the dearest line that is known.

    Attributes:
        spread: mean relative error of the predictions so far, newer ones counting more.
    """

    def __init__(self) -> None:
        self.spread = 0.1
        self._lines: dict[Hashable, _Line] = {}

    def seed(self, kind: Hashable, *, one: float, rows: int, many: float) -> None:
        """Set the line of a class through two measurements.

        Args:
            kind: class of cost.
            one: seconds of one row.
            rows: of the large execution.
            many: its seconds.
        """
        slope = (many - one) / (rows - 1) if rows > 1 else 0.0
        slope = slope if slope > 0 else many / rows
        self._lines[kind] = _Line(slope, one - slope)

    def learn(self, kind: Hashable, rows: int, seconds: float) -> None:
        """Take one execution into account.

        Args:
            kind: class of cost.
            rows: that were executed together.
            seconds: from the dispatch to the answers, as the queue felt it.
        """
        line = self._lines.get(kind)
        if line is not None:
            predicted = line.predict(rows)
            self.spread += STEADINESS * (min(abs(seconds - predicted) / predicted, 1.0) - self.spread)
            line.learn(rows, seconds)
            return
        # A new class: shaped like the dearest that is known, or by the rows alone, which foresees large ones as dear.
        like = max(self._lines.values(), key=lambda known: known.predict(rows), default=_Line(seconds / rows, 0.0))
        scale = seconds / like.predict(rows)
        self._lines[kind] = _Line(like.slope * scale, like.base * scale)

    def predict(self, kind: Hashable, rows: int, *, max_rows: int) -> float:
        """Return the seconds of `rows`, run in executions of at most `max_rows`; 0 while nothing is known."""
        line = self._lines.get(kind)
        lines = [line] if line is not None else list(self._lines.values())
        return max((_in_executions(candidate, rows, max_rows) for candidate in lines), default=0.0)


def retry_after(seconds: float) -> int:
    """Return whole seconds, at least 1, after which a predicted wait is over."""
    return max(1, math.ceil(seconds))


def _in_executions(line: _Line, rows: int, max_rows: int) -> float:
    whole, rest = divmod(rows, max_rows)
    return whole * line.predict(max_rows) + (line.predict(rest) if rest else 0.0)
