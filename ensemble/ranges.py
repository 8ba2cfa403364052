"""Checks that settings make of their own fields, and the error that names the field."""

import math

from ensemble.errors import RecipeError


def is_number(value: object) -> bool:
    """Return whether `value` is a finite number; a bool is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_integer(value: object) -> bool:
    """Return whether `value` is a whole number; a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def require(holds: bool, name: str, expected: str, got: object) -> None:
    """Raise unless a field is inside its range.

    Args:
        holds: whether it is.
        name: the field, with the value it belongs to in front: "recipe.scale".
        expected: its range in words.
        got: its value.

    Raises:
        RecipeError: it is not.
    """
    if not holds:
        raise RecipeError(f"{name}: expected {expected}, got {got!r}")
