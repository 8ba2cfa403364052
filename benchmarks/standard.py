"""What does the suite `standard` cost on the demo's ensemble, and does its memory grow with the number of images?

Each number of images is evaluated by `levelset evaluate` in a process of its own; seconds of processor time and the
peak of resident memory are those the operating system counted for it. The images are those of the part `train`, which
has enough of them: the accuracies say nothing about new images and are not written down. `--base` then attacks the
public ResNet-20 alone, white-box at 8/255: a network trained without any defence must fall.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import attacks
from benchmarks.record import write
from benchmarks.shared_data import ENCODING, cifar10_jpeg, resnet20

_LEVELSET = "from service.cli import main; main()"
_EIGHT = 8 / 255
_BASE_QUESTION = "What does the white box at 8/255 leave of a ResNet-20 that was trained without any defence?"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, nargs="+", default=[250, 500], help="images of the part train")
    parser.add_argument("--base", type=int, default=0, help="test images on which ResNet-20 alone is attacked at 8/255")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.base:
        settings = {"n": options.base, "epsilon": _EIGHT, "norm": "linf", "suite": "quick", "data": ENCODING}
        print(write("undefended_base", _BASE_QUESTION, base_alone(options.base), settings=settings))
        return
    with tempfile.TemporaryDirectory() as folder:
        _levelset("demo", "--build-only", "--data", folder)
        runs = [standard(Path(folder), n) for n in options.n]
    settings = {"suite": "standard", "ensemble": "digits, 8 members", "norms": ["linf", "l2"], "threads": 1}
    print(write("standard", __doc__ or "", {"runs": runs}, settings=settings))


def standard(folder: Path, n: int) -> dict[str, Any]:
    """Return what one evaluation cost, and the status of its report.

    Args:
        folder: with the demo's ensemble.
        n: images.
    """
    out = folder / f"standard-{n}"
    suite = ("--suite", "standard", "--split", "train", "-n", str(n))
    cost = _levelset("evaluate", "digits", *suite, "--data", str(folder), "--out", str(out))
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    found = {"n": n, **cost, "status": report["status"]}
    print(found, flush=True)
    return found


def _levelset(*arguments: str) -> dict[str, float]:
    """Run the command line on one thread; return seconds and the peak of memory in MiB."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", _LEVELSET, *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    # 3: the report is written, and calls itself UNRELIABLE.
    if process.returncode not in (0, 3):
        raise SystemExit(f"levelset {' '.join(arguments)} ended with {process.returncode}")
    return {
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "wall_seconds": round(time.perf_counter() - begin, 1),
        "peak_memory_mib": round(used.ru_maxrss / 1024, 1),
    }


def base_alone(n: int) -> dict[str, Any]:
    """Return how many test images the public ResNet-20 keeps under the white box of the suite `quick` at 8/255.

    Args:
        n: images.
    """
    inputs, labels = cifar10_jpeg("test", 0, n)
    network = resnet20()
    report = attacks.evaluate(
        network,
        base=network,
        inputs=inputs,
        labels=labels,
        threat=attacks.ThreatModel("linf", (_EIGHT,)),
        rng=torch.Generator().manual_seed(0),
        data=attacks.DataDescription("cifar10", f"test 0-{n - 1}", ENCODING),
        undefended=True,
    )
    white = next(model for model in report.threat_models if model.name == "white_box")
    left = {result.target: result.robust_accuracy.model_dump() for result in white.results}
    clean = {item.target: item.clean_accuracy.model_dump() for item in report.clean}
    checks = {item.id: item.status for item in report.checks if item.id in ("B15", "E1")}
    print(left, clean, checks, report.status.label)
    return {"clean": clean, "white_box": left, "checks": checks, "status": report.status.label}


if __name__ == "__main__":
    main()
