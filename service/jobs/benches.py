"""What the shard process can do, one bench per type of job; each is made when a job of its type comes first."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol

import torch

from service.errors import NotFound
from service.settings import Settings
from service.store.artifacts import ArtifactStore
from service.store.canonical import canonical, digest


class Bench(Protocol):
    """Answers the worker's questions about jobs of one type."""

    def answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to `plan`, `run` or `finish`, JSON values only."""


@dataclass(frozen=True, slots=True)
class Step:
    """One idempotent piece of a job.

    Attributes:
        key: SHA-256 of all that its result depends on.
        title: one line for people.
        index: which of the job's pieces, from 0.
    """

    key: str
    title: str
    index: int


class SteppedBench(ABC):
    """A bench whose jobs are a list of steps with JSON results, kept under their keys.

    Args:
        settings: where models, data sets and artifacts lie, and the device.
    """

    def __init__(self, settings: Settings) -> None:
        torch.set_num_threads(settings.threads)
        self.settings = settings
        self.artifacts = ArtifactStore(settings.artifacts_folder)

    def answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to `plan`, `run` or `finish`, JSON values only.

        Raises:
            NotFound: another question.
        """
        spec = question["spec"]
        match question["do"]:
            case "plan":
                steps = self.steps(spec)
                listed = self.artifacts.put(canonical([asdict(step) for step in steps]))
                return {"plan": listed, "keys": [step.key for step in steps], "samples": len(steps)}
            case "run":
                step = {step.key: step for step in self._listed(question["plan"])}[question["key"]]
                result, cached = self._result(spec, step)
                return {"digest": digest(result), "samples": 1, "cached": cached, "title": step.title}
            case "finish":
                return self.finish(spec, [self._result(spec, step)[0] for step in self._listed(question["plan"])])
            case other:
                raise NotFound(f"question: expected plan, run or finish, got {other!r}")

    @abstractmethod
    def steps(self, spec: Mapping[str, Any]) -> Sequence[Step]:
        """Return the steps of a job: a pure function of its specification."""

    @abstractmethod
    def work(self, spec: Mapping[str, Any], step: Step) -> dict[str, Any]:
        """Return the result of a step, the same however often it runs."""

    @abstractmethod
    def finish(self, spec: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return what the job made, `result` and `files`; may run twice and leaves the same behind."""

    def file(self, name: str, data: bytes, media_type: str) -> dict[str, Any]:
        """Return the record of a file of the job after storing its bytes."""
        return {"name": name, "sha256": self.artifacts.put(data), "size": len(data), "media_type": media_type}

    def _listed(self, plan: str) -> list[Step]:
        return [Step(**fields) for fields in json.loads(self.artifacts.get(plan))]

    def _result(self, spec: Mapping[str, Any], step: Step) -> tuple[dict[str, Any], bool]:
        stored = self.artifacts.get_result(step.key)
        if stored is not None and self.is_whole(result := json.loads(stored)):
            return result, True
        result = self.work(spec, step)
        self.artifacts.put_result(step.key, canonical(result))
        return result, False

    def is_whole(self, result: Mapping[str, Any]) -> bool:
        """Return whether the files that a result names are still there."""
        return True


def _evaluate(settings: Settings) -> Bench:
    from service.jobs.workbench import Workbench

    return Workbench(settings)


def _generate(settings: Settings) -> Bench:
    from service.jobs.generating import GeneratingBench

    return GeneratingBench(settings)


def _figures(settings: Settings) -> Bench:
    from service.jobs.drawing import DrawingBench

    return DrawingBench(settings)


def _try(settings: Settings) -> Bench:
    from service.trying.bench import TryBench

    return TryBench(settings)


# Type of a job -> its bench; imported when needed, since each loads other libraries.
BENCHES: Final[Mapping[str, Callable[[Settings], Bench]]] = MappingProxyType(
    {"evaluate": _evaluate, "generate": _generate, "figures": _figures, "try": _try}
)


class Benches:
    """Hands each question to the bench of its job's type.

    Args:
        settings: of the service.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: dict[str, Bench] = {}

    def answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer of the right bench.

        Raises:
            NotFound: no such type of job.
        """
        kind = question["spec"]["type"]
        if kind not in BENCHES:
            raise NotFound(f"job type: expected one of {sorted(BENCHES)}, got {kind!r}")
        if kind not in self._made:
            self._made[kind] = BENCHES[kind](self._settings)
        return self._made[kind].answer(question)
