"""What a repository says about a stored ensemble without loading its weights."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from service.catalogue.datasets import DataSet


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
    dataset_digest: str | None = Field(
        None, description="SHA-256 over that data set's images, labels and parts; None in records before it was kept"
    )
    base: str | None = Field(None, description="stored base network it was generated from; None for a local build")
    calibration_digest: str | None = Field(None, description="SHA-256 of the calibration inputs")
    created_at: datetime = Field(description="time of storing, UTC")
    generation: dict[str, Any] = Field(default_factory=dict, description="how the members were made, site by site")

    def was_made_on(self, dataset: "DataSet", *, offered_as: str) -> bool:
        """Return whether the calibration inputs came from a data set; by name where the record holds no digest.

        Args:
            dataset: the data set.
            offered_as: the name under which it was asked for.
        """
        if self.dataset_digest is not None:
            return self.dataset_digest == dataset.digest
        return self.dataset in (offered_as, dataset.name)
