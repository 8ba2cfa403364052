"""Counters, gauges and histograms, and their Prometheus text: written from one thread, read by the metrics route."""

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SHARD_SECONDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
SHARES: Final = tuple(step / 20 for step in range(21))

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of the text: a suffix of the family's name, its labels, its value."""

    suffix: str
    labels: Mapping[str, str]
    value: float


class Family(Protocol):
    """A metric with all its label values."""

    @property
    def name(self) -> str:
        """Return the metric's name, without the suffixes of its samples."""
        ...

    @property
    def kind(self) -> str:
        """Return "counter", "gauge" or "histogram"."""
        ...

    @property
    def help(self) -> str:
        """Return one line that says what is counted."""
        ...

    def samples(self) -> Iterator[Sample]:
        """Yield the current samples."""
        ...


class Counter:
    """A number that only grows, per label values.

    Args:
        name: ends in `_total`.
        help: one line.
        labels: names of the labels.
    """

    kind = "counter"

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:  # noqa: A002 - Prometheus' own word
        self.name = name
        self.help = help
        self._labels = tuple(labels)
        self._values: dict[Labels, float] = {}

    def add(self, *labels: str, amount: float = 1.0) -> None:
        """Add to the counter of these label values."""
        self._values[labels] = self._values.get(labels, 0.0) + amount

    def read(self, values: Mapping[Labels, float]) -> None:
        """Take over what is counted elsewhere."""
        self._values = dict(values)

    def value(self, *labels: str) -> float:
        """Return the counter of these label values."""
        return self._values.get(labels, 0.0)

    def samples(self) -> Iterator[Sample]:
        """Yield one sample per label values that occurred."""
        for labels, value in self._values.items():
            yield Sample("", dict(zip(self._labels, labels, strict=True)), value)


class Gauge:
    """A number that goes up and down, per label values."""

    kind = "gauge"

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:  # noqa: A002
        self.name = name
        self.help = help
        self._labels = tuple(labels)
        self._values: dict[Labels, float] = {}

    def set(self, *labels: str, value: float) -> None:
        """Set the gauge of these label values."""
        self._values[labels] = value

    def clear(self) -> None:
        """Forget every label value, before all that exist are set again."""
        self._values.clear()

    def samples(self) -> Iterator[Sample]:
        """Yield one sample per label values that were set."""
        for labels, value in self._values.items():
            yield Sample("", dict(zip(self._labels, labels, strict=True)), value)


class Histogram:
    """How values are spread over buckets, per label values.

    Args:
        name: of the family.
        help: one line.
        labels: names of the labels.
        buckets: upper bounds, ascending; the one above all is added.
    """

    kind = "histogram"

    def __init__(self, name: str, help: str, labels: Sequence[str], buckets: Sequence[float]) -> None:  # noqa: A002
        self.name = name
        self.help = help
        self._labels = tuple(labels)
        self._bounds = (*buckets, math.inf)
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, *labels: str, value: float) -> None:
        """Count one value."""
        self.observe_all(*labels, values=(value,))

    def observe_all(self, *labels: str, values: Sequence[float]) -> None:
        """Count several values."""
        counts = self._counts.setdefault(labels, [0] * len(self._bounds))
        for value in values:
            counts[bisect_left(self._bounds, value)] += 1
        self._sums[labels] = self._sums.get(labels, 0.0) + sum(values)

    def read(self, counts: Mapping[Labels, Mapping[float, float]], sums: Mapping[Labels, float]) -> None:
        """Take over what is counted elsewhere.

        Args:
            counts: of each label values, how many values fell under each upper bound and above the one before.
            sums: of each label values.
        """
        self._counts, self._sums = {}, {}
        for labels, found in counts.items():
            self._sums[labels] = sums.get(labels, 0.0)
            row = self._counts.setdefault(labels, [0] * len(self._bounds))
            for bound, count in found.items():  # an older version may have had other bounds
                row[bisect_left(self._bounds, bound)] += int(count)

    def count(self, *labels: str) -> int:
        """Return how many values were counted."""
        return sum(self._counts.get(labels, ()))

    def samples(self) -> Iterator[Sample]:
        """Yield the cumulative buckets, the sum and the count, per label values."""
        for labels, counts in self._counts.items():
            named = dict(zip(self._labels, labels, strict=True))
            below = 0
            for bound, count in zip(self._bounds, counts, strict=True):
                below += count
                yield Sample("_bucket", {**named, "le": _number(bound)}, below)
            yield Sample("_sum", named, self._sums[labels])
            yield Sample("_count", named, below)


def exposition(families: Sequence[Family]) -> str:
    """Return the families as Prometheus text, format 0.0.4."""
    lines: list[str] = []
    for family in families:
        lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
        for sample in family.samples():
            named = ",".join(f'{name}="{_escaped(value)}"' for name, value in sample.labels.items())
            lines.append(f"{family.name}{sample.suffix}{{{named}}} {_number(sample.value)}")
    return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
