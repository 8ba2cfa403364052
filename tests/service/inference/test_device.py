"""The device's thread: its failures in the batcher's words, and a model that starts with less memory than was hoped.

Seen to fail: a plain error taken for a lost device; memory of the CPU not recognised; a warm-up that gave up at once.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.catalogue.repository import ModelRepository
from service.inference.codec import InferRequest
from service.inference.device import DeviceThread
from service.inference.executions import DeviceLost, OutOfDeviceMemory
from service.inference.loading import start_serving
from service.inference.options import Options
from service.inference.served import Address, NotFinite, Runner
from service.inference.views import View
from service.observability.instruments import Instruments
from service.settings import Settings
from tests.service.inference.models import stored_models


def failing(error: Exception) -> Callable[[], None]:
    """Return a call that raises."""

    def call() -> None:
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "kind", "lost"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), OutOfDeviceMemory, False),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), OutOfDeviceMemory, False),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), DeviceLost, True),
        (RuntimeError("shapes do not match"), RuntimeError, False),
        (ValueError("no number"), ValueError, False),
    ],
)
def test_failures_are_told_apart(error: Exception, kind: type[Exception], lost: bool) -> None:
    """Memory, a lost device, and everything else, which is the fault of a request."""

    async def scene() -> None:
        thread = DeviceThread("cpu")
        with pytest.raises(kind) as caught:
            await thread.run(failing(error))
        assert (type(caught.value) is kind, thread.lost) == (True, lost)
        assert await thread.run(max, 1, 2) == 2
        thread.close()

    asyncio.run(scene())


def request(rows: Any) -> InferRequest:
    """Return a request for the labels and logits of some rows."""
    return InferRequest(None, rows, ("labels", "logits"), frozenset(), Options())


def test_a_model_starts_with_what_fits(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where 8 rows do not fit, executions hold 2, and larger requests are still answered."""
    repository = ModelRepository(stored_models(tmp_path_factory))
    plain = Runner.compute

    def tight(self: Runner, question: Any, rows: Any) -> Any:
        if len(rows) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(self, question, rows)

    monkeypatch.setattr(Runner, "compute", tight)

    async def scene() -> None:
        thread, settings = DeviceThread("cpu"), Settings(data=tmp_path, max_rows=8)
        info, model = repository.info("digits"), repository.load("digits")
        served = await start_serving(info, model, thread, settings, Instruments())
        assert served.batcher.max_rows == 2
        address = Address(View("digits"), served, served.signature(View("digits")))
        answer = await address.infer(request(np.full((7, 1, 8, 8), 0.5, dtype=np.float32)))
        assert answer.results["labels"].shape == (7,)
        await served.batcher.stop()
        thread.close()

    asyncio.run(scene())


def test_answers_that_are_no_numbers_are_not_sent(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A member that answers NaN fails the requests that asked it, and no others."""
    repository = ModelRepository(stored_models(tmp_path_factory))

    async def scene() -> None:
        thread, settings = DeviceThread("cpu"), Settings(data=tmp_path, max_rows=8)
        model = repository.load("digits")
        model.layers[0].weight[1].fill_(torch.nan)
        served = await start_serving(repository.info("digits"), model, thread, settings, Instruments())
        rows = np.full((2, 1, 8, 8), 0.5, dtype=np.float32)
        addresses = [Address(view, served, served.signature(view)) for view in served.views()]
        outcomes = await asyncio.gather(*(one.infer(request(rows)) for one in addresses), return_exceptions=True)
        failed = {
            one.view.name for one, outcome in zip(addresses, outcomes, strict=True) if isinstance(outcome, NotFinite)
        }
        assert failed == {"digits", "digits.m1"}
        assert not [
            outcome for outcome in outcomes if isinstance(outcome, Exception) and not isinstance(outcome, NotFinite)
        ]
        await served.batcher.stop()
        thread.close()

    asyncio.run(scene())
