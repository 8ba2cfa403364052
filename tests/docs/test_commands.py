"""Commands, options, targets, paths and variables that the documentation names exist.

Seen to fail with: an unknown command, an unknown option, a value outside an option's choices, an unknown make target, a
path or method the service does not have, an unknown LEVELSET_ variable, a job body the service refuses.
"""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
from pydantic import ValidationError
from starlette.routing import BaseRoute, Match

from service.app import create_app
from service.cli import create_cli
from service.jobs.specs import EvaluateJob
from service.settings import PREFIX, Settings
from tests.docs.pages import PAGES, ROOT, blocks, commands

CLI: Any = typer.main.get_command(create_cli())
_VARIABLE = re.compile(rf"\b{PREFIX}([A-Z_]*[A-Z])\b")
_PLACEHOLDERS = {"JOB": "job-0", "REPORT": "report-0"}


def command_faults(words: list[str]) -> list[str]:
    """Return what is wrong with one call of `levelset`, its words given without the program's name.

    The program's own parser reads the words; nothing is run. A command that is only mentioned needs no arguments.
    """
    if not words or words[0] in ("--help", "-h"):
        return []
    command = CLI.commands.get(words[0])
    if command is None:
        return [f"there is no command {words[0]!r}"]
    if len(words) == 1 or {"--help", "-h"} & set(words):
        return []
    try:
        command.make_context(words[0], words[1:])
    except Exception as error:  # the parser's errors have no public name
        return [str(error)]
    return []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_levelset_command_exists(page: Path) -> None:
    """Each call of `levelset`, in a block or inline, names a command and options that the program has."""
    calls = commands(page.read_text(encoding="utf-8"), "levelset")
    assert [fault for call in calls for fault in command_faults(call)] == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("levelset fly", "no command 'fly'"),
        ("levelset serve --colour red", "--colour"),
        ("levelset serve --role=boss", "boss"),
        ("cd x && levelset demo --sped 1  # a comment", "--sped"),
        ("levelset build --name x \\\n  --dataset digits", "arch"),
        ("LEVELSET_DATA=x levelset evaluate digits -n 200 --epsilon 0.1 | tee log", None),
        ("levelset demo", None),
    ],
)
def test_a_wrong_command_is_noticed(line: str, fault: str | None) -> None:
    """Unknown commands, options and choices and missing arguments are found; right calls pass."""
    (call,) = commands(f"```bash\n{line}\n```\n", "levelset")
    faults = command_faults(call)
    assert faults == [] if fault is None else fault in faults[0]


def test_every_make_target_exists() -> None:
    """Each `make TARGET` in the documentation is a target of the Makefile."""
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    calls = [call for page in PAGES for call in commands(page.read_text(encoding="utf-8"), "make")]
    named = {word for call in calls for word in call if "=" not in word}
    assert named
    assert named <= known


def curl_faults(words: list[str]) -> list[str]:
    """Return what is wrong with one call of `curl` against the service."""
    url = next((word for word in words if "//127.0.0.1:8000" in word or "//localhost:8000" in word), None)
    if url is None:
        return ["no address of the service"]
    body = next((words[index + 1] for index, word in enumerate(words) if word in ("-d", "--data")), None)
    method = words[words.index("-X") + 1] if "-X" in words else "GET" if body is None else "POST"
    path = urlsplit(url).path
    for name, value in _PLACEHOLDERS.items():
        path = path.replace(name, value)
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    if not any(route.matches(scope)[0] is Match.FULL for route in _routes()):
        return [f"no route for {method} {path}"]
    if body is not None and not body.startswith("@"):
        return _body_faults(path, body)
    return []


def _routes() -> list[BaseRoute]:
    return list(create_app(Settings(data=Path("nowhere"))).routes)


def _body_faults(path: str, body: str) -> list[str]:
    try:
        content = json.loads(body)
        if path == "/api/v1/jobs":
            EvaluateJob.model_validate(content)
    except (ValueError, ValidationError) as error:
        return [f"{path}: {str(error).splitlines()[0]}"]
    return []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_curl_line_fits_the_service(page: Path) -> None:
    """Each curl call names a path and a method that the application routes, and a job body that it accepts."""
    calls = commands(page.read_text(encoding="utf-8"), "curl")
    assert [fault for call in calls for fault in curl_faults(call)] == []


def test_a_wrong_curl_line_is_noticed() -> None:
    """Unknown paths, wrong methods and refused bodies are found."""
    lines = [
        "curl -s http://127.0.0.1:8000/v3/models",
        "curl -X DELETE http://127.0.0.1:8000/api/v1/jobs",
        'curl http://127.0.0.1:8000/api/v1/jobs -d \'{"type": "evaluate"}\'',
        "curl http://127.0.0.1:8000/api/v1/jobs -d '{not json}'",
    ]
    for line in lines:
        (call,) = commands(f"```bash\n{line}\n```\n", "curl")
        assert len(curl_faults(call)) == 1, line


def test_every_variable_exists() -> None:
    """Each LEVELSET_ variable that a page names is read by the settings."""
    known = {name.upper() for name in Settings.model_fields}
    for page in PAGES:
        assert set(_VARIABLE.findall(page.read_text(encoding="utf-8"))) <= known, page.name
    assert set(_VARIABLE.findall("`LEVELSET_COLOUR`")) - known == {"COLOUR"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_json_block_parses(page: Path) -> None:
    """Each json block is JSON, and each job body is one that the service accepts."""
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "json":
            content = json.loads(block.text)
            if isinstance(content, dict) and content.get("type") == "evaluate":
                EvaluateJob.model_validate(content)
