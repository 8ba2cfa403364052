"""How well does each law hold: drift along float64 gradient flow, order of the drift of descent, and broken conditions?

Two-layer, deep, convolutional, BatchNorm and attention networks; drifts relative to half the squared norm of all
parameters, tolerance of the integrator 1e-12. The slope is that of log drift against log step size at a fixed time.
"""

import argparse

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.record import write
from ensemble import flow
from tests.ensemble.flow.cases import Case, broken_cases, conserved_cases

RATES = (8e-4, 4e-4, 2e-4, 1e-4)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    conserved = [_row(case, 1e-12) for case in conserved_cases()]
    broken = [_row(case, 1e-8) for case in broken_cases()]
    slopes = [
        {"case": case.name, "slope": _slope(case), "rates": RATES} for case in conserved_cases() if _quadratic(case)
    ]
    table = Table(title="drift along gradient flow, relative")
    for heading in ("case", "drift", "loss at the start", "at the end"):
        table.add_column(heading)
    for row in (*conserved, *broken):
        table.add_row(str(row["case"]), f"{row['drift']:.1e}", f"{row['start']:.3g}", f"{row['end']:.3g}")
    Console().print(table)
    for slope in slopes:
        print(f"{slope['case']}: slope of drift against step size {slope['slope']:.4f}")
    result = {"conserved": conserved, "broken": broken, "slopes": slopes}
    write("flow", __doc__ or "", result, settings=vars(options))


def _row(case: Case, tolerance: float) -> dict[str, float | str]:
    path = case.path(tolerance)
    return {
        "case": case.name,
        "drift": case.relative_drift(path),
        "duration": case.duration,
        "start": float(path.losses[0]),
        "end": float(path.losses[-1]),
    }


def _quadratic(case: Case) -> bool:
    # A linear quantity (the softmax sums) does not drift in descent either.
    return case.name != "softmax output layer"


def _slope(case: Case) -> float:
    drifts = []
    for rate in RATES:
        descent = flow.Descent(rate=rate, steps=round(0.04 / rate), record_every=5)
        drifts.append(float(flow.gradient_descent(case.loss, case.parameters, case.quantity, descent).drift.max()))
    return flow.drift_slope(RATES, drifts)


if __name__ == "__main__":
    main()
