"""Shapes of base networks, ensembles, data sets, capabilities, keys and tries."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from service.openapi.shapes import Notice, Shape


class BaseLinks(Shape):
    """Where a base network is."""

    self: str
    ensembles: str


class BaseNetwork(Shape):
    """A stored base network."""

    object: Literal["model"]
    name: str
    architecture: str = Field(description="catalogue key")
    num_classes: int | None = Field(description="null where the architecture's own number was taken")
    sha256: str
    size: int
    parameters: int
    digest: str
    created_at: datetime
    links: BaseLinks


class VersionLinks(Shape):
    """What can be done with a version."""

    activate: str


class EnsembleVersion(Shape):
    """One stored version."""

    version: str
    ready: bool
    reason: str | None
    digest: str | None
    members: int | None
    base: str | None
    created_at: datetime | None
    links: VersionLinks


class JobLink(Shape):
    """Where a job is."""

    self: str


class Generating(Shape):
    """An unfinished generation."""

    job_id: str
    state: str
    links: JobLink


class EnsembleLinks(Shape):
    """Where an ensemble is."""

    self: str
    page: str


class Ensemble(Shape):
    """An ensemble: the record of the version that answers, and what else there is; without one, no record."""

    object: Literal["ensemble"]
    name: str
    version: str | None
    ready: bool
    reason: str | None
    pinned: str | None = Field(description="the version that was activated")
    notices: list[Notice]
    versions: list[EnsembleVersion]
    generating: list[Generating]
    plans: dict[str, str] = Field(description="rows of a batch -> how the members run, as measured")
    links: EnsembleLinks
    architecture: str | None = None
    members: int = 0
    digest: str = ""
    base_digest: str = ""
    input_shape: list[int] = Field(default_factory=list)
    num_classes: int = 0
    class_names: list[str] | None = None
    dataset: str | None = None
    dataset_digest: str | None = None
    base: str | None = None
    calibration_digest: str | None = None
    created_at: datetime | None = None
    generation: dict[str, Any] = Field(default_factory=dict, description="how the members were made, site by site")


class NewEnsemble(Ensemble):
    """An ensemble with the queued job that makes its next version."""

    job_id: str


class DataSetName(Shape):
    """A data set that jobs may name."""

    name: str


class Capabilities(Shape):
    """What this installation can do."""

    job_types: list[str]
    suites: dict[str, Any] = Field(description="name -> version and rows")
    attacks: dict[str, Any] = Field(description="kind -> its traits and the JSON Schema of its parameters")
    recipes: dict[str, Any] = Field(description="preset -> its fields")
    groups: dict[str, Any] = Field(description="symmetry groups: what they act on, and what they are made from")
    threat_models: list[str] = Field(description="what an attacker may know")
    norms: list[str]
    datasets: list[str]
    architectures: list[str]
    modes: list[str]
    limits: dict[str, int]
    device: str
    versions: dict[str, str]


class Key(Shape):
    """A key, without the key itself."""

    id: str
    object: Literal["key"]
    name: str
    owner: str
    scopes: list[Literal["infer", "read", "jobs", "admin"]]
    rate: float | None
    created_at: datetime
    revoked_at: datetime | None


class NewKey(Key):
    """A key that was just made: the only answer in which it can be read."""

    key: str


class ImageLinks(Shape):
    """Where an image is."""

    self: str


class Image(Shape):
    """An uploaded image, kept for an hour."""

    object: Literal["image"]
    sha256: str
    links: ImageLinks


class Vote(Shape):
    """One network's answer."""

    label: int
    probability: float


class Votes(Shape):
    """Everybody's answer to one image."""

    base: Vote
    members: list[Vote]
    ensemble: Vote
    disagreement: float


class Label(Shape):
    """The right answer, and who says so."""

    value: int
    source: str


class Try(Shape):
    """Everybody's answer before and after one attack on one image; it proves nothing."""

    object: Literal["try"]
    digest: str
    cached: bool
    asked: dict[str, Any]
    label: Label
    clean: Votes
    adversarial: Votes
    perturbation: dict[str, float] = Field(description="norm -> size")
    pictures: dict[str, Any] = Field(description="PNGs in base64, and the scale of the difference")
    seconds: float
