"""What does one ladder over all radii save against one full attack per radius?

ResNet-20, JPEG-re-encoded CIFAR-10, Linf, eight radii: foolbox's own PGD with 40 steps, called once with all radii,
against the cascade of this library (wrong points out, fooled points out at every larger radius, warm start from the
smaller radius, early stop per point). Equal or lower accuracy at every radius is part of the result: a weaker attack
that is faster is no win. Prints gradient and forward passes, seconds (median and range after a warm-up), and what both
sides leave; then the same with each shortcut off in turn.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import foolbox
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from attacks.building import build_attack
from attacks.cascade import Cascade, Step
from attacks.rows import AttackRow
from attacks.targets import NetworkModel, wrap
from attacks.threat import ThreatModel
from attacks.working import judged_as_served
from benchmarks.record import timed, write
from benchmarks.shared_data import ENCODING, cifar10_jpeg, resnet20

EPSILONS = tuple(value / 255 for value in (0.25, 0.5, 1, 2, 3, 4, 6, 8))
STEPS = 40


@dataclass(frozen=True, slots=True)
class Side:
    """One way to attack all radii.

    Attributes:
        held: points right at each radius, those lost at a smaller one left out.
        forwards: points passed forward.
        backwards: points passed backward: gradient evaluations.
    """

    held: tuple[int, ...]
    forwards: int
    backwards: int


def main() -> None:
    """Run the benchmark."""
    options = _options()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    inputs, labels = cifar10_jpeg("test", 0, options.n)
    model = wrap(resnet20().requires_grad_(False).to(device), bounds=(0.0, 1.0), example=inputs[:2])
    sides: dict[str, Callable[[], Side]] = {
        "foolbox PGD-40, all radii in one call": lambda: foolbox_side(model, inputs, labels, options.block),
        "ladder: FGSM, then APGD": lambda: ladder_side(model, inputs, labels, options),
        "ladder: PGD-40": lambda: ladder_side(model, inputs, labels, options, rows=(PGD,)),
        "ladder without warm start": lambda: ladder_side(model, inputs, labels, options, warm=False),
        "ladder without FGSM": lambda: ladder_side(model, inputs, labels, options, rows=(_apgd(options.steps),)),
        "one radius at a time": lambda: separate_side(model, inputs, labels, options),
    }
    results = {}
    for name, run in sides.items():
        begin = time.perf_counter()
        found = run()
        seconds = time.perf_counter() - begin
        timing = {"median": seconds, "least": seconds, "largest": seconds, "runs": 1}
        if options.repeats:
            timing = timed(run, options.repeats, device).to_dict()  # type: ignore[assignment]
        results[name] = {
            "held": list(found.held),
            "forwards": found.forwards,
            "backwards": found.backwards,
            "seconds": timing,
        }
    reference = results["foolbox PGD-40, all radii in one call"]
    for found in results.values():
        found["gradients_saved"] = reference["backwards"] / found["backwards"]
        found["time_saved"] = reference["seconds"]["median"] / found["seconds"]["median"]
        pairs = zip(found["held"], reference["held"], strict=True)
        found["as_strong"] = all(own <= other for own, other in pairs)
    Console(width=150).print(_table(results, options))
    if options.write:
        settings = vars(options) | {"epsilons_255": [255 * value for value in EPSILONS], "data": ENCODING}
        write("ladder", __doc__ or "", {"sides": results}, settings=settings)


def _row(name: str, kind: str, **parameters: Any) -> AttackRow:
    return AttackRow(name, kind, "white_box", parameters, surrogate="target")


PGD = _row("pgd", "pgd", steps=STEPS, rel_stepsize=1 / 30, random_start=True)


def _apgd(steps: int) -> AttackRow:
    return _row("apgd", "apgd_ce", steps=steps)


def foolbox_side(model: NetworkModel, inputs: Tensor, labels: Tensor, block: int) -> Side:
    """Return what foolbox's PGD does at all radii; its step is foolbox's own, a thirtieth of the radius."""
    attack = foolbox.attacks.LinfPGD(steps=STEPS)
    before = (model.passes.forwards, model.passes.backwards)
    held = torch.zeros(len(EPSILONS), 0, dtype=torch.bool)
    for x, y in _blocks(inputs, labels, block):
        torch.manual_seed(0)
        _, _, fooled = attack(model, x.to(model.device), y.to(model.device), epsilons=EPSILONS)
        held = torch.cat([held, ~fooled.cpu()], dim=1)
    counts = tuple(int(flags.sum()) for flags in held.long().cumprod(0).bool())
    return Side(counts, model.passes.forwards - before[0], model.passes.backwards - before[1])


def ladder_side(
    model: NetworkModel,
    inputs: Tensor,
    labels: Tensor,
    options: argparse.Namespace,
    *,
    rows: Sequence[AttackRow] = (),
    warm: bool = True,
    epsilons: tuple[float, ...] = EPSILONS,
) -> Side:
    """Return what the cascade does at all radii."""
    rows = rows or (_row("fgsm", "fgsm"), _apgd(options.steps))
    steps = [Step(row.id, build_attack(row, "linf", served=True), model, warm and row.kind != "fgsm") for row in rows]
    held = torch.zeros(len(epsilons), dtype=torch.int64)
    forwards = backwards = 0
    for x, y in _blocks(inputs, labels, options.block):
        run = Cascade(judged_as_served(model), ThreatModel("linf", epsilons), x, y)
        run.run(steps, [], lambda name, rung: len(name) + rung)
        lost = torch.stack([trace.fooled for trace in run.traces.values()]).any(0).cumsum(0) > 0
        clean = model.held(x, y)
        held += (clean & ~lost).sum(1)
        # Verdicts of the serving path: one look at the inputs, one at what each attack returned.
        forwards += len(x) + sum(trace.forwards + int(trace.attempted.sum()) for trace in run.traces.values())
        backwards += sum(trace.backwards for trace in run.traces.values())
    return Side(tuple(held.tolist()), forwards, backwards)


def separate_side(model: NetworkModel, inputs: Tensor, labels: Tensor, options: argparse.Namespace) -> Side:
    """Return what the same attacks do when each radius starts anew: survivors are not carried on."""
    found = [ladder_side(model, inputs, labels, options, epsilons=(epsilon,)) for epsilon in EPSILONS]
    held = tuple(side.held[0] for side in found)
    return Side(held, sum(side.forwards for side in found), sum(side.backwards for side in found))


def _blocks(inputs: Tensor, labels: Tensor, block: int) -> Sequence[tuple[Tensor, Tensor]]:
    return list(zip(inputs.split(block), labels.split(block), strict=True))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=500, help="test images")
    parser.add_argument("--steps", type=int, default=20, help="of APGD in the ladder")
    parser.add_argument("--block", type=int, default=125)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5, help="timed runs after a warm-up; 0 times the first run")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results")
    return parser.parse_args()


def _table(results: dict[str, dict[str, Any]], options: argparse.Namespace) -> Table:
    table = Table(
        title=f"ResNet-20, {ENCODING}, n = {options.n}, Linf, radii {[round(255 * e, 2) for e in EPSILONS]}/255"
    )
    for heading in ("side", "held at each radius", "gradients", "fewer", "forwards", "seconds", "faster", "as strong"):
        table.add_column(heading)
    for name, found in results.items():
        timing = found["seconds"]
        table.add_row(
            name,
            " ".join(map(str, found["held"])),
            str(found["backwards"]),
            f"{found['gradients_saved']:.1f}x",
            str(found["forwards"]),
            f"{timing['median']:.1f} ({timing['least']:.1f} to {timing['largest']:.1f})",
            f"{found['time_saved']:.1f}x",
            "yes" if found["as_strong"] else "NO",
        )
    return table


if __name__ == "__main__":
    main()
