"""How much faster is figure 3 as one tensor program, and how do figures 10 and 11 come out on JPEG CIFAR-10?

Speed: our seconds per 1000 steps, over the full horizon, against the official script's form: a plain loop over
autograd, its runs one after another. The loop records nothing, which favours it; its cost per step does not depend on
the horizon, so it is timed on a part of it.

    python -m benchmarks.figures speed
    python -m benchmarks.figures ensembles --images 12000 --epochs 4
"""

import argparse
import time
from dataclasses import asdict, replace

import torch
from torch import Tensor

from attacks.paper import PaperData, cut, figure10, figure11
from attacks.paper.settings import OFFICIAL
from benchmarks.record import write
from benchmarks.shared_data import ENCODING, cifar10_jpeg
from ensemble.paper import figure3
from ensemble.paper.descent import descend
from ensemble.paper.values import Report, TrackName

PLAIN_STEPS = 2000
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


def speed() -> None:
    """Time figure 3 in both forms and write the ratio."""
    settings = figure3.OFFICIAL
    runs = figure3.starts(settings, TrackName.AS_PUBLISHED)
    rows = {}
    total_plain = 0.0
    for block in runs.blocks:
        name = block.layer.name
        three = runs.only(block)
        steps = settings.steps * (2 if name == "sigmoid" else 1)
        begin = time.perf_counter()
        record = descend(three, [steps])
        ours = (time.perf_counter() - begin) / steps * 1000
        begin = time.perf_counter()
        ends = [
            plain_loop(name, three.U[i], three.V[i], three.Y[i], float(three.rates[i]), PLAIN_STEPS)
            for i in range(len(three.rates))
        ]
        plain = (time.perf_counter() - begin) / PLAIN_STEPS * 1000
        total_plain += plain
        twin = descend(three, [PLAIN_STEPS]).end
        difference = max(float((twin.U[i] - end[0]).abs().max()) for i, end in enumerate(ends))
        rows[name] = {"steps": steps, "ours": ours, "plain_loop": plain, "ratio": plain / ours,
                      "largest_difference_of_U": difference,
                      "final_distance": record.distance[-1].tolist()}  # fmt: skip
        print(f"{name:8} ours {ours:.4f} s, plain {plain:.4f} s per 1000 steps of three runs: {plain / ours:.1f}x")
    begin = time.perf_counter()
    descend(runs, [settings.steps])
    together = (time.perf_counter() - begin) / settings.steps * 1000
    print(f"all twelve runs together: ours {together:.4f} s, plain {total_plain:.4f} s: {total_plain / together:.1f}x")
    result = {
        "seconds_per_1000_steps": rows,
        "all_activations": {"ours": together, "plain_loop": total_plain, "ratio": total_plain / together},
    }
    settings_shown = asdict(settings) | {"plain_steps": PLAIN_STEPS, "dtype": "float64", "device": "cpu"}
    write("figures", __doc__, result, settings=settings_shown)


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
