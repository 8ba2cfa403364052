"""From a loaded ensemble to one that answers: laid out, warmed up, its costs measured, its batcher started."""

import logging

from ensemble import SymmetryEnsemble
from service.catalogue.model_info import ModelInfo
from service.inference.admission import Admission, Bounds
from service.inference.batcher import Batcher
from service.inference.costs import CostModel
from service.inference.device import DeviceThread
from service.inference.executions import OutOfDeviceMemory
from service.inference.layout import fastest_layout
from service.inference.plans import FastestPlan
from service.inference.served import Counting, Runner, Served
from service.inference.statistics import ViewStatistics
from service.inference.views import View
from service.inference.warming import warm_up
from service.observability.instruments import Instruments
from service.settings import Settings

LOG = logging.getLogger("levelset.models")


async def start_serving(
    info: ModelInfo, model: SymmetryEnsemble, thread: DeviceThread, settings: Settings, instruments: Instruments
) -> Served:
    """Return a version that answers; its dispatcher runs on the running loop.

    Args:
        info: what the repository says about it.
        model: on the settings' device.
        thread: of that device.
        settings: bounds and serving modes.
        instruments: metrics of the application.

    Raises:
        OutOfDeviceMemory: not even one row fits.
    """
    model = await thread.run(fastest_layout, model, max_rows=settings.max_rows)
    runner = Runner(model, thread, settings.device, FastestPlan())
    max_rows, costs = await _warmed_up(runner, info, settings.max_rows)
    bounds = Bounds(
        max_rows, settings.queue_rows, settings.queue_bytes, settings.queue_timeout, settings.max_queue_delay
    )
    statistics: dict[View, ViewStatistics] = {}
    counting = Counting(info.name, statistics, instruments)
    batcher = Batcher(runner, bounds, observer=counting, admission=Admission(bounds, costs))
    batcher.start()
    mode = settings.serving_modes.get(info.name, "prob")
    return Served(info, batcher, runner.fastest, mode, statistics, instruments)


async def _warmed_up(runner: Runner, info: ModelInfo, max_rows: int) -> tuple[int, CostModel]:
    """Return how many rows fit into one execution, at most `max_rows`, and what executions cost."""
    while True:
        try:
            return max_rows, await runner.thread.run(warm_up, runner, info, max_rows=max_rows)
        except OutOfDeviceMemory:
            if max_rows == 1:
                raise
            max_rows //= 2
            LOG.warning("model %s: the device's memory is not enough; executions hold %d rows", info.name, max_rows)
