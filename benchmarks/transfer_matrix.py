"""Is the transfer matrix of 8 members made in at most 0.6 of the time of 8 crafting runs and 64 forward passes?

ResNet-20, JPEG-re-encoded CIFAR-10, PGD with 20 steps from the input, Linf 4/255. Both sides see the same points in the
same blocks: members taken out one by one, attacked and judged by plain passes, against the one pass of the package. It
prints the time of each side, and on how many of the verdicts that enter a rate they differ.
"""

import argparse
import time
from collections.abc import Callable

import torch
from rich.console import Console

import ensemble
from attacks.gradient import KEEP_SURROGATE_LOSS, pgd
from attacks.ladder import craft
from attacks.targets import EnsembleModel, wrap
from attacks.threat import ThreatModel
from attacks.transfer import transfer_block
from benchmarks.record import write
from benchmarks.shared_data import ENCODING, cifar10_jpeg, resnet20
from ensemble.artifact import load

GOAL = 0.6
BOX = (0.0, 1.0)
HEADLINE = ThreatModel("linf", (4 / 255,))


def main() -> None:
    """Run the benchmark."""
    options = _options()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    many = _ensemble(options).to(device)
    inputs, labels = cifar10_jpeg("test", 0, options.n)
    target = wrap(many, bounds=BOX, example=inputs[:2])
    assert isinstance(target, EnsembleModel)
    base = wrap(many.base, bounds=BOX, example=inputs[:2])
    members = [wrap(many.member(k), bounds=BOX, example=inputs[:2]) for k in range(many.size)]
    names = ([f"member-{k}" for k in range(many.size)], "base", "ensemble")
    cut = list(zip(inputs.split(options.block), labels.split(options.block), strict=True))

    def together() -> torch.Tensor:
        blocks = [transfer_block(_attack(), target, base, x, y, HEADLINE, names=names) for x, y in cut]
        return torch.cat([block.held[:, : many.size] for block in blocks], dim=2)

    def apart() -> torch.Tensor:
        held = []
        for x, y in cut:
            made = [craft(_attack(), member, x, y, HEADLINE).examples[0] for member in members]
            held.append(torch.stack([torch.stack([judge.answers(own) == y for judge in members]) for own in made]))
        return torch.cat(held, dim=2)

    small = cut[0][0][:4], cut[0][1][:4]
    transfer_block(_attack(), target, base, *small, HEADLINE, names=names)  # warms both sides up
    craft(_attack(), members[0], *small, HEADLINE)
    (own, seconds), (plain, plain_seconds) = (_timed(side, device) for side in (together, apart))
    right = torch.stack([member.answers(inputs) == labels for member in members])
    counted = right[:, None] & right[None]  # points wrong from the start enter no rate
    differ, fooled = int(((own != plain) & counted).sum()), [int((~x & counted).sum()) for x in (own, plain)]
    ratio = seconds / plain_seconds
    Console().print(
        f"{many.size} members, n = {options.n}: one pass {seconds:.1f} s, separate runs {plain_seconds:.1f} s, ratio "
        f"{ratio:.2f} (goal {GOAL}); fooled {fooled[0]} and {fooled[1]} of {int(counted.sum())} verdicts, "
        f"{differ} differ"
    )
    result = {
        "seconds": {"one_pass": round(seconds, 2), "separate": round(plain_seconds, 2)},
        "ratio": round(ratio, 3),
        "goal": GOAL,
        "verdicts": {"counted": int(counted.sum()), "fooled": fooled, "differ": differ},
        "data": ENCODING,
    }
    if options.write:
        shown = {name: value for name, value in vars(options).items() if name not in ("ensemble", "write")}
        print(write("transfer_matrix", str(__doc__), result, settings=shown | {"members": many.size}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--n", type=int, default=500, help="test images")
    parser.add_argument("--block", type=int, default=125, help="images per pass")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--ensemble", help="folder of a saved ensemble; generated otherwise")
    parser.add_argument("--write", action="store_true", help="keep the result beside the others")
    return parser.parse_args()


def _ensemble(options: argparse.Namespace) -> ensemble.SymmetryEnsemble:
    if options.ensemble:
        return load(options.ensemble)
    calibration, _ = cifar10_jpeg("train", 0, 200)
    recipe = ensemble.Recipe(search_steps=8, crafting_radii=())
    rng = torch.Generator().manual_seed(0)
    return ensemble.generate(resnet20(), calibration, members=options.members, recipe=recipe, rng=rng)


def _attack() -> object:
    return pgd("linf", steps=20, rel_stepsize=0.1, random_start=False, keep=KEEP_SURROGATE_LOSS)


def _timed(side: Callable[[], torch.Tensor], device: torch.device) -> tuple[torch.Tensor, float]:
    # Both sides end with verdicts on the CPU, which waits for the device. On a shared CPU the time on it counts.
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    begin = clock()
    held = side()
    return held, clock() - begin


if __name__ == "__main__":
    main()
