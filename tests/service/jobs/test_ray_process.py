"""Shards on a real Ray: the bytes of the local executor; nothing of Ray is loaded before it is chosen.

Not yet mutated: no planted bug has been tried against these tests.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.jobs.ray_process import RayProcess
from service.jobs.shard_process import ShardFailed, ShardProcess
from service.settings import Settings

SPEC = {"type": "figures", "figures": [4], "full": False}


def test_ray_is_not_imported_before_it_is_chosen() -> None:
    """Neither the worker nor the handle's own module loads it."""
    check = "import service.jobs.worker, service.jobs.ray_process, sys; print('ray' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Start one local Ray of two CPUs, with no warning of its own turned into an error."""
    ray = pytest.importorskip("ray", reason="levelset[ray] is not installed")
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("cluster")
def test_a_shard_on_ray_gives_the_bytes_of_a_child(tmp_path: Path) -> None:
    """Two empty folders, one digest; a shard at fault fails with its code and leaves the next one alone."""

    async def digests(process: ShardProcess) -> list[Any]:
        process.warm_up()
        with pytest.raises(ShardFailed) as failed:
            await process.ask({"do": "plan", "spec": {"type": "unknown"}})
        assert failed.value.code == "invalid"
        planned = await process.ask({"do": "plan", "spec": SPEC})
        asked = [{"do": "run", "spec": SPEC, "plan": planned["plan"], "key": key} for key in planned["keys"]]
        answers = [await process.ask(question) for question in asked]
        assert not any(answer["cached"] for answer in answers)
        return [answer["digest"] for answer in answers]

    local = ShardProcess(Settings(data=tmp_path / "local"))
    found = asyncio.run(digests(local))
    local.kill()
    assert asyncio.run(digests(RayProcess(Settings(data=tmp_path / "ray")))) == found
