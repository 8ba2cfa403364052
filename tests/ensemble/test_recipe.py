"""Recipes: validation, JSON round trip, presets.

Seen to fail: unknown fields dropped silently; bool accepted as a number.
"""

from typing import Any

import pytest

from ensemble import Recipe, presets
from ensemble.errors import RecipeError


@pytest.mark.parametrize("name", sorted(presets))
def test_round_trip(name: str) -> None:
    """Every preset survives JSON."""
    assert Recipe.from_json(presets[name].to_json()) == presets[name]
    assert Recipe.from_json("{}") == Recipe()


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"scal": 1.0}, r"unknown fields \['scal'\]"),
        ({"scale": -1}, "scale: expected a number >= 0"),
        ({"scale": float("nan")}, "scale"),
        ({"scale": True}, "scale"),
        ({"scale": "1"}, "scale"),
        ({"search_steps": 1.5}, "search_steps: expected an integer"),
        ({"search_batch": 0}, "search_batch"),
        ({"ridge": -1e-9}, "ridge"),
        ({"max_condition": 1}, "max_condition"),
        ({"bounds": [1, 0]}, "bounds"),
        ({"bounds": 3}, "bounds"),
        ({"crafting_radii": [0.0]}, "crafting_radii"),
        ({"crafting_radii": "ab"}, "crafting_radii"),
    ],
)
def test_bad_fields(values: dict[str, Any], match: str) -> None:
    """A typo or a value outside its range raises with the field, the range and the value."""
    with pytest.raises(RecipeError, match=match):
        Recipe.from_dict(values)


@pytest.mark.parametrize("text", ["", "[1]", "{", "null"])
def test_not_an_object(text: str) -> None:
    """Text that is no JSON object is refused."""
    with pytest.raises(RecipeError, match="expected a"):
        Recipe.from_json(text)
