"""Every setting of generation as one frozen, validated value, with named presets."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any

from ensemble.errors import RecipeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How members are generated.

    Attributes:
        scale: tau, multiplier of the random Lie-algebra element each site starts from; 0 starts at the identity.
        search_steps: Adam steps of the orbit search per site; 0 keeps the random element and only refits.
        search_batch: images per step.
        search_rate: Adam rate on the group element; the upper weights move at this rate times their spread.
        ridge: rho of the refit, relative to the regressors' mean square.
        max_condition: bound on the condition number of every group element.
        crafting_radii: Linf radii, in input units, of the adversarial copies among the calibration inputs; () for none.
        crafting_steps: PGD steps per copy.
        bounds: least and largest value of an input.

    Raises:
        RecipeError: a field is outside its range.
    """

    scale: float = 1.0
    search_steps: int = 120
    search_batch: int = 64
    search_rate: float = 0.02
    ridge: float = 1e-6
    max_condition: float = 1e4
    crafting_radii: tuple[float, ...] = (1 / 255, 4 / 255)
    crafting_steps: int = 5
    bounds: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        _require(_is_number(self.scale) and self.scale >= 0, "scale", "a number >= 0", self.scale)
        for name in ("search_steps", "search_batch", "crafting_steps"):
            value = getattr(self, name)
            least = 0 if name == "search_steps" else 1
            _require(_is_integer(value) and value >= least, name, f"an integer >= {least}", value)
        _require(_is_number(self.search_rate) and self.search_rate > 0, "search_rate", "a number > 0", self.search_rate)
        _require(_is_number(self.ridge) and self.ridge >= 0, "ridge", "a number >= 0", self.ridge)
        _require(
            _is_number(self.max_condition) and self.max_condition > 1,
            "max_condition",
            "a number > 1",
            self.max_condition,
        )
        low_high = tuple(self.bounds)
        valid = len(low_high) == 2 and all(map(_is_number, low_high)) and low_high[0] < low_high[1]
        _require(valid, "bounds", "two numbers (low, high) with low < high", self.bounds)
        object.__setattr__(self, "bounds", low_high)
        radii = tuple(self.crafting_radii)
        _require(all(_is_number(r) and r > 0 for r in radii), "crafting_radii", "numbers > 0", self.crafting_radii)
        object.__setattr__(self, "crafting_radii", radii)

    def to_json(self) -> str:
        """Return the recipe as canonical JSON; `from_json` reads it back to an equal value."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """Return the recipe written in `text`, a JSON object; fields left out keep their default.

        Raises:
            RecipeError: not JSON, not an object, an unknown field, or a value outside its range.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise RecipeError(f"recipe: expected a JSON object, got text that is not JSON ({error})") from error
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recipe":
        """Return the recipe of a mapping from field names; see `from_json`."""
        known = {field.name for field in fields(cls)}
        if not isinstance(values, Mapping):
            raise RecipeError(f"recipe: expected a mapping of {sorted(known)}, got {type(values).__name__}")
        unknown = sorted(set(values) - known)
        if unknown:
            raise RecipeError(f"recipe: unknown fields {unknown}; expected a subset of {sorted(known)}")
        sequences = {"bounds", "crafting_radii"} & set(values)
        for name in sequences:
            _require(isinstance(values[name], list | tuple), name, "a list of numbers", values[name])
        return cls(**values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _require(holds: bool, name: str, expected: str, got: object) -> None:
    if not holds:
        raise RecipeError(f"recipe.{name}: expected {expected}, got {got!r}")


presets: Mapping[str, Recipe] = MappingProxyType({"balanced": Recipe()})
