"""`levelset doctor`: what it finds, and what it must not show.

Mutations seen to turn a test red: a password shown; a broken record taken for well; the folder created.
"""

from pathlib import Path

import pytest

from service import doctor
from service.settings import Settings
from tests.service.cli.conftest import Levelset


def test_a_healthy_machine_is_exit_code_zero(levelset: Levelset, tmp_path: Path) -> None:
    """Versions, torchvision, folder and every setting are listed, and looking leaves nothing behind."""
    shown = levelset("doctor", "--data", tmp_path / "var")
    assert shown.code == 0, shown.out
    for subject in ("torch", "torchvision import", "GPU", "data folder", "architectures"):
        assert subject in shown.out
    for name in Settings.model_fields:
        assert f"LEVELSET_{name.upper()}" in shown.out
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_exit_code_one(levelset: Levelset, tmp_path: Path) -> None:
    """A file where a folder should be: what to do is printed beside it."""
    (tmp_path / "file").write_text("x")
    shown = levelset("doctor", "--data", tmp_path / "file" / "var")
    assert shown.code == 1
    assert "--data" in shown.out


def test_a_damaged_model_record_is_found(tmp_path: Path) -> None:
    """The finding quotes the repository's own message."""
    (tmp_path / "digits" / "1").mkdir(parents=True)
    (tmp_path / "digits" / "1" / "model.json").write_text("{}")
    finding = doctor.repository(tmp_path)
    assert not finding.well
    assert "model.json" in finding.state


def test_a_missing_package_is_found() -> None:
    """The remedy is the install line."""
    finding = doctor.package("levelset-absent")
    assert not finding.well
    assert "pip install -c constraints.txt" in finding.remedy


def test_passwords_are_not_shown() -> None:
    """A database address is printed without its password; changed settings are marked."""
    knobs = {knob.variable: knob for knob in doctor.knobs(Settings(database="postgresql://me:hunter2@db/x"))}
    assert "hunter2" not in knobs["LEVELSET_DATABASE"].value
    assert knobs["LEVELSET_DATABASE"].changed
    assert not knobs["LEVELSET_PORT"].changed


@pytest.mark.parametrize("version", [(3, 10), (3, 9)])
def test_an_old_python_is_found(version: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Too old an interpreter is a finding, a recent one is not."""
    assert doctor.interpreter().well
    monkeypatch.setattr("sys.version_info", (*version, 0, "final", 0))
    assert not doctor.interpreter().well
