"""The application in this process with the real work of a worker beside it: jobs run when a test says so."""

import asyncio
import base64
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from safetensors.torch import save
from torch import Tensor

from service.catalogue import architectures
from service.jobs.benches import Benches
from service.jobs.progress import Progress
from service.jobs.room import WorkerRoom
from service.jobs.shard_process import ShardProcess
from service.settings import Settings
from service.store.database import Database
from tests.service.security.conftest import House, opened


class OwnProcess(ShardProcess):
    """Answers in the test's own process, with the same code as the child; counts what was asked."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.benches = Benches(settings)
        self.answers: list[Mapping[str, Any]] = []

    async def ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer of the bench."""
        answer = self.benches.answer(message)
        self.answers.append({"do": message["do"], "cached": answer.get("cached")})
        return answer

    @property
    def computed(self) -> int:
        """Return how many shards were computed, not found."""
        return sum(answer["do"] == "run" and not answer["cached"] for answer in self.answers)


@dataclass
class Workshop:
    """A running application and its worker."""

    house: House
    settings: Settings
    process: OwnProcess
    database: Database
    tokens: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Return the answer to a request."""
        answer: httpx.Response = self.house.ask(method, path, **more)
        return answer

    def create(self, path: str = "/api/v1/jobs", **body: Any) -> dict[str, Any]:
        """Return what was accepted."""
        response = self.ask("POST", path, json=body)
        assert response.status_code == 202, response.text
        found: dict[str, Any] = response.json()
        return found

    def job(self, job_id: str) -> dict[str, Any]:
        """Return a job as the API shows it."""
        response = self.ask("GET", f"/api/v1/jobs/{job_id}")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def work(self, job_id: str, *, shards: int | None = None) -> dict[str, Any]:
        """Return the job after its worker has run it, or the first so many of its shards."""

        async def run() -> None:
            room = WorkerRoom(Progress(self.database, worker="worker-0"), self.process)
            planned = await room.plan(job_id)
            for key in planned["keys"][:shards]:
                await room.shard(job_id, planned["plan"], key)
            if shards is None:
                await room.finish(job_id, planned["plan"])

        asyncio.run(run())
        return self.job(job_id)

    def until(self, condition: Callable[[], bool], *, seconds: float = 60) -> None:
        """Return once a condition holds; say what is broken where it never does."""
        deadline = time.monotonic() + seconds
        while not condition():
            broken = self.house.rooms.pool.broken()
            assert time.monotonic() < deadline, f"waited {seconds:g} s in vain; broken: {broken}"
            time.sleep(0.01)

    def upload(self, name: str, data: bytes, arch: str = "digits-cnn", **headers: str) -> httpx.Response:
        """Return the answer to an upload of weights."""
        headers = {"Repr-Digest": repr_digest(data), **headers}
        return self.ask("PUT", f"/api/v1/models/{name}?arch={arch}", content=data, headers=headers)


@contextmanager
def workshop(data: Path, **settings: Any) -> Iterator[Workshop]:
    """Yield an application on a data folder."""
    with opened(data=data, **settings) as house:
        own = house.rooms.settings
        database = Database(own.database_url)
        yield Workshop(house, own, OwnProcess(own), database)
        database.close()


def evaluation(**changes: Any) -> dict[str, Any]:
    """Return a small evaluation."""
    return {
        "type": "evaluate",
        "target": "digits",
        "data": {"name": "digits", "split": "test", "n": 12},
        "threat": {"norm": "linf", "epsilons": [0.1]},
        "suite": {"name": "quick"},
    } | changes


def weights(key: str = "digits-cnn") -> dict[str, Tensor]:
    """Return the tensors of an untrained network."""
    return {name: tensor.contiguous() for name, tensor in architectures.build(key).state_dict().items()}


def file_of(tensors: Mapping[str, Tensor]) -> bytes:
    """Return a safetensors file."""
    data: bytes = save(dict(tensors))
    return data


def repr_digest(data: bytes) -> str:
    """Return the header that promises a body."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"
