"""`levelset keys`, `backup` and `restore`, and a settings file."""

from pathlib import Path

import pytest

from service.settings import Settings
from tests.service.cli.conftest import Levelset


def test_a_key_is_made_listed_and_revoked(levelset: Levelset, tmp_path: Path) -> None:
    """The key alone is on stdout, once; the list shows its id and end, never the key."""
    made = levelset("keys", "create", "--name", "ci", "--scope", "infer", "--scope", "read", "--data", tmp_path)
    token = made.out.strip()
    assert (made.code, token.count("_") >= 2, token.startswith("lvs_")) == (0, True, True)
    assert token not in made.err
    shown = levelset("keys", "list", "--data", tmp_path).out
    assert token.split("_")[1] in shown
    assert "infer read" in shown
    assert token[17:] not in shown
    assert levelset("keys", "revoke", token.split("_")[1], "--data", tmp_path).code == 0
    missing = levelset("keys", "revoke", "0" * 12, "--data", tmp_path)
    assert (missing.code, "expected the id" in missing.err) == (1, True)
    events = (tmp_path / "audit.log").read_text()
    assert '"key made"' in events
    assert '"key revoked"' in events
    assert token not in events


def test_a_key_that_cannot_be_made(levelset: Levelset, tmp_path: Path) -> None:
    """Unknown scopes and unusual names are one message each."""
    for words in (("--name", "ci", "--scope", "root"), ("--name", "a b", "--scope", "read")):
        shown = levelset("keys", "create", *words, "--data", tmp_path)
        assert shown.code == 1
        assert "expected" in shown.err
        assert not shown.out


def test_backup_and_restore(levelset: Levelset, tmp_path: Path) -> None:
    """A round trip keeps the keys; restoring over data is refused."""
    data, archive = tmp_path / "var", tmp_path / "b.tar"
    levelset("keys", "create", "--name", "ci", "--scope", "read", "--data", data)
    assert levelset("backup", archive, "--data", data).code == 0
    assert levelset("restore", archive, "--data", tmp_path / "new").code == 0
    shown = [levelset("keys", "list", "--data", folder).out for folder in (data, tmp_path / "new")]
    assert shown[0] == shown[1]
    assert levelset("restore", archive, "--data", data).code == 1


def test_settings_from_a_file(levelset: Levelset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A TOML file is read, variables win over it, `doctor` shows what counts, and mistakes are wrong usage."""
    path = tmp_path / "levelset.toml"
    path.write_text('port = 8111\nmax_rows = 7\nallowed_hosts = ["a.example"]\n')
    monkeypatch.setenv("LEVELSET_SETTINGS_FILE", str(path))
    monkeypatch.setenv("LEVELSET_MAX_ROWS", "9")
    monkeypatch.setenv("LEVELSET_API_KEY", "not-to-be-shown")
    assert (Settings().port, Settings().max_rows, Settings().allowed_hosts) == (8111, 9, ("a.example",))
    shown = levelset("doctor", "--data", tmp_path / "var")
    assert "8111" in shown.out
    assert "not-to-be-shown" not in shown.out
    assert "not-to-be-shown" not in str(Settings().to_environment())
    for mistake in ("port = 'x'", "colour = 1", "= ="):
        path.write_text(mistake)
        wrong = levelset("serve", "--data", tmp_path / "var")
        assert wrong.code == 2, mistake
        assert "Traceback" not in wrong.err
    monkeypatch.setenv("LEVELSET_SETTINGS_FILE", str(tmp_path / "absent"))
    assert levelset("serve", "--data", tmp_path / "var").code == 2
