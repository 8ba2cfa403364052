"""One loaded version of an ensemble, and the way of one request through it."""

import asyncio
import time
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch

from ensemble import SymmetryEnsemble
from ensemble.aggregation import Aggregation, aggregation
from service.catalogue.model_info import ModelInfo
from service.errors import ServiceError
from service.inference.admission import Ask, Reservation
from service.inference.batcher import Batcher
from service.inference.codec import InferRequest
from service.inference.device import DeviceThread
from service.inference.executions import Executed
from service.inference.observing import Observer
from service.inference.outputs import DISAGREEMENT, compute
from service.inference.plans import FastestPlan
from service.inference.questions import MODES, RANDOM_MEMBER, Question
from service.inference.signature import Signature, signature_of
from service.inference.statistics import ViewStatistics
from service.inference.tensors import Rows
from service.inference.views import View
from service.inference.waiting import Answered
from service.observability.instruments import Instruments


class NotFinite(ServiceError):
    """The network answered NaN or infinity for rows that were finite."""


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """One version of one ensemble, ready to answer.

    Attributes:
        info: what the repository says about it.
        batcher: its queue.
        fastest: its execution plans.
        mode: how members' answers become one where a request does not say.
        statistics: counters per view.
        instruments: metrics of the application.
    """

    info: ModelInfo
    batcher: Batcher
    fastest: FastestPlan
    mode: str
    statistics: dict[View, ViewStatistics]
    instruments: Instruments

    def signature(self, view: View) -> Signature:
        """Return what a view takes and answers."""
        info = self.info
        fixed = self.mode if self.mode == RANDOM_MEMBER else None
        return signature_of(
            view, input_shape=info.input_shape, num_classes=info.num_classes, members=info.members, fixed_mode=fixed
        )

    def views(self) -> list[View]:
        """Return every view: the ensemble, the base, each member."""
        name = self.info.name
        return [View(name), View(name, "base"), *(View(name, "member", k) for k in range(self.info.members))]


@dataclass(frozen=True, slots=True, eq=False)
class Address:
    """A resolved request: the view, the version that answers, and its signature."""

    view: View
    served: Served
    signature: Signature

    @property
    def version(self) -> str:
        """The version that answers."""
        return self.served.info.version

    @property
    def statistics(self) -> ViewStatistics:
        """The view's counters."""
        return self.served.statistics.setdefault(self.view, ViewStatistics())

    def reserve(self, count: int) -> Reservation:
        """Return a reservation of bytes in the model's queue."""
        return self.served.batcher.admission.reserve(count)

    async def infer(self, request: InferRequest, reservation: Reservation | None = None) -> Answered:
        """Return the requested outputs of the view.

        Args:
            request: parsed and checked.
            reservation: bytes set aside for it.

        Raises:
            Overloaded: the queue is full or too slow for the request.
            DeadlineExceeded: the answer took too long.
            NotFinite: the network answers no numbers for these rows.
        """
        options = request.options
        mode = (options.mode or self.served.mode) if self.view.kind == "ensemble" else "prob"
        question = Question(
            self.view, frozenset(request.outputs), options.members, mode, datatype=request.rows.dtype.name
        )
        ask = Ask(question, question.forwards, options.priority, options.timeout)
        began = time.perf_counter()
        try:
            answer = await self.served.batcher.infer(ask, request.rows, reservation)
            _check_finite(answer, question)
        except (Exception, asyncio.CancelledError):
            self.statistics.failed(time.perf_counter() - began)
            raise
        self.statistics.answered(len(request.rows), time.perf_counter() - began, answer)
        self.served.instruments.queue_seconds.observe(self.view.ensemble, value=answer.queued)
        if DISAGREEMENT in answer.results:
            self.served.instruments.disagreement.observe_all(
                self.view.ensemble, values=answer.results[DISAGREEMENT].tolist()
            )
        return answer


class Counting(Observer):
    """Counts what one batcher does.

    Args:
        model: name of the ensemble.
        statistics: counters per view.
        instruments: metrics of the application.
    """

    def __init__(self, model: str, statistics: dict[View, ViewStatistics], instruments: Instruments) -> None:
        self._model = model
        self._statistics = statistics
        self._instruments = instruments

    def dispatched(self, reason: str, rows: int) -> None:
        """Count the dispatch by its reason."""
        self._instruments.dispatches.add(reason)

    def executed(self, key: Hashable, rows: int, executed: Executed) -> None:
        """Count the execution."""
        assert isinstance(key, Question)
        self._statistics.setdefault(key.view, ViewStatistics()).executed(rows, executed)
        self._instruments.batch_rows.observe(self._model, value=rows)
        self._instruments.compute_seconds.observe(self._model, value=executed.total)


@dataclass(frozen=True, slots=True, eq=False)
class Runner:
    """Executes the questions of one loaded ensemble in its device's thread.

    Attributes:
        model: the loaded ensemble.
        thread: of the device.
        device: where the parameters lie.
        fastest: its execution plans.
        rng: draws the member of a row where the serving mode is random; seeded by the operating system, since an
            attacker must not know the draws.
    """

    model: SymmetryEnsemble
    thread: DeviceThread
    device: str
    fastest: FastestPlan
    rng: torch.Generator = field(default_factory=lambda: _unpredictable())

    async def __call__(self, key: Hashable, rows: Rows) -> Executed:
        """Return what the question `key` asks about `rows`."""
        assert isinstance(key, Question)
        return await self.thread.run(self.compute, key, rows)

    def compute(self, question: Question, rows: Rows) -> Executed:
        """Return what a question asks about rows; called in the device's thread."""
        way = self._aggregation(question.mode)
        return compute(self.model, question, rows, device=self.device, fastest=self.fastest, aggregation=way)

    def _aggregation(self, mode: str) -> Aggregation:
        return aggregation(mode, rng=None if mode in MODES else self.rng)


def _unpredictable() -> torch.Generator:
    generator = torch.Generator()
    generator.seed()
    return generator


_KINDS_WITH_NUMBERS: Final = "f"


def _check_finite(answer: Answered, question: Question) -> None:
    for name in question.outputs:
        values = answer.results[name]
        if values.dtype.kind in _KINDS_WITH_NUMBERS and not np.isfinite(values).all():
            raise NotFinite(f"output {name!r} of {question.view.name}: expected finite values, got others")
