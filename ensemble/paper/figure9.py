"""Figure 9: eigenvalues of the Hessian at the minimum against Q.

As published: Q is varied by the spread of the starting weights, and the Hessian is that of ‖Y − F‖², which is not what
was trained. Corrected: the Hessian of the trained mean square, and Q varied along the orbit of one trained minimum by
rebalancing its units (linear and ReLU), beside one linear unit in closed form, 2 sqrt(Q² + y²) times 2.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble.activations import IDENTITY, RELU, SIGMOID, TANH
from ensemble.paper.defects import defects_of
from ensemble.paper.descent import Block, Record, Runs, descend, stacked
from ensemble.paper.figure6 import UNIT_TARGET, at_unit_quantity, expected_rate
from ensemble.paper.layers import ELEMENTWISE, HiddenLayer, Linear, Relu
from ensemble.paper.starts import DTYPE, gaussian_start, targets
from ensemble.paper.values import Comparison, Line, Panel, Report, Stroke, Track, TrackName, verdict

NUMBER = 9
TITLE = "Hessian eigenvalues at the minimum against Q"
FUNCTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "linear": IDENTITY.function,
    "ReLU": RELU.function,
    "tanh": TANH.function,
    "sigmoid": SIGMOID.function,
}
UNIT_QUANTITIES = (-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class Settings:
    """What is run.

    Attributes:
        out: m.
        inp: n, and the number of samples: X = 1.
        hidden: h.
        spreads: standard deviations of the starting weights.
        rate: learning rate.
        steps: of gradient descent; the sigmoid gets twice as many.
        units: Q of every hidden unit on the orbit of one minimum.
        seed: of targets and weights.
    """

    out: int = 10
    inp: int = 5
    hidden: int = 50
    spreads: tuple[float, ...] = (0.001, 0.3, 0.6, 0.9)
    rate: float = 0.1
    steps: int = 4000
    units: tuple[float, ...] = (-4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0)
    seed: int = 0


OFFICIAL = Settings()
DEFAULT = OFFICIAL


def run(settings: Settings) -> Report:
    """Return figure 9 in both tracks.

    Args:
        settings: `OFFICIAL`, which takes seconds, or smaller.
    """
    published = _minima(settings, shared=True)
    corrected = _minima(settings, shared=False)
    published_spectra = {block.layer.name: spectra(runs, block) for block, runs in published}
    corrected_spectra = {block.layer.name: spectra(runs, block) / settings.out / settings.inp
                         for block, runs in corrected}  # fmt: skip
    orbit = {block.layer.name: _orbit(runs, block.layer, settings) for block, runs in corrected
             if isinstance(block.layer, Linear | Relu)}  # fmt: skip
    unit = unit_sharpness_measured()
    return Report(
        NUMBER,
        TITLE,
        f"{settings.steps:,} steps (sigmoid {2 * settings.steps:,}); official {OFFICIAL.steps:,} and "
        f"{2 * OFFICIAL.steps:,}",
        settings.steps >= OFFICIAL.steps,
        (
            _as_published(published, published_spectra, settings),
            _corrected(corrected, corrected_spectra, orbit, unit, settings),
        ),
        (*_published_rows(published, published_spectra), *_orbit_rows(orbit, settings), _unit_row(unit)),
        defects_of(NUMBER),
        (
            "The official claim, as far as the account states it: a larger |Q| gives a sharper minimum.",
            "As published, runs end in different minima; on one orbit only Q changes. With more outputs than inputs "
            "(m = 10, n = 5) the flattest point of an orbit lies at a positive q, not at 0: the ordering in |Q| holds "
            "exactly for one unit, and for wide networks only far from that point.",
        ),
    )


def starts(settings: Settings, *, shared: bool) -> Runs:
    """Return every activation at every spread.

    Args:
        settings: what is run.
        shared: whether U and V are drawn from one seed, as published.
    """
    sizes = (settings.out, settings.inp, settings.hidden)
    Y = targets(settings.out, settings.inp, settings.seed)
    drawn = [gaussian_start(sizes, spread, settings.seed, shared=shared) for spread in settings.spreads]
    return stacked([(layer, [(U, V, Y, settings.rate) for U, V in drawn]) for layer in ELEMENTWISE])


def _minima(settings: Settings, *, shared: bool) -> list[tuple[Block, Runs]]:
    """Return where the runs of each activation end; the sigmoid is trained on alone."""
    end = descend(starts(settings, shared=shared), [settings.steps]).end
    last = end.blocks[-1]
    rest: Record = descend(end.only(last), [settings.steps])
    return [*((block, end.only(block)) for block in end.blocks[:-1]), (last, rest.end)]


def spectra(runs: Runs, block: Block) -> Tensor:
    """Return the eigenvalues of the full Hessian of ‖Y − F‖² in (U, V), largest first, `[run parameter]`.

    Args:
        runs: of one activation.
        block: its row.
    """
    sigma, shapes = FUNCTIONS[block.layer.name], (runs.U.shape[1:], runs.V.shape[1:])
    cut = shapes[0].numel()

    def loss(theta: Tensor, Y: Tensor) -> Tensor:
        U, V = theta[:cut].view(shapes[0]), theta[cut:].view(shapes[1])
        return (Y - U @ sigma(V)).square().sum()

    theta = torch.cat([runs.U.flatten(1), runs.V.flatten(1)], dim=1)
    # Reverse over reverse: forward mode would load torch.jit, which warns.
    hessians = torch.func.vmap(torch.func.jacrev(torch.func.jacrev(loss)))(theta, runs.Y)
    found: Tensor = torch.linalg.eigvalsh(hessians).flip(-1)
    return found


def _orbit(runs: Runs, layer: HiddenLayer, settings: Settings) -> Tensor:
    """Return the largest eigenvalue of the trained loss `[q]` along the orbit of one minimum, at Q = q in every unit.

    The minimum is that of the largest spread, which is the best converged.
    """
    moved = [at_unit_quantity(runs.U[-1], runs.V[-1], q) for q in settings.units]
    same = stacked([(layer, [(U, V, runs.Y[-1], settings.rate) for U, V in moved])])
    return spectra(same, same.blocks[0])[:, 0] / settings.out / settings.inp


def unit_sharpness_measured() -> Tensor:
    """Return the largest Hessian eigenvalue of one linear unit at its minimum, loss (y − uv)², for several Q."""
    weight = torch.full((1, 1), UNIT_TARGET**0.5, dtype=DTYPE)
    Y = torch.full((1, 1), UNIT_TARGET, dtype=DTYPE)
    moved = [at_unit_quantity(weight, weight, q) for q in UNIT_QUANTITIES]
    runs = stacked([(Linear(), [(u, v, Y, 1.0) for u, v in moved])])
    return spectra(runs, runs.blocks[0])[:, 0]


def _spectrum_panels(minima: list[tuple[Block, Runs]], found: dict[str, Tensor], settings: Settings) -> list[Panel]:
    panels = []
    for block, runs in minima:
        lines = []
        for i, spread in enumerate(settings.spreads):
            values = found[block.layer.name][i]
            kept = values[values > 1e-10]
            label = f"spread {spread:g}, Q {float(runs.quantity()[i]):.3g}"
            x = tuple(float(index + 1) for index in range(len(kept)))
            lines.append(Line(label, x, tuple(kept.tolist()), colour=i))
        panels.append(Panel(block.layer.name, "index", "eigenvalue (positive ones)", tuple(lines), "linear", "log"))
    return panels


def _numbers(minima: list[tuple[Block, Runs]], found: dict[str, Tensor]) -> dict[str, object]:
    return {
        block.layer.name: {
            "Q": runs.quantity().tolist(),
            "distance": runs.distance().tolist(),
            "largest_eigenvalue": found[block.layer.name][:, 0].tolist(),
            "trace": found[block.layer.name].sum(dim=1).tolist(),
            "smallest_eigenvalue": found[block.layer.name][:, -1].tolist(),
        }
        for block, runs in minima
    }


def _as_published(minima: list[tuple[Block, Runs]], found: dict[str, Tensor], settings: Settings) -> Track:
    shown = _settings(settings, "one seed for U and V", "‖Y − F‖² (trained: the mean square)")
    panels = tuple(_spectrum_panels(minima, found, settings))
    return Track(TrackName.AS_PUBLISHED, shown, panels, _numbers(minima, found))


def _corrected(
    minima: list[tuple[Block, Runs]],
    found: dict[str, Tensor],
    orbit: dict[str, Tensor],
    unit: Tensor,
    settings: Settings,
) -> Track:
    panels = _spectrum_panels(minima, found, settings)
    for name, values in orbit.items():
        line = Line("largest eigenvalue", settings.units, tuple(values.tolist()))
        panels.append(Panel(f"{name}: one minimum, moved along its orbit", "Q of every unit", "eigenvalue", (line,)))
    q = UNIT_QUANTITIES
    lines = (
        Line("Hessian", q, tuple(unit.tolist())),
        Line("4 sqrt(Q² + y²)", q, tuple(expected_rate(value) for value in q), Stroke.PREDICTED),
    )
    panels.append(Panel("one linear unit, loss (y − uv)²", "Q", "largest eigenvalue", lines))
    numbers = _numbers(minima, found)
    numbers["orbit"] = {name: dict(zip(map(str, settings.units), values.tolist(), strict=True))
                        for name, values in orbit.items()}  # fmt: skip
    return Track(
        TrackName.CORRECTED, _settings(settings, "independent U and V", "the mean square"), tuple(panels), numbers
    )


def _published_rows(minima: list[tuple[Block, Runs]], found: dict[str, Tensor]) -> list[Comparison]:
    rows = []
    for block, runs in minima:
        Q, largest = runs.quantity().abs(), found[block.layer.name][:, 0]
        order = Q.argsort()
        rising = bool((largest[order].diff() > 0).all())
        shown = ", ".join(f"|Q| {float(Q[i]):.3g}: {float(largest[i]):.3g}" for i in order.tolist())
        rows.append(Comparison(f"{block.layer.name}, Q varied by the spread: largest eigenvalue of ‖Y − F‖²",
                               "not known", "larger at a larger |Q|", shown, verdict(rising)))  # fmt: skip
    return rows


def _orbit_rows(orbit: dict[str, Tensor], settings: Settings) -> list[Comparison]:
    rows = []
    q = torch.tensor(settings.units, dtype=DTYPE)
    for name, values in orbit.items():
        for side, chosen in (("q >= 0", q >= 0), ("q <= 0", q <= 0)):
            order = q[chosen].abs().argsort()
            rising = bool((values[chosen][order].diff() > 0).all())
            shown = ", ".join(f"q {float(q[chosen][i]):g}: {float(values[chosen][i]):.3g}" for i in order.tolist())
            rows.append(Comparison(f"{name}, one minimum, {side}: largest eigenvalue of the trained loss", "—",
                                   "larger at a larger |Q|", shown, verdict(rising)))  # fmt: skip
    return rows


def _unit_row(unit: Tensor) -> Comparison:
    expected = torch.tensor([expected_rate(q) for q in UNIT_QUANTITIES], dtype=DTYPE)
    error = float((unit / expected - 1).abs().max())
    return Comparison("one linear unit: largest eigenvalue at the minimum", "—", "4 sqrt(Q² + y²)",
                      f"largest relative error {error:.1e}", verdict(error <= 1e-8))  # fmt: skip


def _settings(settings: Settings, seeds: str, loss: str) -> dict[str, object]:
    return {
        "m, n, h": [settings.out, settings.inp, settings.hidden],
        "inputs": "X = 1",
        "spreads of the starting weights": list(settings.spreads),
        "rate": settings.rate,
        "steps": settings.steps,
        "steps of the sigmoid": 2 * settings.steps,
        "Hessian of": loss,
        "seeds": f"{settings.seed}, {seeds}",
    }
