"""Named, versioned lists of attacks. A suite is data; a row says what is run, on what, and with which parameters.

Reading a suite loads no attack library: `attacks.building` makes attacks of rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ensemble.errors import UnknownName


@dataclass(frozen=True, slots=True)
class AttackRow:
    """One attack of a suite.

    Attributes:
        id: unique in the suite; what reports print.
        kind: "noise", "fgsm" or "pgd".
        knowledge: a key of `attacks.threat.KNOWLEDGE`; decides what it is crafted on.
        parameters: keyword arguments of the attack.
        draws: independent repetitions; a point is held when it survives all of them.
    """

    id: str
    kind: str
    knowledge: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    draws: int = 1

    @property
    def stage(self) -> str:
        """The stage of a job this row belongs to."""
        return self.kind if self.kind in ("noise", "fgsm") else self.knowledge

    @property
    def single_step(self) -> bool:
        """Whether the attack takes one step only, and hence need not get stronger with epsilon."""
        return self.kind == "fgsm"

    @property
    def gradient(self) -> bool:
        """Whether the attack uses gradients."""
        return self.kind != "noise"

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON values: part of the shard's key."""
        return {
            "id": self.id,
            "kind": self.kind,
            "knowledge": self.knowledge,
            "parameters": dict(self.parameters),
            "draws": self.draws,
        }


@dataclass(frozen=True, slots=True)
class Suite:
    """A named list of attacks.

    Attributes:
        name: the key in `SUITES`.
        version: raised whenever a row changes, so that reports of different lists are not compared.
        rows: in the order they run.
        not_run: (what, why) of everything the full standard of this suite asks for and this list does not have.
    """

    name: str
    version: str
    rows: tuple[AttackRow, ...]
    not_run: tuple[tuple[str, str], ...]

    def row(self, name: str) -> AttackRow:
        """Return the row with this id.

        Args:
            name: an attack id.

        Returns:
            The row.

        Raises:
            UnknownName: the suite has no such row.
        """
        for row in self.rows:
            if row.id == name:
                return row
        raise UnknownName("attack", name, [row.id for row in self.rows])


_PGD_10 = MappingProxyType({"steps": 10, "rel_stepsize": 0.25, "random_start": True})
_LATER = "not part of this version of the suite"

QUICK = Suite(
    name="quick",
    version="1",
    rows=(
        AttackRow("noise-uniform-10", "noise", "stolen_base", draws=10),
        AttackRow("fgsm@stolen_base", "fgsm", "stolen_base"),
        AttackRow("fgsm@white_box", "fgsm", "white_box"),
        AttackRow("pgd-10@stolen_base", "pgd", "stolen_base", _PGD_10),
        AttackRow("pgd-10@white_box", "pgd", "white_box", _PGD_10),
    ),
    not_run=(
        ("MI-DI on the stolen base", _LATER),
        ("fresh_members", f"{_LATER}: the attacker's own members are not generated"),
        ("lgv_surrogate", f"{_LATER}: the attacker's own training is not run"),
        ("member_to_member", _LATER),
        ("APGD-CE, APGD-DLR-T, re-weighted attack", f"{_LATER}: the white box is PGD with 10 steps"),
        ("score_query (Square), decision_query (HopSkipJump)", _LATER),
        ("white box on every member, the controls and the noise baseline", _LATER),
        ("weight_noise_equal_accuracy", f"{_LATER}: needs validation points to fit its size on"),
        ("independent_ensemble", f"{_LATER}: needs independently trained networks"),
        ("targeted attacks", _LATER),
        ("serving modes logit, vote and random_member", _LATER),
        ("AutoAttack", "not installed; no agreement with it is claimed"),
    ),
)

#: The suites that can be run today.
SUITES: Mapping[str, Suite] = MappingProxyType({QUICK.name: QUICK})


def suite_named(name: str) -> Suite:
    """Return the suite of this name.

    Args:
        name: a key of `SUITES`.

    Returns:
        The suite.

    Raises:
        UnknownName: no such suite; the message lists the known ones.
    """
    if name not in SUITES:
        raise UnknownName("suite", str(name), SUITES)
    return SUITES[name]
