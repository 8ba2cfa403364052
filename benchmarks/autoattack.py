"""Are our Auto-PGD and Square as strong as those of torchattacks, and how much faster?

ResNet-20, JPEG-re-encoded CIFAR-10, Linf: both sides attack the same test images with the same steps, classes and
queries, one thread each, one after the other. Prints robust accuracy of both sides with Wilson 95 % intervals, the size
of both fooled sets and of their difference, processor seconds and their ratio (of one thread; waiting for a busy
machine does not count); with `--write` keeps it as JSON. The last row is torchattacks' AutoAttack with its own budgets
against our three attacks in a row with the same budgets, each on the survivors of the one before; theirs also runs FAB.

torchattacks pins old packages, so it lives in an environment of its own that borrows our torch; `--python` names its
interpreter.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from attacks.gradient.apgd import apgd_ce
from attacks.gradient.apgd_targeted import apgd_dlr_targeted
from attacks.query import square
from attacks.statistics import wilson
from attacks.targets import NetworkModel, wrap
from benchmarks.record import write
from benchmarks.shared_data import ENCODING, cifar10_jpeg, resnet20

EPSILONS = (1 / 255, 8 / 255)
#: torchattacks' AutoAttack runs ten steps a piece and five thousand queries; so does our suite here.
STEPS, QUERIES = 10, 5000
MAKE = """SKIPPED: no interpreter with torchattacks; make one and name it:
  python -m venv /tmp/torchattacks && /tmp/torchattacks/bin/pip install --no-deps torchattacks
  python -c "import site; print(site.getsitepackages()[0])" > \\
    "$(/tmp/torchattacks/bin/python -c "import site; print(site.getsitepackages()[0])")/torch.pth"
  python -m benchmarks.autoattack --python /tmp/torchattacks/bin/python"""


@dataclass(frozen=True, slots=True)
class Pair:
    """One attack on both sides.

    Attributes:
        name: in the table.
        ours: the attacks, run in this order, each on the survivors of the one before.
        theirs: torchattacks' class.
        parameters: of that class.
    """

    name: str
    ours: tuple[Any, ...]
    theirs: str
    parameters: dict[str, Any]


def pairs(options: argparse.Namespace) -> tuple[Pair, ...]:
    """Return what is compared."""
    steps, queries = options.steps, options.queries
    return (
        Pair(f"APGD-CE {steps}", (apgd_ce("linf", steps=steps),), "APGD", {"steps": steps}),
        Pair(f"APGD-DLR-T {steps} x 9", (apgd_dlr_targeted("linf", steps=steps),), "APGDT", {"steps": steps}),
        Pair(f"Square {queries}", (square("linf", queries=queries),), "Square", {"n_queries": queries}),
        Pair(
            f"suite: CE {STEPS}, DLR-T {STEPS} x 9, Square {QUERIES}",
            (
                apgd_ce("linf", steps=STEPS),
                apgd_dlr_targeted("linf", steps=STEPS),
                square("linf", queries=QUERIES),
            ),
            "AutoAttack",
            {},
        ),
    )


def main() -> None:
    """Run the benchmark."""
    options = _options()
    torch.set_num_threads(1)
    if options.python is None or not Path(options.python).exists():
        print(MAKE)
        sys.exit(0)
    inputs, labels = cifar10_jpeg("test", options.start, options.start + options.n)
    model = wrap(resnet20().requires_grad_(False), bounds=(0.0, 1.0), example=inputs[:8])
    cases = [(epsilon, pair) for epsilon in EPSILONS for pair in pairs(options)]
    rows = []
    for epsilon, pair in cases:  # side by side, so that a busy machine disturbs both
        theirs = _theirs(options, [(epsilon, pair)])
        torch.manual_seed(options.seed)
        begin = time.process_time()
        found = _in_a_row(pair.ours, model, inputs, labels, epsilon)
        seconds = time.process_time() - begin
        held = model.answers(found) == labels
        rows.append(
            _row(pair, epsilon, held, seconds, (found - inputs).abs().max().item() - epsilon, theirs["results"][0])
        )
        print(json.dumps(rows[-1]), file=sys.stderr)
    clean = model.answers(inputs) == labels
    _print(rows, clean, options)
    if options.write:
        _write(rows, clean, options, theirs["version"])


def _in_a_row(attacks: Sequence[Any], model: NetworkModel, inputs: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """Return the examples of several attacks, each run on what the ones before left right."""
    found = inputs.clone()
    left = torch.arange(len(inputs))
    for attack in attacks:
        if len(left):
            found[left] = attack.run(model, inputs[left], labels[left], epsilon=epsilon)
            left = left[model.answers(found[left]) == labels[left]]
    return found


def _theirs(options: argparse.Namespace, cases: Sequence[tuple[float, Pair]]) -> dict[str, Any]:
    """Return what torchattacks did, from a process of its own."""
    jobs = [{"attack": pair.theirs, "epsilon": epsilon, "parameters": pair.parameters} for epsilon, pair in cases]
    settings = {"start": options.start, "n": options.n, "seed": options.seed, "jobs": jobs}
    root = Path(__file__).resolve().parents[1]
    process = subprocess.run(
        [options.python, "-m", "benchmarks.torchattacks_side"],
        input=json.dumps(settings),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )
    result: dict[str, Any] = json.loads(process.stdout)
    return result


def _row(
    pair: Pair, epsilon: float, held: Tensor, seconds: float, excess: float, other: dict[str, Any]
) -> dict[str, Any]:
    """Return the figures of one comparison."""
    theirs = torch.tensor(other["held"])
    return {
        "attack": pair.name,
        "torchattacks": pair.theirs,
        "epsilon": epsilon,
        "n": len(held),
        "held": int(held.sum()),
        "held_theirs": int(theirs.sum()),
        "only_ours_fools": int((~held & theirs).sum()),
        "only_theirs_fools": int((held & ~theirs).sum()),
        "seconds": round(seconds, 2),
        "seconds_theirs": round(other["seconds"], 2),
        "ratio": round(other["seconds"] / seconds, 2),
        "excess": excess,
        "excess_theirs": other["excess"],
    }


def _print(rows: Sequence[dict[str, Any]], clean: Tensor, options: argparse.Namespace) -> None:
    title = (
        f"ResNet-20, {ENCODING}, test images {options.start} to {options.start + options.n - 1}, Linf, one thread, "
        f"seed {options.seed}; clean accuracy {int(clean.sum())}/{len(clean)}"
    )
    table = Table(title=title)
    for heading in ("attack", "epsilon", "ours holds", "theirs holds", "fooled by", "only ours", "only theirs"):
        table.add_column(heading)
    for heading in ("seconds", "theirs'", "times faster"):
        table.add_column(heading)
    for row in rows:
        table.add_row(
            row["attack"],
            f"{row['epsilon'] * 255:g}/255",
            _rate(row["held"], row["n"]),
            _rate(row["held_theirs"], row["n"]),
            f"{row['n'] - row['held']} / {row['n'] - row['held_theirs']}",
            str(row["only_ours_fools"]),
            str(row["only_theirs_fools"]),
            f"{row['seconds']:.1f}",
            f"{row['seconds_theirs']:.1f}",
            f"{row['ratio']:.1f}",
        )
    Console(width=170).print(table)


def _rate(held: int, n: int) -> str:
    low, high = wilson(held, n)
    return f"{100 * held / n:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _write(rows: Sequence[dict[str, Any]], clean: Tensor, options: argparse.Namespace, version: str) -> None:
    write(
        "autoattack",
        __doc__ or "",
        {"clean": {"held": int(clean.sum()), "n": len(clean)}, "rows": list(rows), "torchattacks": version},
        settings={"data": ENCODING, "n": options.n, "start": options.start, "seed": options.seed, "threads": 1}
        | {"steps": options.steps, "queries": options.queries, "suite": {"steps": STEPS, "queries": QUERIES}},
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", help="interpreter of an environment with torchattacks")
    parser.add_argument("--n", type=int, default=200, help="test images attacked")
    parser.add_argument("--start", type=int, default=0, help="first test image")
    parser.add_argument("--steps", type=int, default=20, help="of the single attacks")
    parser.add_argument("--queries", type=int, default=1000, help="of the single square attack")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
