"""Addressable models of one ensemble: `<ensemble>`, `<ensemble>.m<k>`, `<ensemble>.base`."""

import re
from dataclasses import dataclass
from typing import Final, Literal

from service.errors import UnknownModel

_NAME: Final = re.compile(
    r"(?P<ensemble>[A-Za-z0-9][A-Za-z0-9_-]{0,95})(?:\.(?P<base>base)|\.m(?P<member>0|[1-9][0-9]{0,5}))?"
)

Kind = Literal["ensemble", "member", "base"]


@dataclass(frozen=True, slots=True)
class View:
    """One addressable model: the aggregate, one member, or the untouched base network."""

    ensemble: str
    kind: Kind = "ensemble"
    member: int | None = None

    @property
    def name(self) -> str:
        """The name a request uses."""
        suffix = {"ensemble": "", "base": ".base", "member": f".m{self.member}"}[self.kind]
        return self.ensemble + suffix


def parse_view(name: str) -> View:
    """Return the view of a name.

    Raises:
        UnknownModel: the name breaks the pattern.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UnknownModel(
            f"model: expected '<ensemble>', '<ensemble>.m<k>' or '<ensemble>.base', got {name[:120]!r}; "
            "GET /api/v1/ensembles lists them"
        )
    if match["base"]:
        return View(match["ensemble"], "base")
    if match["member"]:
        return View(match["ensemble"], "member", int(match["member"]))
    return View(match["ensemble"])
