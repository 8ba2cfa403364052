"""Every setting of generation as one frozen, validated value, with named presets."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any

from ensemble.errors import RecipeError
from ensemble.hardening.settings import Hardening
from ensemble.ranges import is_integer, is_number, require

# Field -> its least value, by kind of range.
_WHOLE: Mapping[str, float] = MappingProxyType(
    {"search_steps": 0, "search_batch": 1, "positions": 1, "crafting_steps": 1, "spare_members": 0, "redraws": 0}
)
_AT_LEAST: Mapping[str, float] = MappingProxyType({"scale": 0, "ridge": 0})
_ABOVE: Mapping[str, float] = MappingProxyType(
    {"search_rate": 0, "max_condition": 1, "max_blow_up": 1, "max_residual": 0}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How members are generated.

    Attributes:
        scale: tau, multiplier of the random Lie-algebra element each site starts from; 0 starts at the identity.
        search_steps: Adam steps of the orbit search per site; 0 keeps the random element and only refits.
        search_batch: images per step.
        search_rate: Adam rate on the group element; the upper weights move at this rate times their spread.
        positions: positions per image that search and refit use, at most.
        ridge: rho of the refit, relative to the regressors' mean square.
        max_condition: bound on the condition number of every group element.
        fit_rows_per_unit: None fits the upper weights to all inputs; a number fits that many inputs per hidden unit
            exactly, with the minimum norm and without ridge (1 is the published k = h).
        last_sites: act on the last so many sites only; None for all.
        max_clean_drop: largest share of held-out calibration inputs on which a member may differ from the base; the
            scale is lowered until it holds. None keeps the scale.
        spare_members: members generated beyond those asked for; the most diverse subset is kept.
        max_blow_up: a member is drawn again when |U'||V'| exceeds |U||V| by more than this factor at a site.
        max_residual: a member is drawn again when the refit of a site is worse than this.
        redraws: times a member may be drawn again.
        crafting_radii: Linf radii, in input units, of the adversarial copies among the calibration inputs; () for none.
        crafting_steps: PGD steps per copy.
        bounds: least and largest value of an input.
        fit_inputs: the first so many calibration inputs are used for the sites; None for all.
        hardening: refine a copy of the base first and build the members from it; None for no gradient training.

    Raises:
        RecipeError: a field is outside its range.
    """

    scale: float = 1.0
    search_steps: int = 120
    search_batch: int = 64
    search_rate: float = 0.02
    positions: int = 64
    ridge: float = 1e-6
    max_condition: float = 1e4
    fit_rows_per_unit: float | None = None
    last_sites: int | None = None
    max_clean_drop: float | None = None
    spare_members: int = 0
    max_blow_up: float = 1e3
    max_residual: float = 0.98
    redraws: int = 3
    crafting_radii: tuple[float, ...] = (1 / 255, 4 / 255)
    crafting_steps: int = 5
    bounds: tuple[float, float] = (0.0, 1.0)
    fit_inputs: int | None = None
    hardening: Hardening | None = None

    def __post_init__(self) -> None:
        for name, bound in _WHOLE.items():
            value = getattr(self, name)
            _require(is_integer(value) and value >= bound, name, f"an integer >= {bound:g}", value)
        for name, bound in _AT_LEAST.items():
            value = getattr(self, name)
            _require(is_number(value) and value >= bound, name, f"a number >= {bound:g}", value)
        for name, bound in _ABOVE.items():
            value = getattr(self, name)
            _require(is_number(value) and value > bound, name, f"a number > {bound:g}", value)
        fitted, hardening = self.fit_inputs, self.hardening
        _require(fitted is None or (is_integer(fitted) and fitted >= 2), "fit_inputs", "an integer >= 2", fitted)
        valid = hardening is None or isinstance(hardening, Hardening)
        _require(valid, "hardening", "a Hardening", hardening)
        per_unit, last, drop = self.fit_rows_per_unit, self.last_sites, self.max_clean_drop
        _require(
            per_unit is None or (is_number(per_unit) and per_unit > 0), "fit_rows_per_unit", "a number > 0", per_unit
        )
        _require(last is None or (is_integer(last) and last >= 1), "last_sites", "an integer >= 1", last)
        _require(drop is None or (is_number(drop) and 0 < drop < 1), "max_clean_drop", "a share in (0, 1)", drop)
        low_high = tuple(self.bounds)
        valid = len(low_high) == 2 and all(map(is_number, low_high)) and low_high[0] < low_high[1]
        _require(valid, "bounds", "two numbers (low, high) with low < high", self.bounds)
        object.__setattr__(self, "bounds", low_high)
        radii = tuple(self.crafting_radii)
        _require(all(is_number(r) and r > 0 for r in radii), "crafting_radii", "numbers > 0", self.crafting_radii)
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
        hardening = values.get("hardening")
        if hardening is not None and not isinstance(hardening, Hardening):
            values = {**values, "hardening": Hardening.from_dict(hardening)}
        return cls(**values)

    def built(self, members: int) -> int:
        """Return how many members are built for an ensemble of so many, spare ones included."""
        trunk = self.hardening is not None and self.hardening.trunk_is_member
        return members - trunk + self.spare_members


def _require(holds: bool, name: str, expected: str, got: object) -> None:
    require(holds, f"recipe.{name}", expected, got)


presets: Mapping[str, Recipe] = MappingProxyType(
    {
        "faithful": Recipe(scale=0.6),
        "balanced": Recipe(),
        "diverse": Recipe(scale=1.2, search_rate=0.01),
        "hardened": Recipe(fit_inputs=500, hardening=Hardening()),
        "as_published": Recipe(
            scale=10.0,
            search_steps=0,
            ridge=0.0,
            max_condition=1e12,
            fit_rows_per_unit=1.0,
            last_sites=1,
            crafting_radii=(),
            max_blow_up=1e12,
            max_residual=1.0,
        ),
    }
)
