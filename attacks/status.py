"""The status of a report, decided by its checks alone."""

from collections.abc import Iterable

from attacks.checks.outcome import Check, Level
from attacks.checks.table import TABLE
from attacks.schema import Status

#: Beyond families A and B, a FAIL of one of these makes every number meaningless.
_FATAL = frozenset({"E1", "C1", "C5", "D3"})


def status_of(checks: Iterable[Check], *, mode: str) -> Status:
    """Return UNRELIABLE, INCOMPLETE or CHECKED, in this order; there is no status "reliable".

    Args:
        checks: every check of the table; those that do not apply are not missed.
        mode: how the target is served; under random_member D4 must have run.

    Returns:
        The status, the ids that decided it, and the number of warnings.
    """
    checks = list(checks)
    warnings = sum(check.outcome.level is Level.WARN for check in checks)
    failed = [check.id for check in checks if check.outcome.level is Level.FAIL]
    fatal = [name for name in failed if name[0] in "AB" or name in _FATAL]
    skipped = {check.id for check in checks if check.outcome.level is Level.NOT_RUN and check.outcome.applies}
    if mode == "random_member" and "D4" in {*failed, *skipped}:
        fatal.append("D4")
    if fatal:
        return Status(value="UNRELIABLE", reasons=fatal, warnings=warnings)
    incomplete = [*failed, *(rule.id for rule in TABLE if rule.required_by_standard and rule.id in skipped)]
    if incomplete:
        return Status(value="INCOMPLETE", reasons=incomplete, warnings=warnings)
    return Status(value="CHECKED", reasons=[], warnings=warnings)
