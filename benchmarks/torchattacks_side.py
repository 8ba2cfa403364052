"""The other side of `benchmarks.autoattack`: the same attacks by torchattacks, in an environment that has it.

Run by that benchmark, not by hand. Reads jobs as JSON from standard input, writes what each did as JSON to standard
output; images and weights are the shared files, so that both sides see the same bytes.
"""

import json
import sys
import time

import torch
import torchattacks

from benchmarks.shared_data import cifar10_jpeg, resnet20


def main() -> None:
    """Run every job and print what came out."""
    settings = json.load(sys.stdin)
    torch.set_num_threads(1)
    network = resnet20().requires_grad_(False)
    inputs, labels = cifar10_jpeg("test", settings["start"], settings["start"] + settings["n"])
    network(inputs[:8])  # the first pass builds what later ones reuse
    results = []
    for job in settings["jobs"]:
        attack = getattr(torchattacks, job["attack"])(
            network, eps=job["epsilon"], seed=settings["seed"], **job["parameters"]
        )
        begin = time.process_time()
        found = attack(inputs, labels)
        seconds = time.process_time() - begin
        with torch.no_grad():
            held = network(found).argmax(1) == labels
        excess = (found - inputs).abs().max().item() - job["epsilon"]
        results.append({"held": held.tolist(), "seconds": seconds, "excess": excess})
    json.dump({"version": torchattacks.__version__, "results": results}, sys.stdout)


if __name__ == "__main__":
    main()
