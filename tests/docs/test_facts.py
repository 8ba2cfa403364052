"""Tables of the documentation say what the code's own tables say.

Seen to fail with: a check under another suite or with another rule, a check left out, an attack or recipe field
renamed, a setting whose default changed, an error type or an exit code left out.
"""

import re
from dataclasses import fields
from inspect import signature

from attacks.building import BUILDERS
from attacks.checks.table import SUITE_OF_LETTER, TABLE
from attacks.kinds import KINDS
from attacks.suites import QUICK
from attacks.threat import KNOWLEDGE
from ensemble import Recipe, presets
from ensemble.activations import TABLE as ACTIVATIONS
from service.cli import exit_codes
from service.jobs.states import JobState
from tests.docs.pages import ROOT


def rows(name: str, first: str) -> dict[str, list[str]]:
    """Return the table of a page whose first header cell is `first`: first cell -> the other cells."""
    lines = (ROOT / "docs" / name).read_text(encoding="utf-8").splitlines()
    found: dict[str, list[str]] = {}
    inside = False
    for line in lines:
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")] if line.startswith("|") else []
        if not cells:
            inside = False
        elif cells[0] == first:
            inside = True
        elif inside and not set(line) <= set("|-: "):
            found[cells[0].strip("`")] = [cell.strip() for cell in cells[1:]]
    return found


def test_the_table_of_checks_is_the_code_s() -> None:
    """Every check is listed once, with the first suite that requires it, its serving mode and its rule."""
    listed = rows("evaluation.md", "check")
    expected = {rule.id: [SUITE_OF_LETTER[rule.suite], rule.mode or "all", rule.text] for rule in TABLE}
    assert list(listed) == list(expected)
    assert listed == expected


def test_the_attacks_of_the_suite_are_listed() -> None:
    """The quick suite's table names its rows, in order."""
    assert list(rows("evaluation.md", "attack")) == [row.id for row in QUICK.rows]


def test_the_kinds_of_attack_are_listed() -> None:
    """Every kind is listed with its norms, and with parameters that its builder takes."""
    listed = rows("evaluation.md", "kind")
    assert set(listed) == set(KINDS)
    for kind, (norms, _, parameters) in listed.items():
        assert norms == ", ".join(KINDS[kind].norms), kind
        taken = set(signature(BUILDERS[kind]).parameters) - {"norm", "keep"}
        own = {name.strip("`") for name in parameters.split(", ") if name and not name.startswith("as ")}
        inherited = {"steps", "rel_stepsize", "random_start", "decay", "lookahead", "transforms", "smoothing"}
        more = {"probability", "spread"} if "as `mi_di`" in parameters else set()
        assert own | more >= taken - inherited - {"parameters"}, kind
        assert own <= taken | inherited, kind


def test_the_threat_models_are_listed() -> None:
    """Every kind of knowledge that can be run today is described and marked so."""
    listed = rows("threat-models.md", "threat model")
    assert {name for name, cells in listed.items() if cells[-1] == "yes"} == set(KNOWLEDGE)


def test_every_recipe_field_is_described_with_its_default() -> None:
    """The table of recipe fields has each field once, with the default that the code has."""
    listed = rows("generation.md", "field")
    defaults = {field.name: getattr(Recipe(), field.name) for field in fields(Recipe)}
    assert sorted(listed) == sorted(defaults)
    for name, value in defaults.items():
        assert _number(listed[name][0]) == value, name


def _number(cell: str) -> object:
    text = cell.strip("`")
    if text == "none":
        return None
    assert re.fullmatch(r"[\d.,()/ e\-]+", text), text
    return eval(text)  # arithmetic only: the pattern above allows nothing else


def test_presets_and_activations_are_named() -> None:
    """Each preset is named on the page about generation, each known activation on the page about symmetries."""
    generation = (ROOT / "docs" / "generation.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in generation for name in presets)
    listed = rows("symmetries.md", "activation")
    named = {name for cell in listed for name in re.findall(r"`(\w+)`", f"`{cell}`")}
    assert named == {row.name for row in ACTIVATIONS}


def test_job_states_and_exit_codes_are_listed() -> None:
    """The page about jobs lists every state; the page about serving lists every exit code."""
    assert set(rows("jobs.md", "state")) == {state.value for state in JobState}
    codes = {value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)}
    assert {int(code) for code in rows("serving.md", "exit code")} == codes
