"""What a repository says about a stored ensemble without loading its weights."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class ModelInfo(BaseModel):
    """One version of one stored ensemble; written once as `model.json`, never changed.

    Later fields may be added: a reader ignores what it does not know.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(description="name of the ensemble")
    version: str = Field(description="decimal version, '1' first")
    architecture: str | None = Field(description="catalogue key of the base; None where only its author can build it")
    members: int = Field(ge=1, description="number of members")
    digest: str = Field(description="SHA-256 over base and member parameters")
    base_digest: str = Field(description="SHA-256 over the base network's parameters and buffers")
    input_shape: tuple[int, int, int] = Field(description="(C, H, W) of one input, float32 in [0, 1]")
    num_classes: int = Field(ge=2, description="number of classes")
    class_names: tuple[str, ...] | None = Field(None, description="one name per class")
    dataset: str | None = Field(None, description="data set the calibration inputs came from")
    calibration_digest: str | None = Field(None, description="SHA-256 of the calibration inputs")
    created_at: datetime = Field(description="time of storing, UTC")
    generation: dict[str, Any] = Field(default_factory=dict, description="how the members were made, site by site")
