"""KServe's REST client against a real server, in an environment of its own: it conflicts with other clients' packages.

    python -m venv FOLDER && FOLDER/bin/pip install "kserve==0.21.*"
    LEVELSET_KSERVE_PYTHON=FOLDER/bin/python pytest tests/service/clients/test_kserve.py

Seen to fail: health without a JSON body; binary outputs sent to a request that did not ask for them.
"""

import json
import os
import subprocess

import numpy as np
import pytest

from tests.service.clients.live import Live

PYTHON = os.environ.get("LEVELSET_KSERVE_PYTHON")
pytestmark = pytest.mark.skipif(PYTHON is None, reason="needs LEVELSET_KSERVE_PYTHON, an environment with kserve")

ASK = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

async def main(url):
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    rows = np.linspace(0, 1, 2 * 64, dtype=np.float32).reshape(2, 1, 8, 8)
    found = {
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model": await client.is_model_ready(url, "digits"),
    }
    for name, binary in (("binary", True), ("json", False)):
        tensor = InferInput("input", list(rows.shape), "FP32")
        tensor.set_data_from_numpy(rows, binary_data=binary)
        answer = await client.infer(url, InferRequest("digits", [tensor], request_id="k"), model_name="digits")
        outputs = {output.name: output.as_numpy().tolist() for output in answer.outputs}
        found[name] = {"labels": outputs["labels"], "probabilities": outputs["probabilities"]}
    print(json.dumps(found))

asyncio.run(main(sys.argv[1]))
"""


def test_kserves_client(server: Live) -> None:
    """Live, ready, model ready, and inference in both forms."""
    assert PYTHON is not None
    command = [PYTHON, "-c", ASK, f"http://{server.address}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["live"], found["ready"], found["model"]) == (True, True, True)
    assert found["binary"]["labels"] == found["json"]["labels"]
    np.testing.assert_allclose(found["binary"]["probabilities"], found["json"]["probabilities"], rtol=1e-4, atol=1e-5)
