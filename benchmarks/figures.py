"""How much faster is figure 3 as one tensor program, and how do figures 10 and 11 come out on JPEG CIFAR-10?

Speed: our seconds per 1000 steps, over the full horizon, against the official script's form: a plain loop over
autograd, its runs one after another. The loop records nothing, which favours it; its cost per step does not depend on
the horizon, so it is timed on a part of it.

    python -m benchmarks.figures speed
    python -m benchmarks.figures ensembles --images 12000 --epochs 4
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from attacks.paper import PaperData, cut, figure10, figure11
from attacks.paper.settings import OFFICIAL
from benchmarks.record import write
from benchmarks.shared_data import ENCODING, cifar10_jpeg
from ensemble.paper import figure3
from ensemble.paper.descent import Runs, descend
from ensemble.paper.values import Report, TrackName

PLAIN_STEPS = 3000
OUR_STEPS = 20_000
ACTIVATIONS = {
    "linear": lambda z: z,
    "ReLU": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


def plain_loop(name: str, U: Tensor, V: Tensor, Y: Tensor, rate: float, steps: int) -> tuple[Tensor, Tensor]:
    """Return U and V after gradient descent by autograd, one run: the form of the official scripts."""
    U, V, X = U.clone().requires_grad_(), V.clone().requires_grad_(), torch.eye(V.shape[1], dtype=V.dtype)
    sigma = ACTIVATIONS[name]
    for _ in range(steps):
        loss = (Y - U @ sigma(V @ X)).square().mean()
        loss.backward()
        with torch.no_grad():
            for weight in (U, V):
                weight -= rate * weight.grad
                weight.grad = None
    return U.detach(), V.detach()


def seconds(function: Callable[[], object], steps: int) -> dict[str, float]:
    """Return wall and processor seconds per 1000 steps of a function that makes `steps` of them.

    On a shared machine only processor seconds can be compared; both forms run on one thread.
    """
    wall, processor = time.perf_counter(), time.process_time()
    function()
    scale = 1000 / steps
    return {"wall": (time.perf_counter() - wall) * scale, "processor": (time.process_time() - processor) * scale}


def speed() -> None:
    """Time figure 3 as published, all its runs over the full horizon, in both forms and write the ratio."""
    settings = figure3.OFFICIAL
    runs = figure3.starts(settings, TrackName.AS_PUBLISHED)
    rows: dict[str, dict[str, Any]] = {}
    for block in runs.blocks:
        three = runs.only(block)
        rows[block.layer.name] = compared(block.layer.name, three)
    ends: list[Runs] = []
    together = seconds(lambda: ends.append(descend(runs, [settings.steps]).end), settings.steps)
    tail = ends[0].only(ends[0].blocks[-1])
    alone = seconds(lambda: ends.append(descend(tail, [settings.steps]).end), settings.steps)
    plain = {clock: sum(row["plain_loop"][clock] for row in rows.values()) for clock in together}
    last = rows["sigmoid"]["plain_loop"]
    whole = {
        "steps": settings.steps,
        "steps_of_the_sigmoid": 2 * settings.steps,
        "ours_all_runs": together,
        "ours_sigmoid_alone": alone,
        "plain_loop_all_runs": plain,
        "ratio": {clock: (plain[clock] + last[clock]) / (together[clock] + alone[clock]) for clock in together},
        "distance_at_the_end": {
            "all": ends[0].distance().tolist(), "sigmoid": ends[1].distance().tolist(),
        },
    }  # fmt: skip
    print(f"figure 3 whole, full horizon: {whole['ratio']['processor']:.1f}x in processor time, "
          f"{whole['ratio']['wall']:.1f}x by the clock")  # fmt: skip
    result = {"seconds_per_1000_steps": rows, "figure_3_at_its_full_horizon": whole}
    settings_shown = asdict(settings) | {"plain_steps": PLAIN_STEPS, "dtype": "float64", "device": "cpu"}
    write("figures", __doc__, result, settings=settings_shown)


def compared(name: str, three: Runs) -> dict[str, Any]:
    """Return the cost of three runs of one activation in both forms, and how far their weights end apart."""
    plain_ends: list[tuple[Tensor, Tensor]] = []

    def one_after_another() -> None:
        for i in range(len(three.rates)):
            plain_ends.append(plain_loop(name, three.U[i], three.V[i], three.Y[i], float(three.rates[i]), PLAIN_STEPS))

    ours = seconds(lambda: descend(three, [OUR_STEPS]), OUR_STEPS)
    plain = seconds(one_after_another, PLAIN_STEPS)
    twin = descend(three, [PLAIN_STEPS]).end
    difference = max(float((twin.U[i] - end[0]).abs().max()) for i, end in enumerate(plain_ends))
    ratio = plain["processor"] / ours["processor"]
    print(f"{name:8} three runs, processor seconds per 1000 steps: ours {ours['processor']:.4f}, "
          f"plain {plain['processor']:.4f}: {ratio:.1f}x; weights end {difference:.1e} apart")  # fmt: skip
    return {"ours": ours, "plain_loop": plain, "ratio": {clock: plain[clock] / ours[clock] for clock in ours},
            "largest_difference_of_U": difference}  # fmt: skip


def data(limit: int) -> PaperData:
    """Return JPEG-re-encoded CIFAR-10 in the official cuts."""
    return cut(
        ENCODING,
        lambda start, stop: cifar10_jpeg("train", start, stop),
        lambda start, stop: cifar10_jpeg("test", start, stop),
        (50_000, 5000),
        limit=limit,
        comparable=True,
    )


def ensembles(images: int, epochs: int, evaluated: int, members: int) -> None:
    """Run figures 10 and 11 and write their numbers."""
    settings = replace(OFFICIAL, images=images, epochs=epochs, evaluated=evaluated, members=members)
    source = data(images)
    for module in (figure10, figure11):
        begin = time.perf_counter()
        report = module.run(source, settings)
        seconds = time.perf_counter() - begin
        show(report)
        content = {"report": report.to_dict(), "seconds": seconds}
        write(f"figure{report.number}", __doc__, content, settings=asdict(settings) | {"device": "cpu"})


def show(report: Report) -> None:
    """Print the table of a figure."""
    print(f"figure {report.number}: {report.horizon}")
    for row in report.comparisons:
        print(f"  {row.quantity:75} {row.official:>18} {row.ours:>30}  {row.verdict}")


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("speed", "ensembles"))
    parser.add_argument("--images", type=int, default=OFFICIAL.images)
    parser.add_argument("--epochs", type=int, default=OFFICIAL.epochs)
    parser.add_argument("--evaluated", type=int, default=OFFICIAL.evaluated)
    parser.add_argument("--members", type=int, default=OFFICIAL.members)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.what == "speed":
        speed()
    else:
        ensembles(arguments.images, arguments.epochs, arguments.evaluated, arguments.members)


if __name__ == "__main__":
    main()
