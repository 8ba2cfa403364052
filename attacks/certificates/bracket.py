"""certified <= accuracy under attack: a certificate as a value, and the error where an attack contradicts it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.metrics import Flags
from attacks.statistics import wilson
from ensemble.errors import LevelsetError


class CertificateContradiction(LevelsetError):
    """An attack broke a point that a certificate says cannot be broken: one of the two is wrong."""


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """What one method certifies of one network at one radius.

    Attributes:
        method: how.
        target: the judge certified.
        threat: index of the threat model.
        norm: of the threat model.
        epsilon: the radius.
        points: `[certified-or-not point]`, indices into the evaluated points.
        flags: `[same]` bool, certified and right.
        seconds: spent.
        slack: what every margin had to exceed, for rounding.
    """

    method: str
    target: str
    threat: int
    norm: str
    epsilon: float
    points: tuple[int, ...]
    flags: tuple[bool, ...]
    seconds: float
    slack: float

    def to_dict(self) -> dict[str, Any]:
        """Return the row a report prints: counts with their Wilson interval."""
        k, n = sum(self.flags), len(self.flags)
        low, high = wilson(k, n)
        return {
            "method": self.method,
            "target": self.target,
            "norm": self.norm,
            "epsilon": self.epsilon,
            "certified": {"k": k, "n": n, "low": low, "high": high},
            "slack": self.slack,
            "seconds": self.seconds,
        }

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON values: part of a shard's result."""
        own = {name: getattr(self, name) for name in self.__slots__}
        return own | {"points": list(self.points), "flags": "".join("01"[flag] for flag in self.flags)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Certificate":
        """Return the certificate of `to_json`."""
        flags = tuple(bit == "1" for bit in fields["flags"])
        return cls(**{**fields, "points": tuple(fields["points"]), "flags": flags})


def refuse_contradictions(certificate: Certificate, held: Sequence[bool] | NDArray[np.bool_]) -> None:
    """Return nothing when every certified point was held under every attack.

    Args:
        certificate: of a network.
        held: `[point]`, all evaluated points: right when clean and under every attack at this radius and below.

    Raises:
        CertificateContradiction: a certified point fell.
    """
    flags: Flags = np.asarray(held, dtype=np.bool_)[list(certificate.points)]
    broken = [
        p for p, sure, kept in zip(certificate.points, certificate.flags, flags, strict=True) if sure and not kept
    ]
    if broken:
        raise CertificateContradiction(
            f"certificate {certificate.method} of {certificate.target} at epsilon {certificate.epsilon:g} in "
            f"{certificate.norm}: expected every certified point to be held, got {len(broken)} that an attack broke "
            f"(first: point {broken[0]}); one of the two is wrong: keep the examples and report both"
        )
