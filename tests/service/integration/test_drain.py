"""An orderly stop: not ready at once, still answering, then refusing, and nothing that was taken is lost.

Seen to fail: new work refused at the signal itself; the stop not waiting for a body on its way; the connection of a
refusal left open; the exit code of a signal.
"""

import http.client
import json
import os
import signal
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from service.settings import Settings
from tests.service.inference.models import copy_models
from tests.service.integration.service_process import Service, running

ROW = {"name": "input", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": [0.5] * 64}
BODY = json.dumps({"inputs": [ROW]}).encode()
DELAY = 1.5


def statuses(service: Service) -> tuple[int, int]:
    """Return the statuses of readiness and of an inference."""
    ready = service.client.get("/v2/health/ready").status_code
    return ready, service.client.post("/v2/models/digits/infer", content=BODY).status_code


def test_a_stop_loses_nothing(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A request whose body arrives during the stop is answered; the log is JSON and names it by its own id."""
    copy_models(tmp_path_factory, tmp_path)
    settings = Settings(data=tmp_path, port=0, drain_delay=DELAY, drain_grace=15.0, log_format="json", log_level="info")
    with running(settings) as service:
        address = urlsplit(str(service.client.base_url)).netloc
        slow = http.client.HTTPConnection(address, timeout=30)
        slow.putrequest("POST", "/v2/models/digits/infer")
        slow.putheader("Content-Length", str(len(BODY)))
        slow.putheader("X-Request-ID", "slow-one")
        slow.putheader("traceparent", f"00-{'a' * 32}-{'b' * 16}-01")
        slow.endheaders(BODY[:10])
        assert statuses(service) == (200, 200)
        web = service.child("web")
        os.kill(web, signal.SIGTERM)
        told = time.monotonic()
        service.until(lambda: service.client.get("/v2/health/ready").status_code == 503)
        assert time.monotonic() - told < DELAY
        assert statuses(service) == (503, 200)
        service.until(lambda: statuses(service) == (503, 503))
        refused = service.client.post("/v2/models/digits/infer", content=BODY)
        assert (refused.headers["Connection"], refused.headers["Retry-After"]) == ("close", "2")
        assert "stopping" in refused.json()["error"]
        slow.send(BODY[10:])
        answer = slow.getresponse()
        assert answer.status == 200
        assert answer.headers["traceparent"].startswith(f"00-{'a' * 32}-")
        assert json.loads(answer.read())["model_name"] == "digits"
        slow.close()
        service.until(lambda: service.is_ready() and service.child("web") != web)
    lines = [json.loads(line) for line in (tmp_path / "log.txt").read_text().splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line.get("request_id") == "slow-one"]
    assert (line["status"], line["route"], line["trace_id"]) == (200, "/v2/models/{model}/infer", "a" * 32)
    restarted = (tmp_path / "log.txt").read_text()
    assert "the web process ended with code 0" in restarted
    assert "Traceback" not in restarted
