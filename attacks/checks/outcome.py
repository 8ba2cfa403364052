"""The result of one check."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """What a check says."""

    PASS = "PASS"  # noqa: S105  (not a password)
    WARN = "WARN"
    FAIL = "FAIL"
    NOT_RUN = "NOT-RUN"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check found.

    Attributes:
        level: PASS, WARN, FAIL or NOT-RUN.
        numbers: the numbers it used.
        reason: one sentence; always present for anything but PASS.
        applies: False where the check concerns something else than what was evaluated; it is NOT-RUN then, and nothing
            is missing without it.
    """

    level: Level
    numbers: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    applies: bool = True


@dataclass(frozen=True, slots=True)
class Check:
    """A check of the table with its outcome.

    Attributes:
        id: A1 to F7.
        rule: the rule in words.
        outcome: what it found.
        remedy: what to do about anything but PASS; empty for PASS and for what does not apply.
    """

    id: str
    rule: str
    outcome: Outcome
    remedy: str = ""


def not_run(reason: str) -> Outcome:
    """Return the outcome of a check that could not be made."""
    return Outcome(Level.NOT_RUN, {}, reason)


def not_applicable(reason: str) -> Outcome:
    """Return the outcome of a check that has nothing to look at here."""
    return Outcome(Level.NOT_RUN, {}, reason, applies=False)


def graded(numbers: Mapping[str, Any], *, fail: str = "", warn: str = "") -> Outcome:
    """Return FAIL with its reason if there is one, else WARN with its reason, else PASS.

    Args:
        numbers: what was measured.
        fail: why it fails, or nothing.
        warn: what to know about it, or nothing.

    Returns:
        The outcome.
    """
    if fail:
        return Outcome(Level.FAIL, numbers, fail)
    return Outcome(Level.WARN, numbers, warn) if warn else Outcome(Level.PASS, numbers)
