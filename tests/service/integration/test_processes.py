"""The process tree: one service per data folder, an orderly stop, no orphans.

Seen to fail: children that do not ask to die with their parent; the lock on the folder left out.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import MethodRefused
from service.security.keys import Order
from service.security.opening import open_store
from service.security.scopes import Scope
from service.settings import Settings
from service.supervisor import serve
from tests.service.inference.models import copy_models
from tests.service.integration.service_process import SERVE, Service, is_alive, running


def test_a_second_service_on_a_folder_is_refused(service: Service) -> None:
    """The folder is owned while its service runs, which goes on undisturbed."""
    environment = {**service.settings.to_environment()}
    second = subprocess.run(
        [sys.executable, "-c", SERVE], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert second.returncode != 0
    assert "DataFolderInUse" in second.stderr
    assert service.is_ready()


def test_kill_everything_then_stop_in_order(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Kill -9 takes all with it, the next start ends the job in the same report, SIGTERM ends all with code 0."""
    copy_models(tmp_path_factory, tmp_path)
    settings = Settings(data=tmp_path, port=0)
    with running(settings) as service:
        job_id = service.submit()
        service.wait_for_shards(job_id, 10)
        family = service.family()
        service.process.kill()
        service.process.wait()
        service.until(lambda: not any(map(is_alive, family)))
    with running(settings) as service:
        assert service.job(job_id)["progress"]["shards_done"] >= 10
        job = service.wait_for_end(job_id)
        assert service.report(job)["report_digest"] == service.undisturbed_digest(job_id)
        family = service.family()
        assert len(family) == 3
        assert service.close() == 0
        assert [pid for pid in family if is_alive(pid)] == []
        assert not (tmp_path / "service.json").exists()
        assert "Traceback" not in (tmp_path / "log.txt").read_text()


def test_an_open_address_needs_consent(tmp_path: Path) -> None:
    """Binding beyond loopback while every key is revoked refuses to start."""
    settings = Settings(data=tmp_path, host="0.0.0.0")
    database, keys = open_store(settings)
    keys.revoke(keys.create(Order("gone", frozenset({Scope.ADMIN}))).key.id)
    database.close()
    with pytest.raises(MethodRefused, match="loopback"):
        serve(settings)


def test_settings_survive_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child reads from its environment exactly what the parent was given."""
    settings = Settings(data=tmp_path, datasets={"mine": "npz:/x y.npz"}, allowed_hosts=("a", "b"), drain_delay=0.5)
    for name, value in settings.to_environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings
