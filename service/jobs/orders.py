"""Job specifications besides evaluations, and the one table from a job's type to its specification."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.errors import UnprocessableRequest
from service.jobs.specs import MAX_METADATA, EvaluateJob, Key, Name, Text, Whole

NOT_CONTENT: Final = frozenset({"priority", "max_seconds", "metadata"})
FIGURES: Final = (3, 4, 5, 6, 7, 9, 10, 11)


class _Order(BaseModel):
    """What every job may say besides what it is about."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    priority: Annotated[Whole, Field(ge=0, le=3)] = Field(1, description="0 is served first")
    max_seconds: Annotated[Whole, Field(ge=1, le=10**7)] | None = Field(
        None, description="the job fails when it runs longer"
    )
    metadata: dict[Key, Text] = Field(
        default_factory=dict, max_length=MAX_METADATA, description="returned as it came, never interpreted"
    )

    def what(self) -> dict[str, Any]:
        """Return what decides the result: the part of the specification that the shard keys are made of."""
        return self.model_dump(mode="json", exclude=set(NOT_CONTENT))


class CalibrationSpec(BaseModel):
    """The unlabelled inputs an ensemble is generated from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: Name = Field(description="data set by name; GET /api/v1/datasets lists them")
    split: Literal["calibration"] = Field("calibration", description="the part that no evaluation judges on")
    n: Annotated[Whole, Field(ge=2, le=10**6)] | None = Field(
        None, description="the first n of that part; all, but at most 500, without it"
    )


class GenerateJob(_Order):
    """A job that makes an ensemble from a stored base network."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "type": "generate",
                    "name": "mine",
                    "base": "digits-base",
                    "members": 8,
                    "recipe": "balanced",
                    "calibration": {"dataset": "digits", "n": 300},
                    "seed": 0,
                }
            ]
        },
    )

    type: Literal["generate"] = "generate"
    name: Name = Field(description="ensemble the new version belongs to")
    base: Name = Field(description="base network by name; GET /api/v1/models lists them")
    members: Annotated[Whole, Field(ge=1, le=256)] = 8
    recipe: Name | dict[Key, Any] = Field("balanced", description="a preset by name, or fields of a recipe")
    calibration: CalibrationSpec
    seed: Annotated[Whole, Field(ge=0, le=2**53)] = 0


class FiguresJob(_Order):
    """A job that reproduces figures of the paper."""

    type: Literal["figures"]
    figures: Annotated[list[Annotated[Whole, Field(ge=1, le=99)]], Field(max_length=16)] = Field(
        default_factory=list, description=f"numbers of {list(FIGURES)}; all without it"
    )
    full: bool = Field(False, description="run to the official horizons, which takes hours")


AnyJob = EvaluateJob | GenerateJob | FiguresJob
JOBS: Final[Mapping[str, type[AnyJob]]] = MappingProxyType(
    {"evaluate": EvaluateJob, "generate": GenerateJob, "figures": FiguresJob}
)


def job_of(body: Any) -> AnyJob:
    """Return the specification in the body of a request.

    Raises:
        UnprocessableRequest: it names no type of job.
        ValidationError: it does not fit its type.
    """
    if not isinstance(body, dict):
        raise UnprocessableRequest(
            f"job: expected an object, got {type(body).__name__}; see /docs for its fields", field="body"
        )
    kind = body.get("type")
    if not isinstance(kind, str) or kind not in JOBS:
        got = "none" if kind is None else repr(str(kind)[:40])
        raise UnprocessableRequest(
            f"type: expected one of {sorted(JOBS)}, got {got}; name the type of the job", field="type"
        )
    return JOBS[kind].model_validate(body)
