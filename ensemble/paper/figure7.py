r"""Figure 7: convergence against Q for the radial activation z/‖z‖², of degree −1, where Q = −½(‖U‖² + ‖V‖²).

As published: vectors are normalised across samples, x is ignored, the start is diagonal in the singular bases of Y and
Q is varied by its scale. Corrected: each hidden vector is normalised, x is used, and Q is varied at a fixed function:
(U, V) -> (cU, cV) leaves F as it is and slows the flow by exactly c² (derived here), so the rate goes like 1/|Q|.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ensemble.paper.defects import defects_of
from ensemble.paper.descent import Record, Runs, descend, stacked
from ensemble.paper.layers import Radial
from ensemble.paper.speed import finite, in_words, last_rate, ordered, steps_to
from ensemble.paper.starts import DTYPE, gaussian_start, generator, log_steps, targets
from ensemble.paper.values import Comparison, Line, Panel, Report, Track, TrackName, verdict

NUMBER = 7
TITLE = "Convergence against Q, radial activation"
NEAR = 0.5  # of ‖Y‖: what counts as converged here


@dataclass(frozen=True, slots=True)
class Settings:
    """What is run.

    Attributes:
        out: m.
        inp: n, and the number of samples.
        hidden: h.
        scales: of the starting weights.
        rate: learning rate.
        steps: of gradient descent.
        seed: of targets, inputs and weights.
    """

    out: int = 5
    inp: int = 10
    hidden: int = 5
    scales: tuple[float, ...] = (0.01, 0.02, 0.03, 0.1, 0.3, 1.0, 10.0)
    rate: float = 1e-5
    steps: int = 1_000_000
    seed: int = 0


OFFICIAL = Settings()
DEFAULT = replace(OFFICIAL, steps=60_000)


def run(settings: Settings) -> Report:
    """Return figure 7 in both tracks.

    Args:
        settings: `OFFICIAL`, `DEFAULT`, or smaller.
    """
    at = sorted({*log_steps(settings.steps), *(round(settings.steps * part / 40) for part in range(41))})
    published = descend(published_starts(settings), at)
    corrected = descend(corrected_starts(settings), at)
    return Report(
        NUMBER,
        TITLE,
        f"{settings.steps:,} steps; official {OFFICIAL.steps:,}",
        settings.steps >= OFFICIAL.steps,
        (_track(TrackName.AS_PUBLISHED, published, settings), _track(TrackName.CORRECTED, corrected, settings)),
        (*_rows("as published", published), *_rows("corrected", corrected), _inverse_law(corrected)),
        defects_of(NUMBER),
        (
            "The claim is that a larger |Q| converges faster. For degree −1 the opposite holds exactly: scaling both "
            "layers by c multiplies Q by c² and divides the speed by c². In terms of the signed Q, which is negative, "
            "a larger Q is faster.",
            "Of the scales only the range .01 to 10 is known. Of the start only that it is diagonal in the singular "
            "bases: here every diagonal entry equals the scale.",
            f"Speed is the number of steps until ‖Y − F‖ is below {NEAR:g} ‖Y‖: this network converges slowly.",
        ),
    )


def published_starts(settings: Settings) -> Runs:
    """Return runs with U = c P, V = c Rᵀ for Y = P diag R^T, normalised across samples, X = 1."""
    Y = targets(settings.out, settings.inp, settings.seed)
    P, _, R = torch.linalg.svd(Y, full_matrices=False)
    width = min(settings.hidden, P.shape[1])
    U = torch.zeros(settings.out, settings.hidden, dtype=DTYPE)
    V = torch.zeros(settings.hidden, settings.inp, dtype=DTYPE)
    U[:, :width], V[:width] = P[:, :width], R[:width]
    return stacked([(Radial(axis=-1), _scaled(U, V, Y, settings))])


def corrected_starts(settings: Settings) -> Runs:
    """Return runs from one random function, normalised per hidden vector, with random inputs."""
    Y = targets(settings.out, settings.inp, settings.seed)
    U, V = gaussian_start((settings.out, settings.inp, settings.hidden), 1.0, settings.seed, shared=False)
    X = torch.randn(settings.inp, settings.inp, generator=generator(settings.seed, 3), dtype=DTYPE) / settings.inp**0.5
    return stacked([(Radial(axis=-2, inputs=X), _scaled(U, V, Y, settings))])


def _scaled(U: Tensor, V: Tensor, Y: Tensor, settings: Settings) -> list[tuple[Tensor, Tensor, Tensor, float]]:
    return [(c * U, c * V, Y, settings.rate) for c in settings.scales]


def _track(name: TrackName, record: Record, settings: Settings) -> Track:
    Q = record.quantity[0].tolist()
    after = record.steps >= 1
    steps = record.steps[after].double()
    x = tuple(steps.tolist())
    collapsed = [tuple((steps / c**2).tolist()) for c in settings.scales]
    curves, rescaled = [], []
    for i, c in enumerate(settings.scales):
        y = tuple(record.distance[after, i].tolist())
        curves.append(Line(f"scale {c:g}, Q {Q[i]:.3g}", x, y, colour=i))
        rescaled.append(Line(f"scale {c:g}", collapsed[i], y, colour=i))
    panels = (
        Panel("distance", "step", "‖Y − F‖", tuple(curves), "log", "log"),
        Panel("the same against step/scale²", "step/scale²", "‖Y − F‖", tuple(rescaled), "log", "log"),
    )
    numbers = {
        "Q": Q,
        "steps_to_convergence": [finite(value) for value in steps_to(record, NEAR).tolist()],
        "last_rate": [finite(value) for value in last_rate(record).tolist()],
        "final_distance": record.distance[-1].tolist(),
        "relative_drift_of_Q": (record.quantity[-1] / record.quantity[0] - 1).tolist(),
    }
    reading = {
        TrackName.AS_PUBLISHED: "normalised across samples, X = 1 (x ignored), start diagonal in the bases of Y",
        TrackName.CORRECTED: "normalised per hidden vector, X ~ N(0, 1/n), start random",
    }
    shown = {
        "m, n, h": [settings.out, settings.inp, settings.hidden],
        "network": reading[name],
        "scales": list(settings.scales),
        "rate": settings.rate,
        "steps": settings.steps,
        "seed": settings.seed,
    }
    return Track(name, shown, panels, numbers)


def _rows(name: str, record: Record) -> list[Comparison]:
    steps, Q = steps_to(record, NEAR), record.quantity[0]
    shown = ", ".join(f"Q {q:.3g}: {in_words(s)}" for q, s in zip(Q.tolist(), steps.tolist(), strict=True))
    reached = torch.isfinite(steps)
    if int(reached.sum()) < 2:
        return [Comparison(f"{name}: steps to convergence", "not known", "fewer at a larger |Q|", shown,
                           "too few runs converged to tell")]  # fmt: skip
    return [
        Comparison(f"{name}: steps to convergence", "not known", "fewer at a larger |Q|", shown,
                   verdict(ordered(Q.abs(), steps))),
        Comparison(f"{name}: steps to convergence", "not known", "more at a larger |Q| (degree −1)", shown,
                   verdict(ordered(-Q.abs(), steps))),
    ]  # fmt: skip


def _inverse_law(record: Record) -> Comparison:
    """Return whether steps to convergence are proportional to |Q|, at one function."""
    steps, Q = steps_to(record, NEAR), record.quantity[0].abs()
    reached = torch.isfinite(steps) & (steps > 0)
    constant = (steps / Q)[reached]
    if len(constant) < 2:
        return Comparison("corrected: steps over |Q|", "—", "one constant", "too few runs converged", "not judged")
    spread = float(constant.max() / constant.min() - 1)
    return Comparison("corrected: steps over |Q|", "—", "one constant", f"spread {spread:.1%}", verdict(spread <= 0.05))
