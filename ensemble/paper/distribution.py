"""Distribution of Q at initialisation over many seeds, against its closed form: what figures 4 and 5 share."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble.flow.initialisation import (
    HALF_SQUARE,
    POSITIVE_HALF_SQUARE,
    SCHEMES,
    SIGMOID_INTEGRAL,
    TANH_INTEGRAL,
    Integral,
    Moments,
    Shape,
    quantity_moments,
)
from ensemble.paper.defects import defects_of
from ensemble.paper.layers import ELEMENTWISE, HiddenLayer
from ensemble.paper.starts import DTYPE, generator
from ensemble.paper.values import Comparison, Line, Panel, Report, Stroke, Track, TrackName, verdict

#: The official code draws U ~ N(0, 1/h) and V ~ N(0, 1/n).
SCHEME = SCHEMES[0]
#: The three shapes of the paper.
SHAPES: tuple[Shape, ...] = (Shape(100, 100, 100), Shape(100, 200, 100), Shape(200, 100, 100))
INTEGRALS: dict[str, Integral] = {
    "linear": HALF_SQUARE,
    "ReLU": POSITIVE_HALF_SQUARE,
    "tanh": TANH_INTEGRAL,
    "sigmoid": SIGMOID_INTEGRAL,
}
BINS = 30
CHUNK = 50  # seeds held in memory at once
ERRORS = 4.0  # standard errors that still count as agreement


@dataclass(frozen=True, slots=True)
class Settings:
    """What is run.

    Attributes:
        seeds: networks drawn per shape.
        shapes: sizes of the networks.
        seed: of the draws.
    """

    seeds: int = 1000
    shapes: tuple[Shape, ...] = SHAPES
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Q of many networks of one shape and activation.

    Attributes:
        layer: the activation.
        shape: sizes.
        values: Q `[seed]`.
        expected: mean and spread in closed form.
    """

    layer: HiddenLayer
    shape: Shape
    values: Tensor
    expected: Moments

    @property
    def title(self) -> str:
        """Return activation and sizes in words."""
        return f"{self.layer.name}, (m, h, n) = ({self.shape.out}, {self.shape.hidden}, {self.shape.inp})"

    @property
    def mean_error(self) -> float:
        """Return the distance of the sample's mean from the closed form, in standard errors."""
        return float((self.values.mean() - self.expected.mean) / (self.expected.std / len(self.values) ** 0.5))

    @property
    def spread_error(self) -> float:
        """Return the same for the standard deviation, whose standard error is s sqrt((kurtosis − 1)/4n)."""
        centred = self.values - self.values.mean()
        kurtosis = centred.pow(4).mean() / centred.square().mean().square()
        error = self.expected.std * ((kurtosis - 1) / (4 * len(self.values))) ** 0.5
        return float((self.values.std() - self.expected.std) / error)

    @property
    def published_moments(self) -> tuple[float, float]:
        """Return mean and standard deviation in closed form, as the official code normalises Q."""
        mean = float(self.published(torch.tensor(self.expected.mean, dtype=DTYPE)))
        return mean, self.layer.published_scale * self.expected.std

    def published(self, Q: Tensor) -> Tensor:
        """Return Q as the official code normalises it."""
        return self.layer.published(Q, self.shape.inp * self.shape.hidden)


def report(number: int, title: str, names: Sequence[str], settings: Settings) -> Report:
    """Return one of the two figures of Q at initialisation, in both tracks.

    Args:
        number: 4 or 5.
        title: of the figure.
        names: activations it shows.
        settings: seeds and shapes.
    """
    found, official = samples(settings, names), Settings()
    return Report(
        number,
        title,
        f"{settings.seeds:,} seeds; official {official.seeds:,}",
        settings.seeds >= official.seeds,
        (published_track(settings, found), corrected_track(settings, found)),
        comparisons(found),
        defects_of(number),
        (
            "Which of figures 4 and 5 shows which panel is not known: linear networks are put into 4, the other "
            "activations into 5, each at all three shapes.",
            "Agreement: within four standard errors of the closed form. The closed forms are derived here.",
            "U and V are drawn independently in both tracks: were one seed shared, as in the training scripts, Q of "
            "the linear network with m = h = n would be 0 for every seed.",
        ),
    )


def samples(settings: Settings, names: Sequence[str]) -> list[Sample]:
    """Return Q under the official initialisation for some activations, the same draws for each of them.

    Args:
        settings: how many seeds and which shapes.
        names: activations, by the names of `layers.ELEMENTWISE`.
    """
    layers = [layer for layer in ELEMENTWISE if layer.name in names]
    found = []
    for index, shape in enumerate(settings.shapes):
        rng = generator(settings.seed, index)
        drawn: list[list[Tensor]] = [[] for _ in layers]
        for start in range(0, settings.seeds, CHUNK):
            count = min(CHUNK, settings.seeds - start)
            U = torch.randn(count, shape.out, shape.hidden, generator=rng, dtype=DTYPE) / shape.hidden**0.5
            V = torch.randn(count, shape.hidden, shape.inp, generator=rng, dtype=DTYPE) / shape.inp**0.5
            for values, layer in zip(drawn, layers, strict=True):
                values.append(layer.quantity(U, V))
        for values, layer in zip(drawn, layers, strict=True):
            expected = quantity_moments(shape, SCHEME, INTEGRALS[layer.name])
            found.append(Sample(layer, shape, torch.cat(values), expected))
    return sorted(found, key=lambda sample: names.index(sample.layer.name))


def published_track(settings: Settings, found: list[Sample]) -> Track:
    """Return the histograms in the official code's normalisation."""
    panels = tuple(_panel(one, one.published(one.values), *one.published_moments, "Q as published") for one in found)
    numbers = {
        one.title: {
            "mean": float(one.published(one.values).mean()),
            "std": float(one.published(one.values).std()),
        }
        for one in found
    }
    return Track(TrackName.AS_PUBLISHED, _settings(settings), panels, numbers)


def corrected_track(settings: Settings, found: list[Sample]) -> Track:
    """Return the histograms of Q with the factor ½ everywhere, and the errors against the closed forms."""
    panels = tuple(_panel(one, one.values, one.expected.mean, one.expected.std, "Q") for one in found)
    numbers = {
        one.title: {
            "mean": float(one.values.mean()),
            "std": float(one.values.std()),
            "expected_mean": one.expected.mean,
            "expected_std": one.expected.std,
            "mean_error_in_standard_errors": one.mean_error,
            "std_error_in_standard_errors": one.spread_error,
            "spread_relative_to_the_squared_norms": one.expected.relative,
        }
        for one in found
    }
    return Track(TrackName.CORRECTED, _settings(settings), panels, numbers)


def comparisons(found: list[Sample]) -> tuple[Comparison, ...]:
    """Return mean and spread in the official normalisation beside the closed forms."""
    rows = []
    for one in found:
        ours = one.published(one.values)
        mean, std = one.published_moments
        error = float(ours.std()) / len(ours) ** 0.5
        rows.append(Comparison(f"{one.title}: mean", "not known", f"{mean:z.3f}",
                               f"{float(ours.mean()):z.3f} ± {error:.3f}",
                               verdict(abs(one.mean_error) <= ERRORS)))  # fmt: skip
        rows.append(Comparison(f"{one.title}: standard deviation", "not known", f"{std:.3f}",
                               f"{float(ours.std()):.3f}", verdict(abs(one.spread_error) <= ERRORS)))  # fmt: skip
    return tuple(rows)


def _panel(one: Sample, values: Tensor, mean: float, std: float, label: str) -> Panel:
    density, edges = torch.histogram(values, bins=BINS, density=True)
    middle = (edges[1:] + edges[:-1]) / 2
    normal = torch.exp(-(((middle - mean) / std) ** 2) / 2) / (std * (2 * torch.pi) ** 0.5)
    x = tuple(middle.tolist())
    lines = (
        Line("sample", x, tuple(density.tolist())),
        Line("closed form", x, tuple(normal.tolist()), Stroke.PREDICTED),
    )
    return Panel(one.title, label, "density", lines)


def _settings(settings: Settings) -> dict[str, object]:
    return {
        "seeds": settings.seeds,
        "shapes (m, h, n)": [f"({s.out}, {s.hidden}, {s.inp})" for s in settings.shapes],
        "initialisation": "U ~ N(0, 1/h), V ~ N(0, 1/n), independent",
        "seed": settings.seed,
    }
