"""Which execution plan serves a model: the fastest here, measured before it answers; the fixed one where that fails."""

import logging
from collections.abc import Mapping

from torch import Tensor

from ensemble.execution import MeasuredChoice, Plan, Program, fixed_plan

LOG = logging.getLogger("levelset.models")


class FastestPlan:
    """The plans of one served model; used in its device's thread. Evaluation never asks it: its bytes must repeat.

    `measure` is called while the model warms up. Later batches take the plan of the nearest measured size, so that no
    request pays for a measurement.

    Args:
        measured: what measures, once per number of rows (rounded up to a power of two) and of members.
    """

    def __init__(self, measured: MeasuredChoice | None = None) -> None:
        self._measured = measured or MeasuredChoice()
        self._chosen: dict[int, dict[int, Plan]] = {}  # members -> most rows -> plan
        self._failed = False
        self._size = 0

    @property
    def known(self) -> Mapping[int, str]:
        """Return the plans of whole ensembles that were measured: most rows it is used for -> its name."""
        return {rows: plan.name for rows, plan in self._chosen.get(self._size, {}).items()}

    def measure(self, program: Program, inputs: Tensor, members: slice) -> None:
        """Choose the plan for batches like this one.

        Args:
            program: of the served ensemble.
            inputs: `[rows C H W]`, on the model's device.
            members: which members answer.
        """
        self._size = program.size
        if self._failed:
            return
        try:
            found = self._measured.plan(program, inputs, members)
        except RuntimeError as error:  # out of memory, or an operation without a kernel
            LOG.warning("an execution plan cannot run this model, so the fixed one serves it: %s", error)
            self._failed = True
            return
        self._chosen.setdefault(_count(program, members), {})[1 << (len(inputs) - 1).bit_length()] = found

    def plan(self, program: Program, inputs: Tensor, members: slice) -> Plan:
        """Return the plan for a batch; nothing is measured here."""
        chosen = self._chosen.get(_count(program, members), {})
        if self._failed or not chosen:
            return fixed_plan(inputs.device)
        rows = min(chosen, key=lambda known: (known < len(inputs), abs(known - len(inputs))))
        return chosen[rows]


def _count(program: Program, members: slice) -> int:
    return len(range(*members.indices(program.size)))
