"""The automatic checks: a number without its checks is not a result."""

from attacks.checks.outcome import Check, Outcome
from attacks.checks.runner import run_checks

__all__ = ["Check", "Outcome", "run_checks"]
