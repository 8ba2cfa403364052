"""The values suites are made of: a row says what is run, on what, and with which parameters.

Reading them loads no attack library: `attacks.building` makes attacks of rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from attacks.kinds import KINDS
from ensemble.errors import UnknownName

#: Serving modes in which the target answers the same twice.
DETERMINISTIC = ("prob", "logit", "vote")
RANDOM = ("random_member",)
#: What a white-box attacker also tries as a surrogate: the other ways of joining the members.
OTHER_MODES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "prob": ("logit", "vote"),
        "logit": ("prob", "vote"),
        "vote": ("prob", "logit"),
        "random_member": (),
    }
)
#: Which of the threat model's radii a row attacks, as a slice of the ascending list.
RADII: Mapping[str, slice] = MappingProxyType({"all": slice(None), "headline": slice(-1, None)})


@dataclass(frozen=True, slots=True)
class AttackRow:
    """One attack of a suite.

    Attributes:
        id: unique in the suite; what reports print.
        kind: a key of `attacks.kinds.KINDS`.
        knowledge: a key of `attacks.threat.KNOWLEDGE`.
        parameters: keyword arguments of the attack.
        draws: independent repetitions; a point is held when it survives all of them.
        surrogate: what it is crafted on: "base", the name of one of the suite's surrogates, "target" for the judged
            network itself, "members" for each member in turn.
        through: the mode in which a judged ensemble is differentiated; empty means as it is served, "others" stands
            for one row per other mode.
        radii: a key of `RADII`.
        points: at most so many points, chosen by the seed; None means all.
        modes: served modes in which it runs; empty means all.
        norms: norms in which it runs; empty means all that its kind is defined in.
        members: how many members in turn, at most, where the surrogate is "members".
        full_range: attack with the width of the box in place of the threat model's radii.
    """

    id: str
    kind: str
    knowledge: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    draws: int = 1
    surrogate: str = "base"
    through: str = ""
    radii: str = "all"
    points: int | None = None
    modes: tuple[str, ...] = ()
    norms: tuple[str, ...] = ()
    members: int | None = None
    full_range: bool = False

    @property
    def stage(self) -> str:
        """The stage of a job this row belongs to."""
        return KINDS[self.kind].family or self.knowledge

    @property
    def single_step(self) -> bool:
        """Whether the attack takes one step only, and hence need not get stronger with epsilon."""
        return KINDS[self.kind].single_step

    @property
    def gradient(self) -> bool:
        """Whether the attack uses gradients."""
        return KINDS[self.kind].gradient

    @property
    def transformed(self) -> bool:
        """Whether gradients are taken on transformed copies, for transfer."""
        return KINDS[self.kind].transformed

    @property
    def queries(self) -> bool:
        """Whether the attack asks the served answer and counts these questions."""
        return KINDS[self.kind].queries

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON values: part of the shard's key."""
        return {
            "id": self.id,
            "kind": self.kind,
            "knowledge": self.knowledge,
            "parameters": dict(self.parameters),
            "draws": self.draws,
            "surrogate": self.surrogate,
            "through": self.through,
            "radii": self.radii,
            "points": self.points,
            "members": self.members,
            "full_range": self.full_range,
        }


@dataclass(frozen=True, slots=True)
class SurrogateRow:
    """Something an attacker makes before it attacks.

    Attributes:
        name: what attack rows call it.
        kind: a key of `attacks.holding.MAKERS`.
        material: the key of `attacks.holding.MATERIALS` it is made from; rows of equal material and settings share it.
        settings: how the material is made, e.g. how many members.
    """

    name: str
    kind: str
    material: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON values: part of the shard's key."""
        return {"name": self.name, "kind": self.kind, "material": self.material, "settings": dict(self.settings)}


@dataclass(frozen=True, slots=True)
class Suite:
    """A named list of attacks.

    Attributes:
        name: the key in `SUITES`.
        version: raised whenever a row changes, so that reports of different lists are not compared.
        rows: in the order they run; white-box rows of one network run as one cascade, cheapest first.
        not_run: (what, why) of everything the full standard of this suite asks for and this list does not have.
        surrogates: what the rows' attackers make first.
        audits: cold runs on the audit subset, against which shortcuts and strength are checked.
        norms: norms of the default threat models.
        draws: draws of the group that are judged where they can be made.
    """

    name: str
    version: str
    rows: tuple[AttackRow, ...]
    not_run: tuple[tuple[str, str], ...]
    surrogates: tuple[SurrogateRow, ...] = ()
    audits: tuple[AttackRow, ...] = ()
    norms: tuple[str, ...] = ("linf",)
    draws: int = 1

    def row(self, name: str) -> AttackRow:
        """Return the row with this id, audits included.

        Args:
            name: an attack id.

        Returns:
            The row.

        Raises:
            UnknownName: the suite has no such row.
        """
        for row in (*self.rows, *self.audits):
            if row.id == name:
                return row
        raise UnknownName("attack", name, [row.id for row in (*self.rows, *self.audits)])

    def surrogate(self, name: str) -> SurrogateRow | None:
        """Return the surrogate of this name, or None for what needs no making."""
        return next((row for row in self.surrogates if row.name == name), None)

    def served_as(self, mode: str) -> "Suite":
        """Return the suite with the rows that concern one serving mode, "others" written out.

        Args:
            mode: a serving mode.

        Returns:
            The same name and version.
        """
        return replace(self, rows=_in_mode(self.rows, mode), audits=_in_mode(self.audits, mode))


def _in_mode(rows: tuple[AttackRow, ...], mode: str) -> tuple[AttackRow, ...]:
    found: list[AttackRow] = []
    for row in rows:
        if row.modes and mode not in row.modes:
            continue
        others = OTHER_MODES[mode] if row.through == "others" else (row.through,)
        found += [replace(row, id=row.id.replace("{mode}", other), through=other) for other in others]
    return tuple(found)
