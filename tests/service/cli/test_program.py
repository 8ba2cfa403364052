"""The command line as a whole: help, exit codes, and how failures look.

Mutations seen to turn a test red: domain errors not caught; every exception caught; torch imported at the top of a
command module; an example left out.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from service.cli import program
from service.cli.program import COMMANDS
from tests.service.cli.conftest import Levelset


def test_help_lists_every_command_and_the_exit_codes(levelset: Levelset) -> None:
    """The first page a user sees says what there is and what scripts may rely on."""
    shown = levelset("--help")
    assert shown.code == 0
    for name in ("demo", "build", "evaluate", "serve", "report", "sites", "doctor"):
        assert name in shown.out
    assert "Exit codes" in shown.out
    assert levelset().out.strip() == shown.out.strip()  # no command at all teaches too


@pytest.mark.parametrize("module", COMMANDS, ids=lambda module: module.NAME)
def test_every_command_teaches_with_an_example(levelset: Levelset, module: object) -> None:
    """`--help` of each command ends with a line that can be typed."""
    shown = levelset(module.NAME, "--help")  # type: ignore[attr-defined]
    assert shown.code == 0
    assert f"Example: levelset {module.NAME}" in shown.out  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("build",),
        ("evaluate",),
        ("evaluate", "x", "-n", "0"),
        ("serve", "--port", "70000"),
        ("demo", "x"),
    ],
)
def test_wrong_usage_is_exit_code_two(levelset: Levelset, arguments: tuple[str, ...]) -> None:
    """Missing or impossible options are told apart from what cannot be done."""
    shown = levelset(*arguments)
    assert shown.code == 2
    assert "Usage" in shown.err
    assert "Traceback" not in shown.err


def test_a_wrong_environment_is_wrong_usage(levelset: Levelset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad LEVELSET_ variable is named."""
    monkeypatch.setenv("LEVELSET_MAX_ROWS", "many")
    shown = levelset("doctor")
    assert shown.code == 2
    assert "LEVELSET_MAX_ROWS" in shown.err


def test_a_domain_error_is_one_message_and_exit_code_one(levelset: Levelset, tmp_path: object) -> None:
    """What cannot be done is said on stderr in one paragraph, brackets intact, without a traceback."""
    shown = levelset("evaluate", "absent", "--data", tmp_path)
    assert (shown.code, shown.out) == (1, "")
    assert "unknown ensemble: expected one of [none], got 'absent'" in shown.err
    assert "Traceback" not in shown.err


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_a_data_folder_that_cannot_be_one_is_said(levelset: Levelset, tmp_path: Path, command: str) -> None:
    """A file, or a place where nothing can be created, is named with the remedy."""
    (tmp_path / "file").write_text("")
    for data in (tmp_path / "file", tmp_path / "file" / "deeper", Path("/proc/levelset")):
        shown = levelset(command, "--data", data)
        assert shown.code == 1, shown.err
        assert "Traceback" not in shown.err
        assert str(data) in shown.err


def test_help_shows_what_is_meant(levelset: Levelset) -> None:
    """Nothing of a help text is eaten by its markup."""
    assert "cuda:N" in levelset("build", "--help").out


def test_a_bug_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected exception keeps its traceback."""

    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(program, "create_cli", broken)
    with pytest.raises(ZeroDivisionError):
        program.main([])


def test_help_needs_neither_torch_nor_the_web_stack() -> None:
    """The command line answers at once: heavy packages are loaded by the command that needs them."""
    code = (
        "import sys\n"
        "from service.cli import main\n"
        "try:\n    main(['serve', '--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'fastapi', 'foolbox', 'torchvision'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_the_module_runs_like_the_script() -> None:
    """`python -m service.cli` is what our own processes start."""
    done = subprocess.run([sys.executable, "-m", "service.cli", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "levelset [OPTIONS] COMMAND" in done.stdout
