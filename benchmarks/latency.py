"""How long does a request take over HTTP, binary beside JSON? A real server, one kept-alive connection.

    python benchmarks/latency.py [--requests 500]

Two requests: one 8x8 digit to the demo ensemble, and 32x3x32x32 FP32 to an ensemble of a thin network. Prints p50 and
p99 beside the same computation inside one process, and the difference of the medians: what HTTP, the body's form, queue
and process cost. The three ways take turns, request by request, so that a busy machine is busy for all of them. Client
and server share this machine; the figures are those of an unloaded server, not of a busy one.
"""

import argparse
import http.client
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))  # started as a script

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks import thin_network
from service.catalogue import datasets
from service.catalogue.repository import ModelRepository
from service.cli.process import running_service
from service.demo import build_digits
from service.settings import Settings

WARM_UP = 30
RUNS = 5
RESULTS = Path(__file__).parent / "results" / "latency.json"
HEADER = "Inference-Header-Content-Length"

Call = Callable[[int], Any]


def measure(ways: Mapping[str, Call], requests: int) -> dict[str, list[list[float]]]:
    """Return the seconds of each call, way -> `RUNS` lists of `requests`, taken in turns after a warm-up."""
    for call in ways.values():
        for index in range(WARM_UP):
            call(index)
    seconds: dict[str, list[list[float]]] = {way: [[] for _ in range(RUNS)] for way in ways}
    for run in range(RUNS):
        for index in range(requests):
            for way, call in ways.items():
                begin = time.perf_counter()
                call(index)
                seconds[way][run].append(time.perf_counter() - begin)
    return seconds


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


def over_http(url: str, model: str, bodies: list[bytes], headers: list[dict[str, str]]) -> Call:
    """Return a call that sends one prepared body over one kept-alive connection and returns the whole answer."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)

    def call(index: int) -> bytes:
        at = index % len(bodies)
        connection.request("POST", f"/v2/models/{model}/infer", bodies[at], headers[at])
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise RuntimeError(f"expected status 200, got {response.status}: {answer[:300]!r}")
        length = int(response.headers.get(HEADER, len(answer)))
        return answer[:length] + b"\0" + answer[length:]

    return call


def in_process(folder: Path, model: str, inputs: list[torch.Tensor]) -> Call:
    """Return a call that computes one prediction with the same stored ensemble in this process."""
    loaded = ModelRepository(folder).load(model)

    def call(index: int) -> torch.Tensor:
        with torch.no_grad():
            return loaded.predict(inputs[index % len(inputs)]).probabilities

    return call


def check(ways: Mapping[str, Call], count: int) -> None:
    """Raise where the server and this process disagree: a fast wrong answer is no answer.

    Raises:
        RuntimeError: a probability over HTTP differs from the one computed here.
    """
    for index in range(count):
        expected = ways["in process"](index).numpy()
        for way in ("HTTP, binary", "HTTP, JSON"):
            found = probabilities(ways[way](index)).reshape(expected.shape)
            if not np.allclose(found, expected, rtol=1e-4, atol=1e-5):
                raise RuntimeError(f"{way}, request {index}: expected {expected.tolist()}, got {found.tolist()}")


def probabilities(answer: bytes) -> Any:
    """Return the first output of an answer, which is the probabilities, from either form."""
    text, _, blob = answer.partition(b"\0")
    first = json.loads(text)["outputs"][0]
    if "data" in first:
        return np.array(first["data"], dtype=np.float32)
    return np.frombuffer(blob[: first["parameters"]["binary_data_size"]], dtype="<f4")


def compare(url: str, folder: Path, model: str, inputs: list[torch.Tensor], requests: int) -> dict[str, Any]:
    """Return the figures of one request: way -> p50 and p99, and what each way costs beside the computation."""
    binary = [_binary(values) for values in inputs]
    bodies = [body for body, _ in binary]
    ways = {
        "HTTP, binary": over_http(url, model, bodies, [{HEADER: str(length)} for _, length in binary]),
        "HTTP, JSON": over_http(url, model, [_json(values) for values in inputs], [{}] * len(inputs)),
        "in process": in_process(folder, model, inputs),
    }
    check(ways, len(inputs))
    found = {way: summary(runs) for way, runs in measure(ways, requests).items()}
    least = found["in process"]["p50"]["ms"]
    return {"ways": found, "cost_ms": {way: found[way]["p50"]["ms"] - least for way in list(found)[:2]}}


def main() -> None:
    """Measure, print one table per request, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200, help=f"requests in each of {RUNS} runs")
    requests = parser.parse_args().requests
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch, thin_network.declared(Path(scratch) / "declared"):
        settings = Settings(data=Path(scratch), host="127.0.0.1", port=0)
        build_digits(settings)
        thin_network.build_thin(settings)
        digits = datasets.load("digits").part("test", 50).inputs
        batches = torch.rand(5, 32, *thin_network.SHAPE, generator=torch.Generator().manual_seed(0))
        with running_service(settings) as url:
            folder = settings.models_folder
            figures = {
                "1x1x8x8": compare(url, folder, "digits", [image[None] for image in digits], requests),
                "32x3x32x32": compare(url, folder, thin_network.NAME, list(batches), requests),
            }
    for name, found in figures.items():
        _print(name, found, requests)
    record = {"question": __doc__, "requests": requests, "runs": RUNS, "milliseconds": figures}
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
        "load_after": os.getloadavg()[0],
    }


def _json(values: torch.Tensor) -> bytes:
    tensor = {"name": "input", "shape": list(values.shape), "datatype": "FP32", "data": values.flatten().tolist()}
    return json.dumps({"inputs": [tensor]}).encode()


def _binary(values: torch.Tensor) -> tuple[bytes, int]:
    """Return the body of the binary form and the length of its JSON part."""
    blob = values.numpy().astype("<f4").tobytes()
    tensor = {
        "name": "input",
        "shape": list(values.shape),
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(blob)},
    }
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return text + blob, len(text)


def _print(name: str, found: Mapping[str, Any], requests: int) -> None:
    table = Table(title=f"{name} FP32, {RUNS} x {requests} requests, milliseconds (range over runs)")
    for title in ("", "p50", "p99", "p50 minus in process"):
        table.add_column(title, justify="left" if not title else "right")
    for way, figures in found["ways"].items():
        cells = [
            f"{figures[name]['ms']:.2f} ({figures[name]['least_run_ms']:.2f} to {figures[name]['largest_run_ms']:.2f})"
            for name in ("p50", "p99")
        ]
        table.add_row(way, *cells, f"{found['cost_ms'][way]:.2f}" if way in found["cost_ms"] else "")
    Console().print(table)


if __name__ == "__main__":
    main()
