"""How long does one image take over HTTP? Batch 1 on the demo ensemble, a real server, one kept-alive connection.

    python benchmarks/latency.py [--data FOLDER] [--requests 1000]

Prints p50 and p99 beside the same computation inside one process, so that the difference is what HTTP, JSON, queue and
process cost. Client and server share this machine; the figures are those of an unloaded server, not of a busy one.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import httpx
import torch
from rich.console import Console
from rich.table import Table

from service.catalogue import datasets
from service.catalogue.repository import ModelRepository
from service.cli.process import running_service
from service.demo import build_digits
from service.settings import Settings

WARM_UP = 100
RUNS = 5
RESULTS = Path(__file__).parent / "results" / "latency.json"


def measure(call: Callable[[int], None], requests: int) -> list[list[float]]:
    """Return the seconds of each call, `RUNS` lists of `requests`, after a warm-up."""
    for index in range(WARM_UP):
        call(index)
    runs = []
    for _ in range(RUNS):
        seconds = []
        for index in range(requests):
            begin = time.perf_counter()
            call(index)
            seconds.append(time.perf_counter() - begin)
        runs.append(seconds)
    return runs


def summary(runs: list[list[float]]) -> dict[str, Any]:
    """Return p50 and p99 in milliseconds: over all calls, and the range over the runs."""
    each = [statistics.quantiles(run, n=100, method="inclusive") for run in runs]
    pooled = statistics.quantiles([value for run in runs for value in run], n=100, method="inclusive")
    return {
        name: {
            "ms": 1000 * pooled[index],
            "least_run_ms": 1000 * min(cuts[index] for cuts in each),
            "largest_run_ms": 1000 * max(cuts[index] for cuts in each),
        }
        for name, index in (("p50", 49), ("p99", 98))
    }


def over_http(url: str, bodies: list[bytes]) -> Callable[[int], None]:
    """Return a call that sends one prepared body over one kept-alive connection and checks the answer's status."""
    client = httpx.Client(base_url=url, trust_env=False)

    def call(index: int) -> None:
        response = client.post("/v2/models/digits/infer", content=bodies[index % len(bodies)])
        response.raise_for_status()

    return call


def check(url: str, folder: Path, inputs: torch.Tensor, bodies: list[bytes]) -> None:
    """Raise where the server and this process disagree: a fast wrong answer is no answer.

    Raises:
        RuntimeError: a probability over HTTP differs from the one computed here.
    """
    expected = ModelRepository(folder).load("digits").predict(inputs).probabilities
    with httpx.Client(base_url=url, trust_env=False) as client:
        for index, body in enumerate(bodies):
            outputs = client.post("/v2/models/digits/infer", content=body).raise_for_status().json()["outputs"]
            found = {output["name"]: output["data"] for output in outputs}["probabilities"]
            if not torch.allclose(torch.tensor(found), expected[index], rtol=1e-4, atol=1e-5):
                raise RuntimeError(f"image {index}: expected {expected[index].tolist()}, got {found}")


def in_process(folder: Path, inputs: torch.Tensor) -> Callable[[int], None]:
    """Return a call that computes one prediction with the same stored ensemble in this process."""
    model = ModelRepository(folder).load("digits")

    def call(index: int) -> None:
        with torch.no_grad():
            model.predict(inputs[index % len(inputs)][None])

    return call


def main() -> None:
    """Measure, print one table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None, help="data folder with the demo ensemble; else a new one")
    parser.add_argument("--requests", type=int, default=500, help=f"requests in each of {RUNS} runs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        settings = Settings(data=arguments.data or Path(scratch), host="127.0.0.1", port=0)
        build_digits(settings)
        inputs = datasets.load("digits").part("test", 200).inputs
        bodies = [_body(image) for image in inputs]
        with running_service(settings) as url:
            check(url, settings.models_folder, inputs, bodies)
            measured = {
                "HTTP, JSON": summary(measure(over_http(url, bodies), arguments.requests)),
                "in process": summary(measure(in_process(settings.models_folder, inputs), arguments.requests)),
            }
    _print(measured, arguments.requests)
    record = {"question": __doc__, "requests": arguments.requests, "runs": RUNS, "milliseconds": measured}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({**record, "environment": environment()}, indent=2) + "\n", encoding="utf-8")
    Console().print(f"written: {RESULTS}", soft_wrap=True)


def environment() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_before": os.getloadavg()[0],
    }


def _body(image: torch.Tensor) -> bytes:
    tensor = {"name": "input", "shape": [1, *image.shape], "datatype": "FP32", "data": image.flatten().tolist()}
    return json.dumps({"inputs": [tensor]}).encode()


def _print(measured: dict[str, Any], requests: int) -> None:
    table = Table(title=f"batch 1 on digits, {RUNS} x {requests} requests, milliseconds (range over runs)")
    for title in ("", "p50", "p99"):
        table.add_column(title, justify="left" if not title else "right")
    for way, figures in measured.items():
        cells = [
            f"{figures[name]['ms']:.2f} ({figures[name]['least_run_ms']:.2f} to {figures[name]['largest_run_ms']:.2f})"
            for name in ("p50", "p99")
        ]
        table.add_row(way, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
