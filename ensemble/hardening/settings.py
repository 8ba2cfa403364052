"""Every setting of hardening as one frozen, validated value."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any

from ensemble.ranges import is_integer, is_number, require

# Field -> its least value, by kind of range.
_WHOLE: Mapping[str, float] = MappingProxyType(
    {"steps": 1, "batch": 1, "inner_steps": 1, "inputs": 10, "check_every": 1, "patience": 1, "transfer_steps": 1}
)
_ABOVE: Mapping[str, float] = MappingProxyType({"radius": 0, "rate": 0, "transfer_radius": 0})
_SHARES: Mapping[str, str] = MappingProxyType({"held_out": "a share in (0, 1)", "max_clean_drop": "a share in (0, 1)"})
_WEIGHTS = ("adversarial_weight", "transfer_weight")
_SWITCHES = ("flips", "trunk_is_member")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardening:
    """How a network is refined to answer alike within a ball around every input. No label is used; it is fine-tuning.

    Attributes:
        steps: Adam steps.
        batch: inputs per step.
        radius: Linf radius of the inner attack, in input units.
        inner_steps: gradient steps of the inner attack.
        adversarial_weight: weight of the divergence at the attacked inputs; the one at the clean inputs has weight 1.
        transfer_weight: weight of the divergence at inputs attacked on the target network, the one a thief holds; 0 for
            none.
        transfer_radius: largest Linf radius of those, in input units; each input draws its own below it.
        transfer_steps: gradient steps of those attacks.
        rate: peak of the one-cycle rate, relative to the root mean square of each layer's weights.
        average: decay per step of the running mean of the weights that is kept in their place; 0 keeps the weights.
        flips: mirror half of the inputs left to right, where they are images.
        inputs: the first so many calibration inputs are used, at most.
        held_out: share of them that no step sees: what is kept is decided on it.
        check_every: steps between two looks at the held-out part, each of which is also a checkpoint.
        patience: looks without a lower held-out loss after which hardening stops.
        max_clean_drop: largest share of held-out inputs on which the label may differ from the base's; weights between
            the base's and the refined ones are taken where it is exceeded. None takes the refined ones.
        trunk_is_member: the refined network itself is the first member; False builds all members from it.

    Raises:
        RecipeError: a field is outside its range.
    """

    steps: int = 600
    batch: int = 64
    radius: float = 2 / 255
    inner_steps: int = 2
    adversarial_weight: float = 2.0
    transfer_weight: float = 0.0
    transfer_radius: float = 8 / 255
    transfer_steps: int = 3
    rate: float = 0.02
    average: float = 0.0
    flips: bool = True
    inputs: int = 5000
    held_out: float = 0.1
    check_every: int = 50
    patience: int = 6
    max_clean_drop: float | None = None
    trunk_is_member: bool = True

    def __post_init__(self) -> None:
        for name, bound in _WHOLE.items():
            value = getattr(self, name)
            _require(is_integer(value) and value >= bound, name, f"an integer >= {bound:g}", value)
        for name, bound in _ABOVE.items():
            value = getattr(self, name)
            _require(is_number(value) and value > bound, name, f"a number > {bound:g}", value)
        for name in _SWITCHES:
            _require(isinstance(getattr(self, name), bool), name, "true or false", getattr(self, name))
        for name in _WEIGHTS:
            weight = getattr(self, name)
            _require(is_number(weight) and weight >= 0, name, "a number >= 0", weight)
        decay = self.average
        _require(is_number(decay) and 0 <= decay < 1, "average", "a number in [0, 1)", decay)
        for name, expected in _SHARES.items():
            value = getattr(self, name)
            absent = value is None and name == "max_clean_drop"
            _require(absent or (is_number(value) and 0 < value < 1), name, expected, value)

    def to_json(self) -> str:
        """Return the settings as canonical JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Hardening":
        """Return the settings of a mapping from field names; fields left out keep their default.

        Raises:
            RecipeError: not a mapping, an unknown field, or a value outside its range.
        """
        known = {field.name for field in fields(cls)}
        whole = isinstance(values, Mapping)
        _require(whole, "", f"a mapping of {sorted(known)}", values)
        unknown = sorted(set(values) - known)
        _require(not unknown, "", f"a subset of the fields {sorted(known)}", unknown)
        return cls(**values)


def _require(holds: bool, name: str, expected: str, got: object) -> None:
    require(holds, f"recipe.hardening.{name}".rstrip("."), expected, got)
