"""Figure 3: the conserved quantity along gradient descent, for three learning rates and four activations.

As published: Q as the official code normalises it, in absolute value, relative to its value after step 1; U and V share
one seed. Corrected: signed Q with the factor ½, baseline at step 0, independent seeds, beside the drift that the second
order of each step predicts, and at equal times against the rate.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ensemble.flow.descent import drift_slope
from ensemble.paper.defects import defects_of
from ensemble.paper.descent import Block, DriftPrediction, Record, Runs, stacked
from ensemble.paper.horizons import by_activation
from ensemble.paper.layers import ELEMENTWISE
from ensemble.paper.starts import gaussian_start, log_steps, targets
from ensemble.paper.values import Comparison, Line, Panel, Report, Stroke, Track, TrackName, verdict

NUMBER = 3
TITLE = "Conserved quantities along gradient descent"
ASPECTS = ("relative change of |Q|", "‖Y − F‖")


@dataclass(frozen=True, slots=True)
class Settings:
    """What is run.

    Attributes:
        out: m.
        inp: n, and the number of samples: X = 1.
        hidden: h.
        spread: standard deviation of every starting weight.
        rates: learning rates, largest first.
        steps: of gradient descent; the sigmoid gets twice as many.
        seed: of targets and weights.
    """

    out: int = 5
    inp: int = 10
    hidden: int = 50
    spread: float = 0.1
    rates: tuple[float, ...] = (0.1, 0.01, 0.001)
    steps: int = 400_000
    seed: int = 0


OFFICIAL = Settings()
DEFAULT = replace(OFFICIAL, steps=60_000)


def starts(settings: Settings, track: TrackName) -> Runs:
    """Return the runs of one track: every activation at every rate, from one start.

    Args:
        settings: what is run.
        track: decides only whether U and V are drawn from one seed.
    """
    sizes = (settings.out, settings.inp, settings.hidden)
    U, V = gaussian_start(sizes, settings.spread, settings.seed, shared=track is TrackName.AS_PUBLISHED)
    Y = targets(settings.out, settings.inp, settings.seed)
    return stacked([(layer, [(U, V, Y, rate) for rate in settings.rates]) for layer in ELEMENTWISE])


def run(settings: Settings) -> Report:
    """Return figure 3 in both tracks.

    Args:
        settings: `OFFICIAL`, `DEFAULT`, or smaller.
    """
    published = by_activation(starts(settings, TrackName.AS_PUBLISHED), _recorded(settings))
    corrected = by_activation(starts(settings, TrackName.CORRECTED), _recorded(settings), DriftPrediction)
    full = settings.steps >= OFFICIAL.steps
    return Report(
        NUMBER,
        TITLE,
        f"{settings.steps:,} steps (sigmoid {2 * settings.steps:,}); official {OFFICIAL.steps:,} and "
        f"{2 * OFFICIAL.steps:,}",
        full,
        (_as_published(published, settings), _corrected(corrected, settings)),
        _comparisons(published, corrected, settings),
        defects_of(NUMBER),
        (
            "The official numbers of this figure are not known; the claim is that Q changes little, and less at a "
            "smaller rate.",
            "Runs are in float64; the precision of the official ones is not stated.",
            "The slope is 1 in the limit of small steps; the sigmoid starts with a fast transient that rate .1 does "
            "not resolve, so the two smallest rates are compared.",
        ),
    )


def _recorded(settings: Settings) -> list[int]:
    time = _common_time(settings)
    equal_times = {round(time / rate) for rate in settings.rates}
    return sorted({*log_steps(settings.steps), *equal_times})


def _common_time(settings: Settings) -> float:
    """Return the time that the smallest rate reaches."""
    return min(settings.rates) * settings.steps


def _published_change(block: Block, record: Record, settings: Settings) -> Tensor:
    """Return |Q|/|Q after step 1| − 1 as the official code has it, `[record run]`."""
    Q = block.layer.published(record.quantity, settings.inp * settings.hidden).abs()
    return (Q / Q[record.steps == 1] - 1).abs()


def _change(record: Record) -> Tensor:
    """Return Q − Q at the start, `[record run]`."""
    return record.quantity - record.quantity[0]


def _line(label: str, record: Record, values: Tensor, colour: int, stroke: Stroke = Stroke.MEASURED) -> Line:
    after = record.steps >= 1
    return Line(label, tuple(record.steps[after].double().tolist()), tuple(values[after].tolist()), stroke,
                colour=colour)  # fmt: skip


def _as_published(records: list[tuple[Block, Record]], settings: Settings) -> Track:
    panels, numbers = [], {}
    for block, record in records:
        change = _published_change(block, record, settings)
        for aspect, values in zip(ASPECTS, (change, record.distance), strict=True):
            lines = [_line(f"rate {rate:g}", record, values[:, i], i) for i, rate in enumerate(settings.rates)]
            panels.append(Panel(block.layer.name, "step", aspect, tuple(lines), "log", "log"))
        numbers[block.layer.name] = {
            f"{rate:g}": {"largest_relative_change": float(change[:, i].max()),
                          "final_distance": float(record.distance[-1, i])}
            for i, rate in enumerate(settings.rates)
        }  # fmt: skip
    return Track(TrackName.AS_PUBLISHED, _settings(settings, "one seed for U and V"), tuple(panels), numbers)


def _corrected(records: list[tuple[Block, Record]], settings: Settings) -> Track:
    panels, numbers = [], {}
    for block, record in records:
        change = _change(record)
        lines = []
        for i, rate in enumerate(settings.rates):
            lines.append(_line(f"rate {rate:g}", record, change[:, i].abs(), i))
            lines.append(_line("predicted", record, record.predicted[:, i].abs(), i, Stroke.PREDICTED))
        panels.append(Panel(block.layer.name, "step", "|Q − Q(0)|", tuple(lines), "log", "log"))
        drift = _drift_at_common_time(record, settings)
        x, y = tuple(settings.rates), tuple(drift.abs().tolist())
        slope = drift_slope(x[-2:], y[-2:])
        panels.append(
            Panel(f"{block.layer.name}: slope {slope:.3f}", "learning rate",
                  f"|Q − Q(0)| at time {_common_time(settings):g}",
                  (Line("measured", x, y), Line("slope 1", x, tuple(y[-1] * r / x[-1] for r in x), Stroke.PREDICTED)),
                  "log", "log")
        )  # fmt: skip
        numbers[block.layer.name] = {
            "start": float(record.quantity[0, 0]),
            "slope_of_the_two_smallest_rates": slope,
            "slope_of_all_rates": drift_slope(x, y),
            "rates": {
                f"{rate:g}": {"final_drift": float(change[-1, i]), "predicted_drift": float(record.predicted[-1, i]),
                              "final_distance": float(record.distance[-1, i])}
                for i, rate in enumerate(settings.rates)
            },
        }  # fmt: skip
    return Track(TrackName.CORRECTED, _settings(settings, "independent U and V"), tuple(panels), numbers)


def _drift_at_common_time(record: Record, settings: Settings) -> Tensor:
    """Return Q − Q(0) `[rate]` at the time that the smallest rate reaches."""
    time = _common_time(settings)
    rows = [int((record.steps == round(time / rate)).nonzero()[0]) for rate in settings.rates]
    return torch.stack([_change(record)[row, i] for i, row in enumerate(rows)])


def _comparisons(
    published: list[tuple[Block, Record]], corrected: list[tuple[Block, Record]], settings: Settings
) -> tuple[Comparison, ...]:
    rows = []
    for (block, raw), (_, record) in zip(published, corrected, strict=True):
        name = block.layer.name
        change = _published_change(block, raw, settings).amax(dim=0)
        ordered = bool((change.diff() < 0).all())
        ours = ", ".join(f"{value:.1e}".replace("-", "−") for value in change.tolist())  # a hyphen would break the line
        rates = ", ".join(f"{rate:g}" for rate in settings.rates)
        rows.append(Comparison(f"{name}: largest relative change of |Q| at rates {rates}", "not known",
                               "smaller at a smaller rate", ours, verdict(ordered)))  # fmt: skip
        drift = tuple(_drift_at_common_time(record, settings).abs().tolist())
        slope = drift_slope(settings.rates[-2:], drift[-2:])
        rows.append(Comparison(f"{name}: slope of the drift between the two smallest rates, at equal times", "—",
                               "1.00 ± .03", f"{slope:.3f} (all rates {drift_slope(settings.rates, drift):.3f})",
                               verdict(abs(slope - 1) <= 0.03)))  # fmt: skip
        share = record.predicted[-1] / _change(record)[-1]
        rows.append(Comparison(f"{name}: predicted drift over measured", "—", "1",
                               ", ".join(f"{value:.4f}" for value in share.tolist()),
                               verdict(float((share - 1).abs().max()) <= 0.02)))  # fmt: skip
    return tuple(rows)


def _settings(settings: Settings, seeds: str) -> dict[str, object]:
    return {
        "m, n, h": [settings.out, settings.inp, settings.hidden],
        "inputs": "X = 1",
        "spread of the starting weights": settings.spread,
        "rates": list(settings.rates),
        "steps": settings.steps,
        "steps of the sigmoid": 2 * settings.steps,
        "seeds": f"{settings.seed}, {seeds}",
    }
