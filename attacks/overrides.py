"""A suite with some of its rows changed, left out or added: what a client may alter, and how it is named then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

from attacks.canonical import content_digest
from attacks.kinds import KINDS
from attacks.parameters import check_parameters
from attacks.rows import AttackRow, Suite
from ensemble.errors import InputError, UnknownName

#: What an added row may be crafted on, and what its attacker then knows.
PLACES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {"stolen_base": ("stolen_base", "base"), "white_box": ("white_box", "target")}
)
MOST: Final = 64


@dataclass(frozen=True, slots=True)
class Overrides:
    """Changes to a suite's rows.

    Attributes:
        remove: ids of rows that are not run.
        change: id of a row -> parameter -> value, in place of the row's own.
        add: rows: `id`, `kind`, `knowledge` (a key of `PLACES`), `parameters`.
    """

    remove: Sequence[str] = ()
    change: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    add: Sequence[Mapping[str, Any]] = ()

    def __bool__(self) -> bool:
        """Return whether anything is changed."""
        return bool(self.remove or self.change or self.add)

    def to_dict(self) -> dict[str, Any]:
        """Return the changes as JSON values."""
        return {
            "remove": list(self.remove),
            "change": {row: dict(given) for row, given in self.change.items()},
            "add": [{**row, "parameters": dict(row.get("parameters", {}))} for row in self.add],
        }


def with_overrides(suite: Suite, overrides: Overrides) -> Suite:
    """Return the suite with the changes made; its version says so, and what was left out stands in `not_run`.

    Args:
        suite: as published.
        overrides: the changes.

    Raises:
        UnknownName: a row or a kind that is not there.
        InputError: parameters outside their ranges, an id that is taken, or nothing left to run.
    """
    if not overrides:
        return suite
    rows = {row.id: row for row in suite.rows}
    for where, names in (("remove", overrides.remove), ("change", overrides.change)):
        for name in names:
            if name not in rows:
                raise UnknownName(f"suite.overrides.{where}: row", str(name)[:80], rows)
    changed = [_changed(row, overrides.change.get(row.id, {})) for row in suite.rows if row.id not in overrides.remove]
    added = [_added(row, number, taken=rows) for number, row in enumerate(overrides.add)]
    if len({row.id for row in added}) < len(added):
        raise InputError("suite.overrides.add: expected different ids, got one twice; rename one")
    if not changed + added:
        raise InputError("suite.overrides: expected at least one row to be left, got none; remove fewer")
    left_out = tuple((name, "removed by the request") for name in overrides.remove)
    version = f"{suite.version}+{content_digest(overrides.to_dict())[:12]}"
    return replace(suite, version=version, rows=tuple(changed + added), not_run=suite.not_run + left_out)


def _changed(row: AttackRow, given: Mapping[str, Any]) -> AttackRow:
    if not given:
        return row
    check_parameters(row.kind, given, where=f"suite.overrides.change.{row.id}", whole=False)
    return replace(row, parameters=MappingProxyType({**row.parameters, **given}))


def _added(row: Mapping[str, Any], number: int, *, taken: Mapping[str, AttackRow]) -> AttackRow:
    where = f"suite.overrides.add.{number}"
    kind, name, knowledge = str(row["kind"]), str(row["id"]), str(row.get("knowledge", "white_box"))
    if name in taken:
        raise InputError(f"{where}.id: expected one that the suite does not have, got {name[:80]!r}; rename it")
    if knowledge not in PLACES:
        raise UnknownName(f"{where}.knowledge", knowledge[:40], PLACES)
    check_parameters(kind, row.get("parameters", {}), where=f"{where}.parameters")
    if KINDS[kind].queries:
        raise InputError(f"{where}.kind: expected an attack that asks no questions, got {kind!r}; suites have those")
    place, surrogate = PLACES[knowledge]
    return AttackRow(name, kind, place, MappingProxyType(dict(row.get("parameters", {}))), surrogate=surrogate)
