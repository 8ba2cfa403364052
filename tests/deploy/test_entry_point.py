"""The image's command, run outside a container as inside one: another user, no home, a tree it cannot write."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 90.0
UID = 10001


def container_environment(data: Path, port: int) -> dict[str, str]:
    """Return the variables of the image and of the compose service, the data volume moved to a folder of the test."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text())
    runtime = text[text.index(" AS runtime") :]
    (line,) = [line for line in runtime.splitlines() if line.startswith("ENV ")]
    image = dict(re.findall(r"(\w+)=(\S+)", line))
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["levelset"]["environment"]
    moved = {name: value.replace("/data", str(data)) for name, value in (image | service).items()}
    here = {"PATH": os.environ["PATH"], "LEVELSET_PORT": str(port), "HOME": "/dev/null/nowhere", "OMP_NUM_THREADS": "1"}
    return moved | here


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(command: list[str], data: Path, log: Path) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """Yield port and process of a healthy service."""
    port = free_port()
    variables = container_environment(data, port)
    with log.open("wb") as output:
        service = subprocess.Popen(command, env=variables, cwd=data, stdout=output, stderr=output)
        try:
            wait_until_healthy(variables, service, log)
            yield port, service
        finally:
            service.kill()  # only where something failed: its children end with it
            service.wait()


@pytest.mark.slow
def test_the_image_s_command_serves_and_stops(tmp_path: Path) -> None:
    """It becomes ready, asks for the key it printed once, answers only known hosts, and ends with 0 on SIGTERM."""
    command = [str(Path(sys.executable).parent / "levelset"), "serve"]
    assert json.dumps(command[1:]) in (ROOT / "Dockerfile").read_text()
    data = tmp_path / "data"
    data.mkdir()
    with served(command, data, tmp_path / "log") as (port, service):
        check_the_first_key(data, tmp_path / "log", port)
        service.send_signal(signal.SIGTERM)
        assert service.wait(timeout=60) == 0, (tmp_path / "log").read_text()


@pytest.fixture
def commons() -> Iterator[Path]:
    """Return a folder that the image's user can reach; the usual one is closed to other users."""
    folder = Path("/tmp") / f"levelset-entry-{os.getpid()}"
    folder.mkdir(mode=0o755)
    yield folder
    shutil.rmtree(folder)


def as_the_image_s_user() -> list[str]:
    """Return the words that run a command as the image's user; skips where this machine cannot.

    Where the interpreter lies in somebody's closed home, the user gets one capability: to read everything. It still
    writes only what it owns.
    """
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None:
        pytest.skip("only root with setpriv may start a process as another user")
    plain = [setpriv, f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--no-new-privs"]
    reading = [*plain, "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    for words in ([*plain, "--inh-caps=-all"], reading):
        again = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import service.settings'], check=True)"
        probe = [*words, "--", sys.executable, "-c", again]
        if subprocess.run(probe, env={"PATH": os.environ["PATH"]}, capture_output=True, check=False).returncode == 0:
            return [*words, "--"]
    pytest.skip(f"user {UID} cannot read this environment, and no capability helps")


@pytest.mark.slow
def test_the_image_s_command_as_its_user_on_a_tree_it_cannot_write(commons: Path) -> None:
    """User 10001 without a home serves from code it cannot change, and writes below its data folder only."""
    words = as_the_image_s_user()
    data = commons / "data"
    data.mkdir(mode=0o750)
    os.chown(data, UID, UID)
    touch = subprocess.run([*words, "touch", str(ROOT / "service" / "x")], capture_output=True, check=False)
    assert touch.returncode != 0, "the tree can be written"
    command = [*words, sys.executable, "-c", "from service.cli import main; main(['serve'])"]
    with served(command, data, commons / "log") as (port, service):
        check_the_first_key(data, commons / "log", port)
        assert Path(f"/proc/{service.pid}").stat().st_uid == UID
        service.send_signal(signal.SIGTERM)
        assert service.wait(timeout=60) == 0, (commons / "log").read_text()
    assert {path.name for path in commons.iterdir()} == {"data", "log"}
    assert all(path.lstat().st_uid == UID for path in data.rglob("*"))
    assert "Permission denied" not in (commons / "log").read_text()


def check_the_first_key(data: Path, log: Path, port: int) -> None:
    """See that the key was printed once, lies in a private file, and is asked for."""
    key = (data / "first.key").read_text().strip()
    assert (data / "first.key").stat().st_mode & 0o777 == 0o600
    assert log.read_text().count(key) == 1
    assert status_of(port, "localhost") == 401
    assert status_of(port, "localhost", key) == 200
    assert status_of(port, "elsewhere.example", key) == 403


def wait_until_healthy(variables: dict[str, str], service: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return when the container's health check passes."""
    check = [sys.executable, "-m", "service.healthcheck"]
    end = time.monotonic() + PATIENCE_SECONDS
    while subprocess.run(check, env=variables, cwd=ROOT, capture_output=True, check=False).returncode != 0:
        assert service.poll() is None, f"the service ended before it was ready: {log.read_text()[-2000:]}"
        assert time.monotonic() < end, f"the service did not become ready in time: {log.read_text()[-2000:]}"
        time.sleep(0.5)


def status_of(port: int, host: str, key: str | None = None) -> int:
    """Return the status of the start page for a request that names the host and shows the key."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    headers = {"Host": host} | ({"Authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers=headers)
    try:
        with opener.open(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return int(error.code)
