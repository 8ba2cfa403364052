"""The parameters that an attack takes from outside, with their ranges: a table, from which a JSON Schema is written.

What is not in the table cannot be set: no attribute is looked up by a name that came over the wire. Upper bounds are
ours; they keep one row of a suite from running for days.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from attacks.kinds import KINDS
from ensemble.errors import InputError, UnknownName

_TYPES: Final[Mapping[str, tuple[type, ...]]] = MappingProxyType(
    {"integer": (int,), "number": (int, float), "boolean": (bool,)}
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an attack.

    Attributes:
        type: "integer", "number" or "boolean", in the words of JSON Schema.
        low: least value; None for a boolean.
        high: greatest value; None for a boolean.
        required: whether the attack has no value of its own.
    """

    type: str
    low: float | None = None
    high: float | None = None
    required: bool = False

    def to_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of a value."""
        bounds = {"minimum": self.low, "maximum": self.high}
        return {"type": self.type} | {name: bound for name, bound in bounds.items() if bound is not None}

    def takes(self, value: object) -> bool:
        """Return whether a value is of the type and inside the range."""
        if isinstance(value, bool) is not (self.type == "boolean") or not isinstance(value, _TYPES[self.type]):
            return False
        if self.low is None or self.high is None:
            return True
        return isinstance(value, int | float) and self.low <= value <= self.high  # NaN is outside every range


def _whole(high: int, low: int = 1, *, required: bool = False) -> Parameter:
    return Parameter("integer", low, high, required)


def _share(high: float = 1.0, low: float = 0.0, *, required: bool = False) -> Parameter:
    return Parameter("number", low, high, required)


_STEPS: Final = _whole(10_000)
_RESTARTS: Final = _whole(100)
_START: Final = Parameter("boolean")
_SEED: Final = _whole(2**31 - 1, 0)
_APGD: Final = {"steps": _STEPS, "restarts": _RESTARTS}
_MOMENTUM: Final = {
    "steps": _whole(10_000, required=True),
    "rel_stepsize": _share(2.0, required=True),
    "random_start": _START,
    "decay": _share(2.0),
}
_DIVERSE: Final = {"probability": _share(), "spread": _share(0.9)}
_ELASTIC: Final = {"steps": _STEPS, "binary_search_steps": _whole(32), "initial_const": _share(1e6)}
_DECISION: Final = {"steps": _STEPS, "queries": _whole(1_000_000), "starts": _whole(10_000), "seed": _SEED}

#: kind -> parameter -> what it may be.
PARAMETERS: Final[Mapping[str, Mapping[str, Parameter]]] = MappingProxyType(
    {
        "noise": {},
        "gaussian_noise": {},
        "blur": {"steps": _STEPS, "max_sigma": _share(1000.0)},
        "fgsm": {},
        "pgd": {
            "steps": _whole(10_000, required=True),
            "rel_stepsize": _share(2.0, required=True),
            "random_start": Parameter("boolean", required=True),
        },
        "mi": _MOMENTUM,
        "ni": _MOMENTUM,
        "mi_di": {**_MOMENTUM, **_DIVERSE},
        "mi_di_ti_si": {**_MOMENTUM, **_DIVERSE, "sigma": _share(10.0, 0.01), "scales": _whole(32)},
        "vmi": {**_MOMENTUM, "neighbours": _whole(200), "reach": _share(10.0)},
        "admix": {**_MOMENTUM, "images": _whole(32), "weight": _share(), "scales": _whole(32)},
        "sgm": {**_MOMENTUM, "gamma": _share()},
        "deepfool": {"steps": _STEPS, "candidates": _whole(1000, 2), "overshoot": _share()},
        "cw": {**_ELASTIC, "stepsize": _share(10.0), "confidence": _share(1000.0)},
        "ddn": {"steps": _STEPS, "init_epsilon": _share(1000.0), "gamma": _share()},
        "fmn": {"steps": _STEPS, "max_stepsize": _share(1000.0), "gamma": _share()},
        "ead": {**_ELASTIC, "initial_stepsize": _share(10.0), "regularization": _share(1000.0)},
        "apgd_ce": _APGD,
        "apgd_dlr": _APGD,
        "apgd_dlr_targeted": {**_APGD, "classes": _whole(1000)},
        "apgd_l1": _APGD,
        "eot": _APGD,
        "eot_sampled": {**_APGD, "samples": _whole(1000)},
        "reweighted": _APGD,
        "greedy_members": {"rounds": _whole(1000), "classes": _whole(1000)},
        "square": {"queries": _whole(1_000_000), "first_area": _share(1.0, 0.001)},
        "hopskipjump": _DECISION,
        "boundary": _DECISION,
    }
)


def parameter_schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of a kind's parameters.

    Args:
        kind: a key of `KINDS`.

    Raises:
        UnknownName: no such kind.
    """
    known = _known(kind)
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: parameter.to_schema() for name, parameter in known.items()},
        "required": [name for name, parameter in known.items() if parameter.required],
    }


def check_parameters(kind: str, given: Mapping[str, object], *, where: str, whole: bool = True) -> None:
    """Return nothing where parameters fit their attack.

    Args:
        kind: a key of `KINDS`.
        given: parameter -> value.
        where: what the message begins with.
        whole: whether every required one must be there.

    Raises:
        UnknownName: no such kind.
        InputError: one is not known, not of its type, outside its range or missing.
    """
    known = _known(kind)
    for name, value in given.items():
        if name not in known:
            raise InputError(
                f"{where}: expected parameters of {kind!r} among {sorted(known)}, got {str(name)[:40]!r}; leave it out"
            )
        if not known[name].takes(value):
            schema = known[name].to_schema()
            raise InputError(f"{where}.{name}: expected {schema}, got {str(value)[:40]!r}; choose a value inside")
    missing = sorted(name for name, parameter in known.items() if parameter.required and name not in given)
    if whole and missing:
        raise InputError(f"{where}: expected {missing} of {kind!r}, got none; give them")


def _known(kind: str) -> Mapping[str, Parameter]:
    if kind not in KINDS:
        raise UnknownName("attack", str(kind)[:40], KINDS)
    return PARAMETERS[kind]
