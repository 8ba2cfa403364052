"""Which execution plan serves a model: the one that is fastest here, measured; the fixed one where measuring fails."""

import logging
from collections.abc import Mapping

from torch import Tensor

from ensemble.execution import MeasuredChoice, Plan, Program, fixed_plan

LOG = logging.getLogger("levelset.models")


class FastestPlan:
    """The plans of one served model; used in its device's thread. Evaluation never asks it: its bytes must repeat.

    Args:
        measured: what measures, once per number of rows (rounded up to a power of two) and of members.
    """

    def __init__(self, measured: MeasuredChoice | None = None) -> None:
        self._measured = measured or MeasuredChoice()
        self._known: dict[int, str] = {}
        self._failed = False

    @property
    def known(self) -> Mapping[int, str]:
        """Return the plans of whole ensembles that were asked for so far: most rows it is used for -> its name."""
        return dict(self._known)

    def plan(self, program: Program, inputs: Tensor, members: slice) -> Plan:
        """Return the plan for a batch.

        Args:
            program: of the served ensemble.
            inputs: `[rows C H W]`, on the model's device.
            members: which members answer.
        """
        found = self._fastest(program, inputs, members)
        if len(range(*members.indices(program.size))) == program.size:
            self._known[1 << (len(inputs) - 1).bit_length()] = found.name
        return found

    def _fastest(self, program: Program, inputs: Tensor, members: slice) -> Plan:
        if not self._failed:
            try:
                return self._measured.plan(program, inputs, members)
            except RuntimeError as error:  # out of memory, or an operation without a kernel
                LOG.warning("an execution plan cannot run this model, so the fixed one serves it: %s", error)
                self._failed = True
        return fixed_plan(inputs.device)
