"""What an attacker may do and what it knows: norm, radii, bounds and the named kinds of knowledge.

A threat model is a frozen value that flows unchanged from the request to the report. Radii are in input units of the
bounds; knowledge is a row of a table, and its sentence is printed in every report.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ensemble.errors import InputError, UnknownName


def _linf(delta: Tensor) -> Tensor:
    return delta.abs().amax(dim=1)


def _l2(delta: Tensor) -> Tensor:
    return delta.square().sum(dim=1).sqrt()


def _l1(delta: Tensor) -> Tensor:
    return delta.abs().sum(dim=1)


#: How the size of a perturbation `[batch features]` is measured.
NORMS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType({"linf": _linf, "l2": _l2, "l1": _l1})


def measure(norm: str, perturbation: Tensor) -> Tensor:
    """Return the size of each perturbation, summed in float64.

    Args:
        norm: a key of `NORMS`.
        perturbation: `[batch ...]`, any floating dtype.

    Returns:
        `[batch]` float64, in input units.
    """
    return NORMS[norm](perturbation.reshape(len(perturbation), -1).double())


def _real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _plain(values: Any) -> Any:
    """Return numbers of numpy or torch, one or a row of them, as Python's own; all else as it is."""
    own = values.tolist() if isinstance(values, np.ndarray | np.generic | Tensor) else values
    return [_plain(value) for value in own] if isinstance(own, list | tuple) else own


def _checked_bounds(given: Sequence[float]) -> tuple[float, float]:
    bounds = _plain(given)
    two = isinstance(bounds, list) and len(bounds) == 2 and all(_real(value) for value in bounds)
    if not two or not bounds[0] < bounds[1]:
        raise InputError(
            f"bounds of the threat model: expected two finite numbers (low, high) with low < high, got {given!r}; "
            "pass the range of the inputs, usually (0.0, 1.0)"
        )
    return float(bounds[0]), float(bounds[1])


def _checked_epsilons(given: Sequence[float]) -> tuple[float, ...]:
    epsilons = _plain(given)
    if not isinstance(epsilons, list) or not epsilons:
        raise InputError(
            f"epsilons of the threat model: expected a list of at least one number, got {given!r}; "
            "pass e.g. (0.1, 0.2, 0.3), or (0.1,) for one"
        )
    for epsilon in epsilons:
        if not _real(epsilon) or epsilon < 0:
            raise InputError(
                f"epsilon of the threat model: expected a finite number >= 0, got {epsilon!r}; "
                "give the radius in input units, e.g. 8/255 for images in [0, 1]"
            )
    if len(set(epsilons)) != len(epsilons):
        raise InputError(
            f"epsilons of the threat model: expected different numbers, got {tuple(epsilons)!r}; drop the repeated ones"
        )
    return tuple(sorted(float(epsilon) for epsilon in epsilons))


@dataclass(frozen=True, slots=True)
class ThreatModel:
    """A perturbation ball inside a box.

    Attributes:
        norm: "linf", "l2" or "l1".
        epsilons: radii in input units, different, finite, >= 0; a list, tuple, array or tensor of one axis. Stored in
            ascending order as Python's floats; a float32 0.1 is 0.10000000149.
        bounds: (low, high) of every input value, in any of these forms.
    """

    norm: str = "linf"
    epsilons: tuple[float, ...] = (0.1, 0.2, 0.3)
    bounds: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Check every field and store it in its normal form."""
        if not isinstance(self.norm, str) or self.norm not in NORMS:
            raise UnknownName("norm", str(self.norm), NORMS)
        object.__setattr__(self, "epsilons", _checked_epsilons(self.epsilons))
        object.__setattr__(self, "bounds", _checked_bounds(self.bounds))

    @property
    def headline(self) -> float:
        """The one radius fixed before the run for the headline: the largest."""
        return self.epsilons[-1]

    @property
    def tolerance(self) -> float:
        """How far a measured norm may pass epsilon: 1e-6 of the box's width or of the largest radius, the larger.

        Float32 rounds each value by a share of the box and a norm by a share of itself, which in L1 is the larger one.
        """
        return 1e-6 * max(self.bounds[1] - self.bounds[0], self.headline)

    def to_dict(self) -> dict[str, object]:
        """Return the fields as JSON values."""
        return {"norm": self.norm, "epsilons": list(self.epsilons), "bounds": list(self.bounds)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> "ThreatModel":
        """Return the threat model of `to_dict`; a key that is not a field is an error.

        Args:
            fields: the keys norm, epsilons, bounds; each may be left out.

        Returns:
            The checked threat model.

        Raises:
            InputError: an unknown key, or a value outside its range.
        """
        known = {"norm", "epsilons", "bounds"}
        for name in fields:
            if name not in known:
                raise UnknownName("field of the threat model", str(name), known)
        return cls(**fields)  # type: ignore[arg-type]


#: Radii used where the caller names none, by the kind of data: field conventions for inputs in [0, 1].
_SMALL_COLOUR = {"linf": (2 / 255, 4 / 255, 8 / 255), "l2": (0.25, 0.5, 1.0), "l1": (4.0, 8.0, 12.0)}
_DIGITS = {"linf": (0.1, 0.2, 0.3), "l2": (1.0, 1.5, 2.0), "l1": (5.0, 10.0)}


def default_threat(
    input_shape: Sequence[int], *, norm: str = "linf", bounds: tuple[float, float] = (0.0, 1.0)
) -> ThreatModel:
    """Return the conventional threat model for inputs of this shape.

    Args:
        input_shape: (channel, height, width); one channel means digits, three mean small colour images.
        norm: a key of `NORMS`.
        bounds: the box; its width scales every radius.

    Returns:
        The last conventional radii of that kind of data, three at most.

    Raises:
        InputError: an unknown norm or malformed bounds.
    """
    if norm not in NORMS:
        raise UnknownName("norm", norm, NORMS)
    low, high = _checked_bounds(bounds)
    table = _DIGITS if input_shape[0] == 1 else _SMALL_COLOUR
    return ThreatModel(norm=norm, epsilons=tuple(epsilon * (high - low) for epsilon in table[norm]), bounds=(low, high))


@dataclass(frozen=True, slots=True)
class Knowledge:
    """One named kind of attacker: what it has, what it lacks, and what may be said afterwards.

    Attributes:
        name: the fixed name in reports.
        has: what the attacker holds.
        lacks: what it does not hold.
        may_claim: the strongest sentence its numbers support.
        must_not_claim: the sentence they never support.
        subsumes: the names of the weaker kinds whose examples count here too.
    """

    name: str
    has: str
    lacks: str
    may_claim: str
    must_not_claim: str
    subsumes: tuple[str, ...] = ()


_KINDS = (
    Knowledge(
        name="retrained_surrogate",
        has="a network of its own for the same task, trained from another seed, and the inputs it is to change",
        lacks="the base, the members, the group draw and the calibration sample",
        may_claim="transfer from an independently trained network",
        must_not_claim="anything about attackers who hold the base or know the method",
    ),
    Knowledge(
        name="stolen_base",
        has="the weights, architecture and preprocessing of the base network, and no queries to the target",
        lacks="the members, the group draw and the calibration sample",
        may_claim="examples made on the stolen base transfer less or more to the target",
        must_not_claim="robustness, or anything about an attacker who also knows the method",
    ),
    Knowledge(
        name="fresh_members",
        has="all that stolen_base has, the method with its settings, and a sample of its own to draw members with",
        lacks="the defender's seed and calibration sample",
        may_claim="accuracy without queries against an attacker who knows the method",
        must_not_claim="safety by secrecy of the method",
        subsumes=("stolen_base",),
    ),
    Knowledge(
        name="lgv_surrogate",
        has="all that stolen_base has, and a sample of its own to train the base on at a high learning rate",
        lacks="the method, the members and the seed",
        may_claim="transfer from a surrogate made in weight space",
        must_not_claim="safety from every attacker without queries",
        subsumes=("stolen_base",),
    ),
    Knowledge(
        name="member_to_member",
        has="one leaked member",
        lacks="the other members",
        may_claim="what one leaked member costs",
        must_not_claim="anything about the ensemble as a whole from entries off the diagonal alone",
    ),
    Knowledge(
        name="score_query",
        has="the served scores of every input it sends, within its budget",
        lacks="weights and gradients",
        may_claim="accuracy at this number of queries",
        must_not_claim="anything beyond this number of queries",
    ),
    Knowledge(
        name="decision_query",
        has="the served label of every input it sends, within its budget",
        lacks="scores, weights and gradients",
        may_claim="accuracy at epsilon on the stated points",
        must_not_claim="rates for the full set",
    ),
    Knowledge(
        name="white_box",
        has="everything: members, seed and serving mode",
        lacks="nothing",
        may_claim="accuracy under the attacks listed",
        must_not_claim="a lower bound on accuracy under other attacks",
        subsumes=(
            "retrained_surrogate",
            "stolen_base",
            "fresh_members",
            "lgv_surrogate",
            "member_to_member",
            "score_query",
            "decision_query",
        ),
    ),
)
#: The kinds of knowledge by name, weakest first.
KNOWLEDGE: Mapping[str, Knowledge] = MappingProxyType({kind.name: kind for kind in _KINDS})


def threat_sentence(
    threat: ThreatModel, knowledge: Knowledge, *, queries: int | None = None, datatype: str = "FP32"
) -> str:
    """Return the sentence a report prints for one threat model: goal, knowledge, capability, norm, radii, budget.

    Args:
        threat: the ball and the box.
        knowledge: the row of `KNOWLEDGE`.
        queries: the budget per point; None where no attack asks the target.
        datatype: how inputs are sent.

    Returns:
        One English sentence, and what it does not say.
    """
    radii = ", ".join(f"{epsilon:.6g}" for epsilon in threat.epsilons)
    budget = "none used" if queries is None else f"{queries} per input"
    rounded = f", measured before it is sent as {datatype} and rounded" if datatype != "FP32" else ""
    return (
        f"{knowledge.name}: the attacker wants any wrong answer; it has {knowledge.has}; it lacks {knowledge.lacks}; "
        f"it may change each input by at most epsilon in {threat.norm} (epsilon = {radii}) inside the box "
        f"[{threat.bounds[0]:g}, {threat.bounds[1]:g}]{rounded}; query budget: {budget}. This does not claim "
        f"{knowledge.must_not_claim}."
    )


def check_bounds(inputs: Tensor, bounds: tuple[float, float]) -> None:
    """Return nothing when every value lies in the box.

    Args:
        inputs: any shape, finite.
        bounds: (low, high).

    Raises:
        InputError: a value lies outside.
    """
    low, high = inputs.min().item(), inputs.max().item()
    lower, upper = torch.tensor(bounds, dtype=inputs.dtype).tolist()
    if low < lower or high > upper:
        raise InputError(
            f"inputs: expected every value within the bounds [{bounds[0]:g}, {bounds[1]:g}], got values from {low:g} "
            f"to {high:g}; rescale the inputs, or pass their true range as bounds (normalise in the network)"
        )
