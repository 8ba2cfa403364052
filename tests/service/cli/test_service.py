"""The command line against a real service: process, client, `evaluate --url`, the demo.

Mutations seen to turn a test red: SIGTERM not sent (the lock stays held); a stale address file believed; `-n` not
posted; the wrong pixel order in the pasted example.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from sklearn.datasets import load_digits

from service.catalogue import datasets
from service.catalogue.repository import ModelRepository
from service.cli import demo_service
from service.cli.client import JobProgress, ServiceClient, ServiceFailure, shape_of
from service.cli.process import running_service
from service.cli.report_files import read_report
from service.errors import DataFolderInUse
from service.settings import Settings
from service.supervisor import ADDRESS_FILE, owned
from tests.service.cli.conftest import Levelset


@pytest.fixture(scope="module")
def served(stock: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Yield the address and the data folder of a running service with the ensemble `small`."""
    data = tmp_path_factory.mktemp("served")
    shutil.copytree(stock / "var" / "models", data / "models")
    with running_service(Settings(data=data, port=0)) as url:
        yield url, data


@contextmanager
def decoy() -> Iterator[str]:
    """Yield the address of a server that calls itself ready and is none of ours."""

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Ready) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def client(served: tuple[str, Path]) -> Iterator[ServiceClient]:
    """Yield a client of the running service."""
    with ServiceClient(served[0]) as client:
        yield client


def test_inference_over_http_is_inference_in_process(client: ServiceClient, served: tuple[str, Path]) -> None:
    """Probabilities of six images agree with the stored ensemble's own."""
    inputs = datasets.load("digits").part("test", 6).inputs
    expected = ModelRepository(served[1] / "models").load("small").predict(inputs)
    answer = client.infer("small", inputs.tolist(), outputs=("probabilities", "labels"))
    found = torch.tensor(answer["probabilities"]).reshape(6, 10)
    torch.testing.assert_close(found, expected.probabilities, rtol=1e-4, atol=1e-5)
    assert answer["labels"] == expected.labels.tolist()
    assert set(answer) == {"probabilities", "labels"}


def test_records_of_the_repository_come_over_http(client: ServiceClient, served: tuple[str, Path]) -> None:
    """What `evaluate --url` needs to know: shape and data set; an absent name is said."""
    info = ModelRepository(served[1] / "models").info("small")
    record = client.record("small")
    assert (record["digest"], record["dataset"], record["input_shape"]) == (info.digest, "digits", [1, 8, 8])
    assert client.model("small")["inputs"][0]["shape"] == [-1, 1, 8, 8]
    with pytest.raises(ServiceFailure, match="none of that name"):
        client.record("absent")


def test_refusals_carry_the_services_reason(client: ServiceClient) -> None:
    """Status and text of both error forms reach the user."""
    with pytest.raises(ServiceFailure, match=r"HTTP 404.*absent"):
        client.infer("absent", [[[[0.0]]]])
    with pytest.raises(ServiceFailure, match="HTTP 4"):
        client.infer("small", [[[[0.5]]]])
    with pytest.raises(ServiceFailure, match="HTTP 422"):
        client.submit({"type": "evaluate", "target": "small", "data": {"name": "absent", "split": "test", "n": 9}})


def test_evaluate_posts_a_job_and_gets_the_report_of_this_process(
    levelset: Levelset, served: tuple[str, Path], tmp_path: Path
) -> None:
    """The durable job and the in-process evaluation of one order have the same numbers."""
    order = ["evaluate", "small", "-n", 40, "--epsilon", 0.1, "--seed", 3]
    posted = levelset(*order, "--url", served[0], "--data", tmp_path / "a", "--out", tmp_path / "there")
    assert posted.code == 0, posted.err
    here = levelset(*order, "--data", served[1], "--out", tmp_path / "here")
    assert here.code == 0, here.err
    reports = [read_report(tmp_path / name / "report.json") for name in ("there", "here")]
    assert reports[0].headline == reports[1].headline
    assert reports[0].threat_models == reports[1].threat_models
    assert reports[0].data.n == 40


def test_waiting_reports_progress_up_to_the_end(client: ServiceClient) -> None:
    """The counts never fall and end complete."""
    seen: list[JobProgress] = []
    spec = {
        "type": "evaluate",
        "target": "small",
        "data": {"name": "digits", "split": "test", "n": 30},
        "threat": {"norm": "linf", "epsilons": [0.2], "bounds": [0, 1]},
        "suite": {"name": "quick"},
        "block": 10,
    }
    job = client.wait(client.submit(spec), progress=seen.append, interval=0.05)
    assert job["state"] == "succeeded"
    assert [step.done for step in seen] == sorted(step.done for step in seen)
    assert seen[-1].done == seen[-1].total > 10


def test_no_service_is_exit_code_four(levelset: Levelset, tmp_path: Path) -> None:
    """Nothing listens: the message says how to start one."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        shown = levelset("evaluate", "small", "--url", url, "--data", tmp_path)
    assert shown.code == 4
    assert "levelset serve" in shown.err


def test_a_second_service_on_the_folder_says_so(levelset: Levelset, served: tuple[str, Path]) -> None:
    """The owner of the data folder keeps it; the second process ends with one message and its log is quoted."""
    shown = levelset("serve", "--data", served[1], "--port", 0)
    assert shown.code == 1
    assert "another folder" in shown.err
    with pytest.raises(ServiceFailure, match="its log ends"), running_service(Settings(data=served[1], port=0)):
        pass


def test_a_taken_port_is_one_message(levelset: Levelset, tmp_path: Path) -> None:
    """Exit code 4 and the remedy, no traceback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        shown = levelset("serve", "--data", tmp_path, "--port", taken.getsockname()[1])
    assert shown.code == 4
    assert "choose another port" in shown.err


def test_an_open_address_is_refused(levelset: Levelset, tmp_path: Path) -> None:
    """Beyond loopback nobody is served once every key is revoked."""
    key = levelset("keys", "create", "--name", "gone", "--scope", "admin", "--data", tmp_path).out.split("_")[1]
    assert levelset("keys", "revoke", key, "--data", tmp_path).code == 0
    shown = levelset("serve", "--host", "0.0.0.0", "--data", tmp_path, "--port", 0)
    assert shown.code == 1
    assert "--insecure" in shown.err


def test_the_service_is_stopped_with_its_children(stock: Path, tmp_path: Path) -> None:
    """After the block nothing listens, and the locks of all three processes are free."""
    shutil.copytree(stock / "var" / "models", tmp_path / "models")
    with decoy() as stale:
        (tmp_path / ADDRESS_FILE).write_text(json.dumps({"url": stale, "pid": 1}))  # as a crash leaves it
        with running_service(Settings(data=tmp_path, port=0)) as url:
            assert url != stale
            assert httpx.get(f"{url}/v2/health/live").json() == {"live": True}
            with pytest.raises(DataFolderInUse), owned(tmp_path / "web.lock", wait=0):
                pass
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/v2/health/live")
    for lock in ("service", "web", "worker-0"):
        with owned(tmp_path / f"{lock}.lock", wait=0):
            pass


def test_the_pasted_digit_is_the_first_of_the_data_set() -> None:
    """The example request holds a real zero, row by row."""
    assert (load_digits().images[0] / 16).flatten().tolist() == demo_service.ZERO
    assert load_digits().target[0] == 0


@pytest.mark.slow
def test_the_demo_runs_and_its_lines_work_when_pasted(tmp_path: Path) -> None:
    """The main job end to end in one process tree; then the service left running answers each printed line."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    levelset = [sys.executable, "-m", "service.cli"]
    done = subprocess.run(
        [*levelset, "demo", "--data", str(tmp_path)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    page = Path(re.findall(r"report: (.*)", done.stdout)[0])
    assert page.read_text().startswith("<!doctype html>") or "<html" in page.read_text()[:200].lower()
    assert all(word in done.stdout for word in ("none (clean)", "stolen base", "white box", "base", "ensemble"))
    report = read_report(tmp_path / "reports" / "digits" / "report.json")
    assert report.headline.clean_accuracy.k > 0.9 * report.data.n
    assert report.subject.members == 8
    serving = subprocess.Popen(
        [*levelset, "demo", "--serve", "--port", "0", "--data", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert serving.stdout is not None
    try:
        lines = [line.strip() for line in (serving.stdout.readline() for _ in range(4)) if line.startswith("curl")]
        assert len(lines) == 3
        answers = [paste(line) for line in lines]
        assert answers[0]["name"] == "digits"
        assert {output["name"]: output["data"] for output in answers[1]["outputs"]}["labels"] == [0]
        assert answers[2]["state"] in ("queued", "running")
    finally:
        serving.send_signal(signal.SIGINT)
        assert serving.wait(60) == 0
        serving.stdout.close()


def paste(line: str) -> dict[str, Any]:
    """Return the JSON a shell gets for a pasted curl line; httpx sends the same bytes where curl is absent."""
    words = shlex.split(line)
    if shutil.which("curl"):
        return dict(json.loads(subprocess.run(words, capture_output=True, check=True).stdout))
    body = words[words.index("-d") + 1] if "-d" in words else None
    url = next(word for word in words if word.startswith("http"))
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if "-H" in words:
        name, _, value = words[words.index("-H") + 1].partition(": ")
        headers = {name: value}
    response = httpx.post(url, content=body, headers=headers) if body else httpx.get(url)
    return dict(response.raise_for_status().json())


def test_shapes_of_nested_lists() -> None:
    """The client declares the shape its data has."""
    assert shape_of([[[[0.0, 1.0]]], [[[0.0, 1.0]]]]) == [2, 1, 1, 2]
    assert shape_of([]) == [0]
