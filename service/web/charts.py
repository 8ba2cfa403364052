"""Charts as values: what is drawn, apart from how it is drawn (`plots`) and where it comes from (`figures`)."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a line of a chart stands for; the role decides colour, marker and dash, everywhere alike."""

    ENSEMBLE = "ensemble"
    BASE = "base"
    MEMBER = "member"
    NOISE_NORM = "weight_noise_equal_norm"
    NOISE_ACCURACY = "weight_noise_equal_accuracy"
    SCRAMBLED = "scrambled_control"
    INDEPENDENT = "independent_ensemble"
    CERTIFIED = "certified"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Point:
    """One proportion at one radius: epsilon in input units, value and its 95 % interval in [0, 1]."""

    epsilon: float
    value: float
    low: float
    high: float
    k: int | None = None
    n: int | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its name in the report, the words a reader sees, and points in ascending epsilon."""

    name: str
    label: str
    role: Role
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class CurveChart:
    """Accuracy against epsilon under one threat model and norm.

    `raw` holds single attacks on the served ensemble: they are drawn as small marks, the worst case as lines.
    """

    title: str
    norm: str
    series: tuple[Series, ...]
    raw: tuple[Series, ...] = ()
    chance: float | None = None

    @property
    def epsilons(self) -> tuple[float, ...]:
        """Return every radius that any line has, ascending."""
        return tuple(sorted({point.epsilon for series in self.series for point in series.points}))


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A table of rates in [0, 1] as colours; None is a cell with too few cases to give a rate."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    across: str = "judged on"
    down: str = "crafted on"
