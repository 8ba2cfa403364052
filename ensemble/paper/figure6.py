"""Figure 6: convergence against Q for elementwise activations.

As published: Q is varied by the spread of the starting weights, which changes the function, too. Corrected: Q is varied
at a fixed starting function by rebalancing every hidden unit, which linear and ReLU networks allow; and one linear unit
is set beside its closed form, rate 2 sqrt(Q² + y²).
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ensemble.flow.sharpness import unit_sharpness
from ensemble.flow.valley import balance_factors
from ensemble.paper.defects import defects_of
from ensemble.paper.descent import Block, Record, Runs, descend, stacked
from ensemble.paper.horizons import by_activation
from ensemble.paper.layers import ELEMENTWISE, HiddenLayer, Linear, Relu
from ensemble.paper.speed import NEAR, finite, in_words, last_rate, ordered, steps_to
from ensemble.paper.starts import DTYPE, gaussian_start, log_steps, targets
from ensemble.paper.values import Comparison, Line, Panel, Report, Stroke, Track, TrackName, verdict

NUMBER = 6
TITLE = "Convergence against Q, elementwise activations"


@dataclass(frozen=True, slots=True)
class Settings:
    """What is run.

    Attributes:
        out: m.
        inp: n, and the number of samples: X = 1.
        hidden: h.
        spreads: standard deviations of the starting weights, as published.
        rate: learning rate.
        steps: of gradient descent; the sigmoid gets twice as many.
        units: Q of every hidden unit in the corrected track.
        spread: of the starting weights there, before rebalancing.
        unit_rate: learning rate of the one-unit runs.
        unit_steps: their steps.
        seed: of targets and weights.
    """

    out: int = 5
    inp: int = 10
    hidden: int = 50
    spreads: tuple[float, ...] = (0.01, 0.1, 1.0)
    rate: float = 1e-3
    steps: int = 400_000
    units: tuple[float, ...] = (-2.0, -0.5, -0.1, 0.0, 0.1, 0.5, 2.0)
    spread: float = 0.3
    unit_rate: float = 1e-3
    unit_steps: int = 8000
    seed: int = 0


OFFICIAL = Settings()
DEFAULT = replace(OFFICIAL, steps=60_000)
UNIT_TARGET = 1.0
UNIT_QUANTITIES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)


def run(settings: Settings) -> Report:
    """Return figure 6 in both tracks.

    Args:
        settings: `OFFICIAL`, `DEFAULT`, or smaller.
    """
    at = _recorded(settings.steps)
    published = by_activation(published_starts(settings), at)
    corrected = descend(rebalanced_starts(settings), at)
    unit = descend(unit_starts(settings), _recorded(settings.unit_steps))
    return Report(
        NUMBER,
        TITLE,
        f"{settings.steps:,} steps (sigmoid {2 * settings.steps:,}); official {OFFICIAL.steps:,} and "
        f"{2 * OFFICIAL.steps:,}",
        settings.steps >= OFFICIAL.steps,
        (_as_published(published, settings), _corrected(corrected, unit, settings)),
        (*_published_rows(published), *_corrected_rows(corrected, settings), *_unit_rows(unit)),
        defects_of(NUMBER),
        (
            "The official claim, as far as the account states it: a larger |Q| converges faster.",
            f"Speed is the number of steps until ‖Y − F‖ is below {NEAR:g} ‖Y‖, and the rate of the last decay.",
            "As published, runs differ in their starting function as well as in Q: the ordering there cannot be laid "
            "to Q alone. For tanh and sigmoid no exact move to another Q is known, so the corrected track has none.",
        ),
    )


def _recorded(steps: int) -> list[int]:
    return sorted({*log_steps(steps), *(round(steps * part / 40) for part in range(41))})


def published_starts(settings: Settings) -> Runs:
    """Return the runs as published: every activation at every spread, U and V from one seed."""
    sizes = (settings.out, settings.inp, settings.hidden)
    Y = targets(settings.out, settings.inp, settings.seed)
    starts = [gaussian_start(sizes, spread, settings.seed, shared=True) for spread in settings.spreads]
    return stacked([(layer, [(U, V, Y, settings.rate) for U, V in starts]) for layer in ELEMENTWISE])


def rebalanced_starts(settings: Settings) -> Runs:
    """Return linear and ReLU runs that start from one function, with Q = q in every hidden unit."""
    sizes = (settings.out, settings.inp, settings.hidden)
    U, V = gaussian_start(sizes, settings.spread, settings.seed, shared=False)
    Y = targets(settings.out, settings.inp, settings.seed)
    layers: tuple[HiddenLayer, ...] = (Linear(), Relu())
    moved = [at_unit_quantity(U, V, q) for q in settings.units]
    return stacked([(layer, [(u, v, Y, settings.rate) for u, v in moved]) for layer in layers])


def at_unit_quantity(U: Tensor, V: Tensor, q: float) -> tuple[Tensor, Tensor]:
    """Return the same function with ½(‖u_i‖² − ‖v_i‖²) = q in every hidden unit of degree 1.

    Args:
        U: `[out hidden]`.
        V: `[hidden inp]`.
        q: wanted Q of each unit.
    """
    energies = torch.stack([U.square().sum(0), V.square().sum(1)])
    factors = balance_factors(energies, (1.0, -1.0), torch.full_like(energies[0], q))
    return U / factors, V * factors[:, None]


def unit_starts(settings: Settings) -> Runs:
    """Return runs of one linear unit that start at u v = y/2 with several Q."""
    product = UNIT_TARGET / 2
    runs = []
    for q in UNIT_QUANTITIES:
        weight = torch.full((1, 1), product**0.5, dtype=DTYPE)
        u, v = at_unit_quantity(weight, weight, q)
        runs.append((u, v, torch.full((1, 1), UNIT_TARGET, dtype=DTYPE), settings.unit_rate))
    return stacked([(Linear(), runs)])


def _curve(record: Record, run: int, label: str, colour: int) -> Line:
    after = record.steps >= 1
    x, y = record.steps[after].double(), record.distance[after, run]
    return Line(label, tuple(x.tolist()), tuple(y.tolist()), colour=colour)


def _numbers(record: Record, runs: range) -> dict[str, list[float | None]]:
    return {
        "Q": [float(value) for value in record.quantity[0, list(runs)]],
        "steps_to_convergence": [finite(value) for value in steps_to(record)[list(runs)].tolist()],
        "last_rate": [finite(value) for value in last_rate(record)[list(runs)].tolist()],
        "final_distance": [float(value) for value in record.distance[-1, list(runs)]],
    }


def _runs(block: Block) -> range:
    return range(block.start, block.stop)


def _as_published(records: list[tuple[Block, Record]], settings: Settings) -> Track:
    panels, numbers = [], {}
    for block, record in records:
        lines = [
            _curve(record, i, f"spread {spread:g}, Q {float(record.quantity[0, i]):.3g}", i)
            for i, spread in enumerate(settings.spreads)
        ]
        panels.append(Panel(block.layer.name, "step", "‖Y − F‖", tuple(lines), "log", "log"))
        numbers[block.layer.name] = _numbers(record, range(len(settings.spreads)))
    return Track(TrackName.AS_PUBLISHED, _settings(settings, "one seed for U and V"), tuple(panels), numbers)


def _corrected(record: Record, unit: Record, settings: Settings) -> Track:
    panels, numbers = [], {}
    for block in record.end.blocks:
        runs = list(_runs(block))
        lines = [_curve(record, i, f"q {settings.units[j]:g}", j) for j, i in enumerate(runs)]
        panels.append(Panel(f"{block.layer.name}, one start", "step", "‖Y − F‖", tuple(lines), "log", "log"))
        speeds = steps_to(record)[runs]
        kept = [j for j, value in enumerate(speeds.tolist()) if value < float("inf")]
        line = Line("measured", tuple(settings.units[j] for j in kept), tuple(float(speeds[j]) for j in kept))
        panels.append(Panel(f"{block.layer.name}, one start", "Q of every unit", "steps to convergence", (line,),
                            y_scale="log"))  # fmt: skip
        numbers[block.layer.name] = _numbers(record, _runs(block))
    Q = tuple(unit.quantity[0].tolist())
    rates = (
        Line("measured", Q, tuple(last_rate(unit).tolist())),
        Line("4 sqrt(Q² + y²)", Q, tuple(expected_rate(q) for q in Q), Stroke.PREDICTED),
    )
    panels.append(Panel("one linear unit, loss (y − uv)²", "Q", "rate of |y − uv|", rates))
    numbers["one unit"] = _numbers(unit, range(len(Q)))
    return Track(TrackName.CORRECTED, _settings(settings, "independent U and V"), tuple(panels), numbers)


def expected_rate(q: float) -> float:
    """Return the asymptotic rate of one unit under the mean-square loss, twice that of ½(y − uv)²."""
    return 2 * unit_sharpness(q, UNIT_TARGET)


def _published_rows(records: list[tuple[Block, Record]]) -> list[Comparison]:
    rows = []
    for block, record in records:
        Q, steps = record.quantity[0].abs(), steps_to(record)
        agrees = ordered(Q, steps) and bool(torch.isfinite(steps).any())
        shown = ", ".join(
            f"|Q| {q:.3g}: {in_words(s)}" for q, s in sorted(zip(Q.tolist(), steps.tolist(), strict=True))
        )
        rows.append(Comparison(f"{block.layer.name}, Q varied by the spread: steps to convergence", "not known",
                               "fewer at a larger |Q|", shown, verdict(agrees)))  # fmt: skip
    return rows


def _corrected_rows(record: Record, settings: Settings) -> list[Comparison]:
    rows = []
    speeds = steps_to(record)
    q = torch.tensor(settings.units, dtype=DTYPE)
    for block in record.end.blocks:
        steps = speeds[block.rows]
        for side, chosen in (("q >= 0", q >= 0), ("q <= 0", q <= 0)):
            shown = ", ".join(f"q {a:g}: {in_words(s)}" for a, s in zip(q[chosen].tolist(), steps[chosen].tolist(),
                                                                      strict=True))  # fmt: skip
            agrees = ordered(q[chosen].abs(), steps[chosen]) and bool(torch.isfinite(steps[chosen]).any())
            rows.append(Comparison(f"{block.layer.name}, one starting function, {side}: steps to convergence", "—",
                                   "fewer at a larger |Q|", shown, verdict(agrees)))  # fmt: skip
    return rows


def _unit_rows(unit: Record) -> list[Comparison]:
    Q = unit.quantity[0].tolist()
    measured = last_rate(unit).tolist()
    error = max(abs(rate / expected_rate(q) - 1) for q, rate in zip(Q, measured, strict=True))
    return [Comparison("one linear unit: rate of the last decay", "—", "4 sqrt(Q² + y²)",
                       f"largest relative error {error:.1e}", verdict(error <= 0.02))]  # fmt: skip


def _settings(settings: Settings, seeds: str) -> dict[str, object]:
    return {
        "m, n, h": [settings.out, settings.inp, settings.hidden],
        "inputs": "X = 1",
        "spreads as published": list(settings.spreads),
        "Q of every unit, corrected": list(settings.units),
        "rate": settings.rate,
        "steps": settings.steps,
        "steps of the sigmoid": 2 * settings.steps,
        "seeds": f"{settings.seed}, {seeds}",
    }
