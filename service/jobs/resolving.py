"""From what a client asks for to what is run: every name is looked up and pinned, everything else is refused here."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeVar

import ensemble
from attacks.overrides import Overrides, with_overrides
from attacks.rows import Suite
from attacks.suites import SUITES
from ensemble.errors import ArtifactError, InputError, RecipeError, UnknownName
from service.catalogue.base_models import BaseModels
from service.catalogue.building import CALIBRATION, enough
from service.catalogue.datasets import DataSet
from service.catalogue.model_info import ModelInfo
from service.catalogue.names import RESERVED
from service.catalogue.repository import ModelRepository
from service.errors import UnprocessableRequest
from service.jobs import data_sets
from service.jobs.orders import FIGURES, AnyJob, FiguresJob, GenerateJob
from service.jobs.specs import EvaluateJob
from service.settings import Settings

Found = TypeVar("Found")
FELL_BACK: Final = "older_version"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A specification with everything pinned that could change between now and the run.

    Attributes:
        spec: JSON values.
        notices: what the client must know, by code.
    """

    spec: Mapping[str, Any]
    notices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What is kept of a data set once it was opened: its images are not."""

    sizes: Mapping[str, int]
    input_shape: tuple[int, ...]
    num_classes: int
    digest: str


class Resolver:
    """Looks up what jobs name.

    Args:
        settings: limits and folders.
        repository: the ensembles a job may name.
        broken: returns `name/version -> reason` of what is stored and could not be loaded.
    """

    def __init__(
        self, settings: Settings, repository: ModelRepository, *, broken: Callable[[], Mapping[str, str]]
    ) -> None:
        self._settings = settings
        self._repository = repository
        self._bases = BaseModels(settings.bases_folder)
        self._broken = broken
        self._facts: dict[str, DataFacts] = {}

    def resolve(self, job: AnyJob) -> Resolved:
        """Return what is run.

        Raises:
            UnprocessableRequest: it names what is not there, or asks for more than there is.
        """
        find: Callable[[Resolver, Any], Resolved] = RESOLVERS[job.type]
        return find(self, job)

    def evaluation(self, job: EvaluateJob) -> Resolved:
        """Return the evaluation with version and digest of its target."""
        info, notices = self._target(job.target)
        suite = SUITES.get(job.suite.name)
        if suite is None:
            raise UnprocessableRequest(str(UnknownName("suite", job.suite.name, SUITES)), field="suite.name")
        if job.suite.version not in (None, suite.version):
            raise UnprocessableRequest(
                f"suite.version: expected {suite.version!r} or none, got {job.suite.version!r}; leave it out",
                field="suite.version",
            )
        spec = job.what()
        spec["data"]["n"] = self._count(job, info)
        spec["suite"] = {"name": suite.name, "version": suite.version} | _overrides(job, suite)
        return Resolved(spec | {"target_version": info.version, "target_digest": info.digest}, notices)

    def generation(self, job: GenerateJob) -> Resolved:
        """Return the generation with its recipe written out and the digests of base and data set."""
        if job.name.lower() in RESERVED:
            raise UnprocessableRequest(f"name: expected another word than {sorted(RESERVED)}", field="name")
        try:
            base = _named("base", lambda: self._bases.info(job.base))
        except ArtifactError:
            raise UnprocessableRequest(
                f"base: expected a usable one, got {job.base!r}, whose record is damaged; upload it again", field="base"
            ) from None
        dataset = self._dataset("calibration.dataset", job.calibration.dataset)
        held = dataset.sizes[CALIBRATION]
        recipe = _recipe(job.recipe)
        count = min(held, enough(recipe)) if job.calibration.n is None else job.calibration.n
        if count > held:
            raise UnprocessableRequest(
                f"calibration.n: expected at most {held} images of {job.calibration.dataset!r}, got {count}; ask for "
                "fewer",
                field="calibration.n",
            )
        spec = job.what()
        spec["calibration"]["n"] = count
        spec["recipe"] = asdict(recipe)
        pinned = {
            "base_sha256": base.sha256,
            "architecture": base.architecture,
            "num_classes": base.num_classes,
            "dataset_digest": dataset.digest,
        }
        return Resolved(spec | pinned)

    def figures(self, job: FiguresJob) -> Resolved:
        """Return the figures in order."""
        unknown = sorted(set(job.figures) - set(FIGURES))
        if unknown:
            raise UnprocessableRequest(
                f"figures: expected numbers of {list(FIGURES)}, got {unknown}; leave them out", field="figures"
            )
        return Resolved(job.what() | {"figures": sorted(set(job.figures)) or list(FIGURES)})

    def _target(self, name: str) -> tuple[ModelInfo, dict[str, str]]:
        """Return the version that inference answers with: the activated one, else the newest that can be loaded."""
        versions = _named("target", lambda: self._repository.versions(name))[::-1]
        active = self._repository.active(name)
        wanted = active or versions[0]
        reasons: dict[str, str] = {}
        for version in dict.fromkeys([wanted, *versions]):
            reason = self._broken().get(f"{name}/{version}")
            try:
                info = self._repository.info(name, version)
            except ArtifactError:
                reason = reason or "its record cannot be read"
            if reason is None:
                return info, {} if version == wanted else {FELL_BACK: _fallback(name, wanted, version, reasons[wanted])}
            reasons[version] = reason
        raise UnprocessableRequest(
            f"target: expected an ensemble that can be loaded, got {name!r}, but {reasons[wanted]}; restore it from a "
            "copy, or build it again",
            field="target",
        )

    def _count(self, job: EvaluateJob, info: ModelInfo) -> int:
        dataset = self._dataset("data.name", job.data.name)
        held, shape, classes = dataset.sizes[job.data.split], dataset.input_shape, dataset.num_classes
        if shape != tuple(info.input_shape) or classes > info.num_classes:
            raise UnprocessableRequest(
                f"data.name: expected inputs {list(info.input_shape)} in {info.num_classes} classes as {job.target!r} "
                f"takes, got {list(shape)} in {classes}; name the data set it was made for",
                field="data.name",
            )
        count = held if job.data.n is None else job.data.n
        limit = min(held, self._settings.max_job_samples)
        if not 1 <= count <= limit:
            raise UnprocessableRequest(
                f"data.n: expected between 1 and {limit} samples of {job.data.name!r} {job.data.split}, got {count}; "
                "ask for fewer, or leave it out for all",
                field="data.n",
            )
        return count

    def _dataset(self, where: str, name: str) -> "DataFacts":
        if name not in self._facts:
            self._facts[name] = _named(where, lambda: _facts(data_sets.open_dataset(name, self._settings)))
        return self._facts[name]


RESOLVERS: Final[Mapping[str, Callable[[Resolver, Any], Resolved]]] = MappingProxyType(
    {"evaluate": Resolver.evaluation, "generate": Resolver.generation, "figures": Resolver.figures}
)


def _overrides(job: EvaluateJob, suite: Suite) -> dict[str, Any]:
    """Return the changes to the suite's rows, if there are any, after trying them."""
    if job.suite.overrides is None:
        return {}
    asked = job.suite.overrides.model_dump(mode="json")
    try:
        changed = with_overrides(suite, Overrides(**asked))
        changed.served_as(job.mode)
    except InputError as error:
        raise UnprocessableRequest(str(error), field="suite.overrides") from error
    return {} if changed is suite else {"overrides": asked}


def _facts(dataset: DataSet) -> DataFacts:
    sizes = {split: len(indices) for split, indices in dataset.parts.items()}
    return DataFacts(sizes, tuple(dataset.input_shape), dataset.num_classes, dataset.digest)


def _recipe(asked: str | Mapping[str, Any]) -> ensemble.Recipe:
    if isinstance(asked, str):
        if asked not in ensemble.presets:
            raise UnprocessableRequest(str(UnknownName("recipe", asked, ensemble.presets)), field="recipe")
        return ensemble.presets[asked]
    try:
        return ensemble.Recipe.from_dict(asked)
    except RecipeError as error:
        raise UnprocessableRequest(f"recipe: {error}", field="recipe") from error


def _fallback(name: str, wanted: str, version: str, reason: str) -> str:
    return (
        f"{name} version {wanted} cannot be used ({reason}); version {version} is judged, which also answers requests"
    )


def _named(where: str, find: Callable[[], Found]) -> Found:
    try:
        return find()
    except UnknownName as error:
        raise UnprocessableRequest(f"{where}: {error}", field=where) from error
    except InputError as error:  # its message may name a folder of this machine
        message = (
            f"{where}: expected one that is installed here, got one whose files are missing or cannot be read; "
            "put them where the operator's settings say, or name another"
        )
        raise UnprocessableRequest(message, field=where) from error
