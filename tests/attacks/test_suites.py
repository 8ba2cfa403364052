"""Suites are data: every row names things that exist.

Seen to fail with: two rows of one id; "others" not written out per mode; a random-serving row left in a deterministic
mode; a parameter that the builder does not take; a kind without a builder.
"""

import pytest

from attacks.building import BUILDERS, build_attack, query_budget
from attacks.kinds import KINDS
from attacks.modes import SERVING_MODES
from attacks.rows import OTHER_MODES, RADII, AttackRow, Suite
from attacks.suites import STANDARD, SUITES, suite_named
from attacks.threat import KNOWLEDGE, NORMS
from attacks.workshop import INDEPENDENT, INDEPENDENTS, MATERIALS
from ensemble.errors import UnknownName

CASES = [(suite, mode) for suite in SUITES.values() for mode in SERVING_MODES]


@pytest.mark.parametrize(("suite", "mode"), CASES, ids=lambda case: getattr(case, "name", case))
def test_every_row_names_what_exists(suite: Suite, mode: str) -> None:
    """Ids are unique; kinds, knowledge, radii, norms and surrogates are those of their tables."""
    own = suite.served_as(mode)
    rows = (*own.rows, *own.audits)
    assert len({row.id for row in rows}) == len(rows)
    names = {"base", "target", "members", INDEPENDENT, INDEPENDENTS, *(row.name for row in suite.surrogates)}
    for row in rows:
        assert (row.kind in KINDS, row.knowledge in KNOWLEDGE, row.radii in RADII) == (True, True, True), row.id
        assert row.surrogate in names, row.id
        assert row.through in ("", *OTHER_MODES[mode]), row.id
        assert "{" not in row.id
    assert set(suite.norms) <= set(NORMS)
    assert {row.material for row in suite.surrogates} <= set(MATERIALS)


@pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.name)
def test_every_row_can_be_built(suite: Suite) -> None:
    """Each builder takes its row's parameters, in every norm of its kind; nothing is left out for want of code."""
    for mode in SERVING_MODES:
        own = suite.served_as(mode)
        for row in (*own.rows, *own.audits):
            assert row.kind in BUILDERS, row.id
            for norm in KINDS[row.kind].norms:
                for served in (True, False):
                    assert hasattr(build_attack(row, norm, served=served), "run"), row.id


def test_random_serving_has_rows_of_its_own() -> None:
    """Expectation and greedy attack stand in place of the deterministic white box, in that mode alone."""
    for suite in SUITES.values():
        kinds = {mode: {row.kind for row in suite.served_as(mode).rows} for mode in SERVING_MODES}
        assert "greedy_members" in kinds["random_member"]
        assert all("greedy_members" not in kinds[mode] for mode in ("prob", "logit", "vote"))
        white = [row.id for row in suite.served_as("random_member").rows if row.knowledge == "white_box"]
        assert not any("through" in name for name in white)


def test_the_other_modes_are_written_out() -> None:
    """One surrogate row per mode that is not the served one."""
    for mode, others in OTHER_MODES.items():
        rows = suite_named("standard").served_as(mode).rows
        assert tuple(row.through for row in rows if row.through) == others


def test_unknown_names_list_the_known_ones() -> None:
    """Of suites and of attacks."""
    with pytest.raises(UnknownName, match=r"\[quick, standard, thorough\]"):
        suite_named("slow")
    with pytest.raises(UnknownName, match="fgsm@stolen_base"):
        suite_named("quick").row("fgsm")


def test_every_kind_can_be_built() -> None:
    """Traits and builders are about the same kinds, and each builds in each of its norms, and in no other."""
    assert set(KINDS) == set(BUILDERS)
    for kind, traits in KINDS.items():
        stepwise = kind in ("pgd", "mi", "ni", "mi_di", "mi_di_ti_si", "vmi", "admix", "sgm")
        needed = {"steps": 2, "rel_stepsize": 0.1, "random_start": False} if stepwise else {}
        for norm in NORMS:
            row = AttackRow("row", kind, "white_box", needed, surrogate="target")
            if norm in traits.norms:
                assert hasattr(build_attack(row, norm, served=True), "run"), (kind, norm)
            else:
                with pytest.raises(UnknownName):
                    build_attack(row, norm, served=True)


def test_the_budget_of_a_query_attack_is_known_where_its_row_names_none() -> None:
    """HopSkipJump's row leaves its budget to the attack; a gradient attack asks for nothing."""
    budgets = {row.id: query_budget(row) for row in STANDARD.rows}
    assert budgets["hopskipjump-20"] == 20_000
    assert budgets["square-1000"] == 1000
    assert budgets["apgd-ce-100@white_box"] == 0
