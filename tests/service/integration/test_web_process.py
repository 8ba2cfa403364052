"""What a web process that answers has in memory: no attack, no attack library, no plotting.

Seen to fail: the desk's import of a suites table that builds attacks; torchvision loaded at every start.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.settings import Settings
from tests.service.inference.models import copy_models

ANSWER_AND_LIST = """
import asyncio, json, sys
import httpx
from service.app import create_app
from service.settings import Settings

JOB = {"type": "evaluate", "target": "digits", "data": {"name": "digits", "n": 8}, "threat": {"epsilons": [0.1]}}
ROWS = {"inputs": [{"name": "input", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": [0.5] * 64}]}

async def main():
    app = create_app(Settings())
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")
    async with app.router.lifespan_context(app), client as web:
        while (await web.get("/v2/health/ready")).status_code != 200:
            await asyncio.sleep(0.05)
        early = sorted(sys.modules)
        paths = ("/", "/api/v1/capabilities", "/api/v1/ensembles", "/api/v1/reports")
        answers = [await web.get(path) for path in paths]
        answers += [await web.post("/v2/models/digits/infer", json=ROWS), await web.post("/api/v1/jobs", json=JOB)]
        answers += [await web.get(answers[-1].json()["links"]["page"])]
    statuses = [answer.status_code for answer in answers]
    print(json.dumps({"statuses": statuses, "modules": sorted(sys.modules), "early": early}))

asyncio.run(main())
"""


def test_the_web_process_never_loads_an_attack(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """After pages, an inference and a new job, no attack is loaded; the list of networks only when it is asked for."""
    copy_models(tmp_path_factory, tmp_path)
    environment = {**os.environ, **Settings(data=tmp_path).to_environment()}
    command = [sys.executable, "-c", ANSWER_AND_LIST]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["statuses"] == [200, 200, 200, 200, 200, 202, 200]
    assert not {"torchvision", "torch._dynamo"} & set(found["early"])
    loaded = set(found["modules"])
    assert {"torch", "dbos", "attacks.suites"} <= loaded
    assert loaded & {"foolbox", "eagerpy", "matplotlib"} == set()
    assert loaded & {"attacks.shards", "attacks.gradient", "attacks.targets", "attacks.evaluation"} == set()
