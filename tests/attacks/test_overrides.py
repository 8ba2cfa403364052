"""Suites with changed rows, and the table of parameters they are judged by.

Seen to fail when: a parameter is missing from the table; a boolean passes for a number; NaN passes a range.
"""

from inspect import signature
from typing import Any

import pytest

from attacks.building import BUILDERS, build_attack
from attacks.kinds import KINDS
from attacks.overrides import Overrides, with_overrides
from attacks.parameters import PARAMETERS, check_parameters, parameter_schema
from attacks.suites import QUICK, SUITES
from ensemble.errors import InputError

INSIDE = {"norm", "keep", "parameters", "chunk", "size"}  # ours, not a client's


def test_the_table_has_every_parameter_of_every_builder() -> None:
    """Each kind has a row; each row names what its builder takes; required is what has no default."""
    assert set(PARAMETERS) == set(KINDS) == set(BUILDERS)
    for kind, builder in BUILDERS.items():
        taken = {name: one for name, one in signature(builder).parameters.items() if name not in INSIDE}
        own = {name for name in taken if name not in ("lookahead", "transforms", "smoothing")}
        assert own <= set(PARAMETERS[kind]), kind
        for name, one in taken.items():
            if name in PARAMETERS[kind]:
                assert PARAMETERS[kind][name].required == (one.default is one.empty), (kind, name)


def test_every_suite_fits_the_table() -> None:
    """The ranges hold what the published suites use, and attacks can be built at their least values."""
    for suite in SUITES.values():
        for row in suite.rows:
            check_parameters(row.kind, row.parameters, where=row.id)
    for kind, known in PARAMETERS.items():
        least = {name: False if one.low is None else one.low for name, one in known.items() if one.required}
        row = with_overrides(QUICK, Overrides(change={})).rows[0]
        build_attack(type(row)("x", kind, "white_box", least), KINDS[kind].norms[0], served=True)
        assert set(parameter_schema(kind)["properties"]) == set(known)


def test_rows_are_removed_changed_and_added() -> None:
    """What was left out is said; the version tells such a suite from the published one, and two such apart."""
    added = {"id": "mine", "kind": "pgd", "parameters": {"steps": 3, "rel_stepsize": 0.3, "random_start": True}}
    overrides = Overrides(remove=["noise-uniform-10"], change={"apgd-ce-20@white_box": {"steps": 2}}, add=[added])
    suite = with_overrides(QUICK, overrides)
    rows = {row.id: row for row in suite.rows}
    assert "noise-uniform-10" not in rows
    assert rows["apgd-ce-20@white_box"].parameters == {"steps": 2}
    assert (rows["mine"].knowledge, rows["mine"].surrogate) == ("white_box", "target")
    assert ("noise-uniform-10", "removed by the request") in suite.not_run
    assert suite.version.startswith(f"{QUICK.version}+")
    assert suite.version != with_overrides(QUICK, Overrides(remove=["noise-uniform-10"])).version
    assert with_overrides(QUICK, Overrides()) is QUICK


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"remove": ["nobody"]}, "row"),
        ({"change": {"nobody": {}}}, "row"),
        ({"change": {"apgd-ce-20@white_box": {"steps": 10**9}}}, "maximum"),
        ({"change": {"apgd-ce-20@white_box": {"steps": True}}}, "integer"),
        ({"change": {"apgd-ce-20@white_box": {"steps": 1.5}}}, "integer"),
        ({"change": {"apgd-ce-20@white_box": {"__class__": 1}}}, "leave it out"),
        ({"change": {"mi-di-10@stolen_base": {"probability": float("nan")}}}, "number"),
        ({"remove": [row.id for row in QUICK.rows]}, "at least one row"),
        ({"add": [{"id": "x", "kind": "pgd"}]}, "none"),
        ({"add": [{"id": "x", "kind": "os.system"}]}, "attack"),
        ({"add": [{"id": "apgd-ce-20@white_box", "kind": "fgsm"}]}, "rename"),
        ({"add": [{"id": "x", "kind": "square"}]}, "asks no questions"),
        ({"add": [{"id": "x", "kind": "fgsm"}, {"id": "x", "kind": "fgsm"}]}, "twice"),
    ],
)
def test_changes_that_cannot_be_made(changes: dict[str, Any], words: str) -> None:
    """Each refusal names what is wrong."""
    with pytest.raises(InputError, match=words):
        with_overrides(QUICK, Overrides(**changes))
