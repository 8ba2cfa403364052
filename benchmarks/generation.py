"""How long does generation take, and how much memory?

ResNet-20 with 500 calibration images and 8 members, and ResNet-18 at 224x224 with 200 images and 4 members (random
weights and inputs: the work is the same). Prints seconds, the slowest sites and the peak resident memory.
"""

import argparse
import resource
import time

import torch
from rich.console import Console

import ensemble
from benchmarks.record import write
from ensemble import Architecture
from ensemble.architectures import build

CASES = {
    "resnet20": (Architecture("resnet20", {"num_classes": 10}), 32, 500, 8),
    "resnet18-224": (Architecture("torchvision/resnet18", {"num_classes": 1000}), 224, 200, 4),
}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=sorted(CASES))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    architecture, side, count, members = CASES[options.case]
    torch.manual_seed(0)
    network = build(architecture).eval().to(options.device)
    inputs = torch.rand(count, 3, side, side).to(options.device)
    console, steps = Console(), []
    last = begin = time.perf_counter()

    def progress(step: ensemble.Progress) -> None:
        nonlocal last
        now = time.perf_counter()
        steps.append({"step": step.message, "seconds": round(now - last, 2)})
        console.print(f"{now - last:7.1f} s  {step.done}/{step.total}  {step.message}")
        last = now

    ensemble.generate(network, inputs, members=members, rng=torch.Generator().manual_seed(0), progress=progress)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    console.print(f"{options.case}: {members} members, {count} images: {seconds:.0f} s, peak memory {peak:.1f} GiB")
    result = {"seconds": seconds, "peak_gib": peak, "members": members, "images": count, "steps": steps}
    write(f"generation-{options.case}", __doc__ or "", result, settings=vars(options))


if __name__ == "__main__":
    main()
