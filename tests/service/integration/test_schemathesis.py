"""The whole OpenAPI document against a real service, with and without keys: generated requests, right and wrong ones.

Each answer is one that the document names for that operation, in its form, with its headers; none is 500 or 502, and
503 and 504 only come where the document names them. At the end the service is well, idle, and as large as before.

Seen to fail when: a field is answered that no shape has; a status is answered that the document leaves out; a route
raises what no row of the table of errors names; a refused method has no `Allow`; a guarded route answers without a key.
"""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest
import schemathesis
import uvicorn
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from service.app import create_app
from service.routes.rooms import Rooms
from service.security.connections import PunctualConnection
from service.settings import Settings
from service.trying.desk import TryDesk
from tests.service.inference.models import copy_models

GROWTH: Final = 48 << 20  # bytes that allocators may keep after many thousand requests
#: What a path may name besides generated text; unloading, deleting and revoking keep to what is not there.
SPARED: Final = frozenset({"repository_unload", "delete_job", "delete_report", "revoke_key", "delete_model"})
CONFIG: Final = """
seed = {seed}
request-timeout = 30
[generation]
max-examples = {examples}
deterministic = true
no-shrink = true
with-security-parameters = {keys}
database = "none"
[phases.stateful]
enabled = false
[phases.coverage]
enabled = {coverage}
[checks]
positive_data_acceptance.enabled = false
ignored_auth.enabled = {keys}
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503, 504]
"""


@dataclass(frozen=True, slots=True)
class Live:
    """A running server."""

    client: httpx.Client
    rooms: Rooms

    @property
    def is_idle(self) -> bool:
        """Whether a good request is answered and the queues are empty afterwards."""
        rows = np.full((1, 1, 8, 8), 0.5).tolist()
        body = {"inputs": [{"name": "input", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": rows}]}
        answer = self.client.post("/v2/models/digits/infer", json=body)
        held = [served.batcher.admission for served in self.rooms.pool.served()]
        assert answer.status_code == 200, answer.text
        return not any(one.rows or one.bytes for one in held)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Yield a real server with the ensemble `digits`, in which few jobs may wait; no worker runs them."""
    data = tmp_path_factory.mktemp("generated")
    copy_models(tmp_path_factory, data)
    app = create_app(Settings(data=data, max_open_jobs=2, key_rate=1e6, wrong_key_rate=1e6))
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # for all it accepts
    server = uvicorn.Server(uvicorn.Config(app, http=PunctualConnection, log_level="critical", lifespan="on"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with httpx.Client(base_url=base, trust_env=False, timeout=60) as client:
        while client.get("/v2/health/ready").status_code != 200:
            assert thread.is_alive()
        rooms = app.state.rooms
        # No worker will take a try, so nobody waits long for one.
        rooms.tries = TryDesk(rooms.settings, lambda name: rooms.pool.resolve(name).served, patience=0.5)
        yield Live(client, rooms)
    server.should_exit = True
    thread.join(20)
    listener.close()


def becomes_idle(service: Live) -> bool:
    """Return whether nothing waits any more after a few seconds."""
    assert service.client.post("/v2/repository/models/digits/load").status_code == 200  # a request may have unloaded it
    deadline = time.monotonic() + 10
    while not service.is_idle:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def resident() -> int:
    """Return the bytes that this process holds, the server's thread included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def run(service: Live, *, seed: int, examples: int, token: str | None = None, coverage: bool = True) -> Counter[str]:
    """Return how many scenarios came to which end, after every generated request was answered and checked."""
    words = {
        "seed": seed,
        "examples": examples,
        "coverage": str(coverage).lower(),
        "keys": str(token is not None).lower(),
    }
    config = SchemathesisConfig.from_str(CONFIG.format(**words))
    base = str(service.client.base_url).rstrip("/")
    if token is not None:
        config.projects.default.headers = {"Authorization": f"Bearer {token}"}
    config.projects.default.base_url = base
    document = service.client.get("/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document, config=config)
    # The first key would end the state that the one run is about, its end that of the other.
    schema = schema.exclude(operation_id="create_key" if token is None else "revoke_key")
    known = {"model": "digits", "version": "1", "dataset": "digits", "job_id": _a_job(service), "name": "digits"}

    @schema.hook("map_path_parameters")
    def name_what_is_there(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
        if not path_parameters or context.operation.definition.raw["operationId"] in SPARED:
            return path_parameters
        return {
            name: known[name] if name in known and len(str(value)) % 2 else value
            for name, value in path_parameters.items()
        }

    ends: Counter[str] = Counter()
    failures: list[str] = []
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            ends[event.status.value] += 1
            for recorded in event.recorder.checks.values():
                failures += [_told(node) for node in recorded if node.failure_info is not None]
        if isinstance(event, events.NonFatalError | events.FatalError):
            failures.append(str(event))
    assert not failures, "\n\n".join(sorted(set(failures))[:40])
    return ends


def _a_job(service: Live) -> str:
    listed: list[dict[str, Any]] = service.client.get("/api/v1/jobs").json()["data"]
    if not listed:
        body = {"type": "evaluate", "target": "digits", "data": {"name": "digits"}, "threat": {"epsilons": [0.1]}}
        listed = [service.client.post("/api/v1/jobs", json=body).json()]
    return str(listed[0]["id"])


def _told(node: Any) -> str:
    info = node.failure_info
    failure = info.failure
    return f"{node.name}: {failure.operation}: {failure.title}: {failure.message}\n{info.code_sample[:600]}"


def test_generated_requests_without_keys(service: Live) -> None:
    """Nobody needs a key: every operation, right and wrong input; a second round adds no memory."""
    assert run(service, seed=1, examples=3)["success"] > 50
    before = resident()
    run(service, seed=2, examples=2, coverage=False)
    assert becomes_idle(service)
    assert resident() - before < GROWTH


def test_generated_requests_with_keys(service: Live) -> None:
    """The same with a key, and every guarded operation refuses who has none."""
    token = service.client.post("/api/v1/keys", json={"name": "first", "scopes": ["admin"], "owner": "local"}).json()[
        "key"
    ]
    service.client.headers["Authorization"] = f"Bearer {token}"
    assert run(service, seed=3, examples=2, token=token, coverage=False)["success"] > 50
    assert becomes_idle(service)
