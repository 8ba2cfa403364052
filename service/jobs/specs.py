"""Job specifications as they come over the wire; unknown fields are refused."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,95}$"
Name = Annotated[str, StringConstraints(pattern=_NAME)]
Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Whole = Annotated[int, Field(strict=True)]

Key = Annotated[str, StringConstraints(max_length=64)]
Text = Annotated[str, StringConstraints(max_length=512)]

RowId = Annotated[str, StringConstraints(max_length=96)]
Parameters = dict[Key, bool | Whole | Finite]

MAX_METADATA = 64


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSpec(_Strict):
    """Which inputs the target is judged on."""

    name: Name = Field(description="data set by name; GET /api/v1/datasets lists them")
    split: Literal["test", "validation", "attacker", "calibration", "train"] = "test"
    n: Annotated[Whole, Field(ge=1, le=10**9)] | None = Field(
        None, description="the first n of that part; all without it"
    )


class ThreatSpec(_Strict):
    """How far an input may be moved."""

    norm: Literal["linf", "l2", "l1"] = "linf"
    epsilons: Annotated[list[Annotated[Finite, Field(ge=0)]], Field(min_length=1, max_length=16)] = Field(
        description="radii in units of `bounds`"
    )
    bounds: tuple[Finite, Finite] = Field((0.0, 1.0), description="lowest and highest value an input may have")

    @field_validator("epsilons")
    @classmethod
    def _different(cls, epsilons: list[float]) -> list[float]:
        if len(set(epsilons)) != len(epsilons):
            raise ValueError("expected different radii, got one twice; drop the repeated ones")
        return epsilons

    @model_validator(mode="after")
    def _inside_bounds(self) -> "ThreatSpec":
        if self.bounds != (0.0, 1.0):
            raise ValueError(
                f"expected bounds [0, 1], in which every served model takes its inputs, got {list(self.bounds)}; "
                "leave them out, and give radii in that unit"
            )
        if max(self.epsilons) > 1e3:
            raise ValueError(f"expected radii of at most 1000, got {max(self.epsilons):g}; lower them")
        return self


class AddedRow(_Strict):
    """A row that the suite does not have."""

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$")] = Field(
        description="what reports print; unique in the suite"
    )
    kind: Name = Field(description="attack by kind; GET /api/v1/capabilities lists them with their parameters")
    knowledge: Literal["stolen_base", "white_box"] = Field(
        "white_box", description="crafted on the base, or on the judged network itself"
    )
    parameters: Parameters = Field(default_factory=dict, max_length=32, description="by the kind's own JSON Schema")


class OverridesSpec(_Strict):
    """Changes to the rows of a suite; the report names them, and its suite's version says that there are some."""

    remove: Annotated[list[RowId], Field(max_length=64)] = Field(
        default_factory=list, description="ids of rows that are not run; the report lists them as not run"
    )
    change: dict[
        Annotated[str, StringConstraints(max_length=96)],
        Annotated[dict[Key, bool | Whole | Finite], Field(max_length=32)],
    ] = Field(default_factory=dict, max_length=64, description="id of a row -> parameters in place of its own")
    add: Annotated[list[AddedRow], Field(max_length=16)] = Field(default_factory=list, description="further rows")


class SuiteSpec(_Strict):
    """Which attacks are run."""

    name: Name = "quick"
    version: Annotated[str, StringConstraints(max_length=16)] | None = Field(
        None, description="refused unless it is the current one"
    )
    overrides: OverridesSpec | None = Field(None, description="rows that are changed, left out or added")


class EvaluateJob(_Strict):
    """A job that judges what an ensemble is worth against attacks."""

    type: Literal["evaluate"]
    target: Name = Field(description="ensemble by name; GET /api/v1/ensembles lists them")
    data: DataSpec
    threat: ThreatSpec
    also: Annotated[list[ThreatSpec], Field(max_length=2)] = Field(
        default_factory=list, description="the same question in other norms; `threat` carries the headline"
    )
    suite: SuiteSpec = SuiteSpec()
    mode: Literal["prob", "logit", "vote", "random_member"] = Field(
        "prob", description="how the members' answers become one"
    )
    datatype: Literal["FP32", "UINT8"] = Field(
        "FP32",
        description="how clients send inputs; UINT8, and image files, are rounded to 256 levels before any network",
    )
    draws: Annotated[Whole, Field(ge=1, le=32)] | None = Field(
        None,
        description="draws of the group in all; others of the target's recipe are made from its calibration inputs. "
        "Without it the suite's number, where those inputs are at hand",
    )
    seed: Annotated[Whole, Field(ge=0, le=2**53)] = 0
    block: Annotated[Whole, Field(ge=1, le=4096)] = Field(64, description="samples per shard; part of the shard's key")
    priority: Annotated[Whole, Field(ge=0, le=3)] = Field(1, description="0 is served first")
    max_seconds: Annotated[Whole, Field(ge=1, le=10**7)] | None = Field(
        None, description="the job fails when it runs longer"
    )
    metadata: dict[
        Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=512)]
    ] = Field(default_factory=dict, max_length=MAX_METADATA, description="returned as it came, never interpreted")

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "type": "evaluate",
                    "target": "digits",
                    "data": {"name": "digits", "split": "test", "n": 200},
                    "threat": {"norm": "linf", "epsilons": [0.1, 0.2, 0.3], "bounds": [0, 1]},
                    "suite": {"name": "quick"},
                    "seed": 0,
                }
            ]
        },
    )

    @model_validator(mode="after")
    def _one_threat_per_norm(self) -> "EvaluateJob":
        norms = [threat.norm for threat in (self.threat, *self.also)]
        if len(set(norms)) < len(norms):
            raise ValueError(f"expected one threat per norm, got {norms}; put all radii of a norm in one")
        return self

    def what(self) -> dict[str, Any]:
        """Return what decides the report: the part of the specification that the shard keys are made of."""
        return self.model_dump(mode="json", exclude={"priority", "max_seconds", "metadata"})
