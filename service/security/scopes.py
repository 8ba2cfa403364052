"""Scopes, and the one table that says which of them a request needs; what no row names needs `admin`."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """What a key may do; `admin` may do everything."""

    INFER = "infer"
    READ = "read"
    JOBS = "jobs"
    ADMIN = "admin"


EVERY: Final = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: requests of these methods to these paths are for keys with one of these scopes.

    Attributes:
        methods: HTTP methods.
        path: the whole path matches.
        scopes: one of them suffices; None lets everybody in, without a key.
    """

    methods: frozenset[str]
    path: re.Pattern[str]
    scopes: frozenset[Scope] | None

    def fits(self, method: str, path: str) -> bool:
        """Return whether this row is about that request."""
        return method in self.methods and self.path.fullmatch(path) is not None


def needed(method: str, path: str) -> frozenset[Scope] | None:
    """Return the scopes of which a key needs one; None for what is open to everybody."""
    for rule in RULES:
        if rule.fits(method, path):
            return rule.scopes
    return frozenset({Scope.ADMIN})


def allows(held: Collection[Scope], wanted: frozenset[Scope]) -> bool:
    """Return whether a key with these scopes may do what one of `wanted` is needed for."""
    return Scope.ADMIN in held or not wanted.isdisjoint(held)


def _rule(methods: str, path: str, *scopes: Scope) -> Rule:
    return Rule(frozenset(methods.split()), re.compile(path, re.DOTALL), frozenset(scopes))


def _open(methods: str, path: str) -> Rule:
    return Rule(frozenset(methods.split()), re.compile(path, re.DOTALL), None)


_GET: Final = "GET HEAD"
_CHANGE: Final = "POST PUT PATCH DELETE"
# The first row that fits decides.
RULES: Final[tuple[Rule, ...]] = (
    _open(_GET, r"/v2/health/(live|ready)"),
    _open(_GET, r"/static/.*|/favicon\.ico"),
    _open("GET HEAD POST", r"/login"),
    _rule("POST", r"/logout", *EVERY),
    _rule("POST", r"/v2/models/.*/infer", Scope.INFER),
    _rule("POST", r"/v2/repository/index", Scope.INFER, Scope.READ),
    _rule(_GET, r"/v2(/.*)?", Scope.INFER, Scope.READ),
    _rule(_GET, r"/api/v1/keys(/.*)?", Scope.ADMIN),
    _rule(_GET, r"/api/v1/.*", Scope.READ, Scope.JOBS),
    _rule(_CHANGE, r"/api/v1/(jobs|reports)([/:].*)?", Scope.JOBS),
    _rule("POST", r"/api/v1/(ensembles|try|try/images)|/evaluate|/try", Scope.JOBS),
    _rule(_GET, r"/metrics", Scope.READ),
    _rule(_GET, r"/(openapi\.json|docs|problems)(/.*)?", *EVERY),
    _rule(_GET, r"/|/(jobs|reports|models)/.*|/(jobs|reports|models|evaluate|compare|try)", Scope.READ, Scope.JOBS),
)
