"""What a try is asked for, and the one table of the attacks it offers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from service.jobs.specs import Finite, Name, Whole

MAX_STEPS: Final = 40
SAMPLES: Final = 48  # of a data set's test part that may be tried
_PLANE: Final = ("linf", "l2")
_ALL: Final = ("linf", "l2", "l1")


@dataclass(frozen=True, slots=True)
class Offer:
    """One attack of a try.

    Attributes:
        kind: a key of the attack library's builders.
        label: for people.
        norms: where it is defined.
        iterated: whether it takes steps.
        fixed: parameters that are not asked for.
    """

    kind: str
    label: str
    norms: tuple[str, ...] = _ALL
    iterated: bool = True
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def parameters(self, steps: int) -> dict[str, Any]:
        """Return the keyword arguments of the attack."""
        return {**self.fixed, "steps": steps} if self.iterated else dict(self.fixed)


_TENTH: Final = MappingProxyType({"rel_stepsize": 0.1, "random_start": False})
ATTACKS: Final[Mapping[str, Offer]] = MappingProxyType(
    {
        offer.kind: offer
        for offer in (
            Offer("pgd", "PGD", fixed=_TENTH),
            Offer("apgd_ce", "APGD, cross-entropy", norms=_PLANE),
            Offer("mi_di", "momentum and input diversity, made to transfer", fixed=_TENTH),
            Offer("fgsm", "FGSM, one step", iterated=False),
            Offer("noise", "random noise, no attacker", iterated=False),
        )
    }
)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SampleImage(_Strict):
    """An image of the test part of a registered data set."""

    dataset: Name = Field(description="data set by name; GET /api/v1/datasets lists them")
    index: Annotated[Whole, Field(ge=0, lt=SAMPLES)] = Field(0, description="which of its first test images")


class UploadedImage(_Strict):
    """An image that was uploaded before."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(
        description="what POST /api/v1/try/images answered"
    )


class TryOrder(_Strict):
    """One attack on one image."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"image": {"dataset": "digits", "index": 0}, "target": "digits"}]},
    )

    image: SampleImage | UploadedImage
    target: Name = Field(description="ensemble by name")
    surrogate: Literal["base", "ensemble"] = Field(
        "base", description="what it is crafted on: the base (transfer) or the ensemble itself (white box)"
    )
    attack: str = Field("pgd", max_length=32, description=f"one of {sorted(ATTACKS)}")
    norm: Literal["linf", "l2", "l1"] = "linf"
    epsilon: Annotated[Finite, Field(ge=0, le=1000)] = Field(8 / 255, description="radius, for inputs in [0, 1]")
    steps: Annotated[Whole, Field(ge=1, le=MAX_STEPS)] = 20
    seed: Annotated[Whole, Field(ge=0, le=2**53)] = 0

    @field_validator("attack")
    @classmethod
    def _is_offered(cls, attack: str) -> str:
        if attack not in ATTACKS:
            raise ValueError(f"expected one of {sorted(ATTACKS)}, got {attack[:40]!r}; choose one of them")
        return attack

    @model_validator(mode="after")
    def _attack_knows_norm(self) -> "TryOrder":
        norms = ATTACKS[self.attack].norms
        if self.norm not in norms:
            raise ValueError(f"expected a norm of {list(norms)} for {self.attack!r}, got {self.norm!r}; choose one")
        return self
