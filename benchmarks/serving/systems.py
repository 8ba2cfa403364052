"""The servers that are compared: how each is started, asked and read."""

import base64
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving import network
from benchmarks.serving.client import Answer, post
from benchmarks.serving.environments import ROOT, python_of

HEADER = "Inference-Header-Content-Length"
SHARE_OF_DEADLINE = 0.9  # of the client's deadline is what servers are told, where they take a limit
OCTETS = {"Content-Type": "application/octet-stream"}
JSON = {"Content-Type": "application/json"}

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Terms:
    """What all servers are given alike.

    Attributes:
        folder: scratch folder.
        artifact: of the ensemble.
        port: to listen on; the two behind it are free, too.
        rows: of each request.
        batch_rows: of the largest execution.
        deadline: seconds after which an answer is of no use.
        delay: seconds a peer's batch waits for company, where it asks for that.
    """

    folder: Path
    artifact: Path
    port: int
    rows: int
    batch_rows: int
    deadline: float
    delay: float

    @property
    def limit(self) -> float:
        """Seconds a server may take, as it is told."""
        return SHARE_OF_DEADLINE * self.deadline


@dataclass(frozen=True, slots=True)
class System:
    """One server with one way to run the network.

    Attributes:
        name: in the table.
        package: that is compared; its environment carries this name.
        variant: "shared" or "naive" members.
        health: path that answers 200 once it is ready.
        command: the server's command line, given its interpreter.
        settings: its environment variables.
        request: bytes of a request for rows.
        read: probabilities from an answer.
    """

    name: str
    package: str
    variant: str
    health: str
    command: Callable[[Path, Terms], list[str]]
    settings: Callable[[Terms], Mapping[str, str]]
    request: Callable[[Rows, Terms], bytes]
    read: Callable[[Answer], Rows]

    def python(self, environments: Path) -> Path:
        """Return the interpreter that runs it."""
        return Path(sys.executable) if self.package == "levelset" else python_of(environments, self.package)

    def environment(self, terms: Terms) -> dict[str, str]:
        """Return the variables that are set for it."""
        return {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "BENCH_ARTIFACT": str(terms.artifact),
            "BENCH_VARIANT": self.variant,
            "BENCH_PORT": str(terms.port),
            "BENCH_ROWS": str(terms.rows),
            "BENCH_BATCH_ROWS": str(terms.batch_rows),
            "BENCH_LIMIT": str(terms.limit),
            "BENCH_DELAY": str(terms.delay),
            **self.settings(terms),
        }


def _nothing(terms: Terms) -> Mapping[str, str]:
    return {}


def _levelset_command(python: Path, terms: Terms) -> list[str]:
    return [str(python), "-m", "service.cli", "serve", "--port", str(terms.port)]


def _levelset_settings(terms: Terms) -> Mapping[str, str]:
    return {
        "LEVELSET_DATA": str(terms.folder),
        "LEVELSET_MAX_ROWS": str(terms.batch_rows),
        "LEVELSET_QUEUE_TIMEOUT": str(terms.limit),
        "LEVELSET_THREADS": "1",
    }


def _levelset_request(rows: Rows, terms: Terms) -> bytes:
    blob = rows.astype("<f4").tobytes()
    tensor = {
        "name": "input", "shape": rows.shape, "datatype": "FP32", "parameters": {"binary_data_size": len(blob)}
    }  # fmt: skip
    output = {"name": "probabilities", "parameters": {"binary_data": True}}
    text = json.dumps({"inputs": [tensor], "outputs": [output]}).encode()
    return post(f"/v2/models/{network.NAME}/infer", text + blob, {**OCTETS, HEADER: str(len(text))})


def _levelset_read(answer: Answer) -> Rows:
    length = int(answer.headers[HEADER.lower()])
    shape = json.loads(answer.body[:length])["outputs"][0]["shape"]
    return np.frombuffer(answer.body[length:], dtype="<f4").reshape(shape)


def _litserve_command(python: Path, terms: Terms) -> list[str]:
    return [str(python), "-m", "benchmarks.serving.peers.litserve_server"]


def _litserve_request(rows: Rows, terms: Terms) -> bytes:
    return post("/predict", rows.astype("<f4").tobytes(), OCTETS)


def _litserve_read(answer: Answer) -> Rows:
    return np.frombuffer(answer.body, dtype="<f4").reshape(-1, 10)


def _bentoml_command(python: Path, terms: Terms) -> list[str]:
    target = "benchmarks.serving.peers.bentoml_server:Bento"
    return [str(python), "-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", str(terms.port)]


def _bentoml_settings(terms: Terms) -> Mapping[str, str]:
    return {"BENTOML_HOME": str(terms.folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}


def _bentoml_request(rows: Rows, terms: Terms) -> bytes:
    return post("/infer", rows.astype("<f4").tobytes(), OCTETS)


def _bentoml_read(answer: Answer) -> Rows:
    return np.array(json.loads(answer.body), dtype=np.float32)


def _mlserver_command(python: Path, terms: Terms) -> list[str]:
    """Write the two settings files it reads, and return its command line."""
    folder = terms.folder / "mlserver"
    folder.mkdir(parents=True, exist_ok=True)
    ports = {"http_port": terms.port, "grpc_port": terms.port + 1, "metrics_port": terms.port + 2}
    server = {"debug": False, "host": "127.0.0.1", "parallel_workers": 1, **ports}
    model = {
        "name": network.NAME,
        "implementation": "benchmarks.serving.peers.mlserver_runtime.Runtime",
        "max_batch_size": terms.batch_rows // terms.rows,
        "max_batch_time": terms.delay,
    }
    (folder / "settings.json").write_text(json.dumps(server))
    (folder / "model-settings.json").write_text(json.dumps(model))
    return [str(python.parent / "mlserver"), "start", str(folder)]


def _mlserver_request(rows: Rows, terms: Terms) -> bytes:
    data = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in rows]
    tensor = {
        "name": "rows", "shape": [len(rows)], "datatype": "BYTES",
        "parameters": {"content_type": "base64"}, "data": data,
    }  # fmt: skip
    return post(f"/v2/models/{network.NAME}/infer", json.dumps({"inputs": [tensor]}).encode(), JSON)


def _mlserver_read(answer: Answer) -> Rows:
    output = json.loads(answer.body)["outputs"][0]
    return np.array(output["data"], dtype=np.float32).reshape(output["shape"])


def _peers(variant: str) -> tuple[System, ...]:
    return (
        System(
            f"LitServe, {variant}", "litserve", variant, "/health",
            _litserve_command, _nothing, _litserve_request, _litserve_read,
        ),
        System(
            f"MLServer, {variant}", "mlserver", variant, f"/v2/models/{network.NAME}/ready",
            _mlserver_command, _nothing, _mlserver_request, _mlserver_read,
        ),
        System(
            f"BentoML, {variant}", "bentoml", variant, "/readyz",
            _bentoml_command, _bentoml_settings, _bentoml_request, _bentoml_read,
        ),
    )  # fmt: skip


SYSTEMS = (
    System(
        "levelset", "levelset", "shared", "/v2/health/ready",
        _levelset_command, _levelset_settings, _levelset_request, _levelset_read,
    ),
    *_peers("shared"),
    *_peers("naive"),
)  # fmt: skip
