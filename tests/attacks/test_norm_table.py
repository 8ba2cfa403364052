"""Every attack says in which norms it is defined, also to somebody who builds it without a suite.

Seen to fail when: a builder reads its table without asking; a kind declares a norm that its builder lacks.
"""

import inspect
from typing import Any

import pytest

from attacks.building import BUILDERS
from attacks.gradient import KEEP_SERVED_MARGIN
from attacks.kinds import KINDS
from attacks.threat import NORMS
from ensemble.errors import UnknownName

#: What a builder has no value of its own for.
GIVEN = {"keep": KEEP_SERVED_MARGIN, "steps": 2, "rel_stepsize": 0.1, "random_start": False}


def arguments_of(kind: str) -> dict[str, Any]:
    """The least that a builder must be given besides the norm."""
    wanted = inspect.signature(BUILDERS[kind]).parameters.values()
    named = {item.name for item in wanted if item.default is inspect.Parameter.empty and item.name != "norm"}
    passed_on = {"steps", "rel_stepsize", "random_start"} if "parameters" in named else set()
    return {name: GIVEN[name] for name in (named | passed_on) - {"parameters"}}


@pytest.mark.parametrize("norm", [*NORMS, "l0", ["l2"]])
@pytest.mark.parametrize("kind", list(BUILDERS))
def test_an_attack_is_built_in_its_own_norms_and_refused_in_others(kind: str, norm: Any) -> None:
    """The refusal names the attack and lists exactly the norms that the table of kinds declares."""
    own = KINDS[kind].norms
    if norm in own:
        assert callable(BUILDERS[kind](norm, **arguments_of(kind)).run)
        return
    listed = ", ".join(sorted(own))
    with pytest.raises(UnknownName, match=rf"unknown norm of .+: expected one of \[{listed}\], got .+; choose"):
        BUILDERS[kind](norm, **arguments_of(kind))
