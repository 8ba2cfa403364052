"""The plan that serves a model is the fastest measured, and the fixed one where measuring fails.

Seen to fail: the error of a plan raised to the request; the choice of one member shown as the ensemble's.
"""

import pytest
import torch

from ensemble.execution import MeasuredChoice, Plan, Program, fixed_plan
from service.catalogue.repository import ModelRepository
from service.inference.plans import FastestPlan
from tests.service.inference.models import stored_models


@pytest.fixture
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Return the program of a real ensemble."""
    return ModelRepository(stored_models(tmp_path_factory)).load("digits").program


def test_the_fastest_by_the_clock_is_taken_and_remembered(program: Program) -> None:
    """Each size of batch is measured once; sizes up to the same power of two share a plan."""
    costs = {"loop": 3.0, "grouped": 1.0, "vmap": 2.0}
    ticks = (value for cost in costs.values() for _ in range(2) for value in (0.0, cost))
    fastest = FastestPlan(MeasuredChoice(repeats=1, clock=lambda: next(ticks)))
    found = [fastest.plan(program, torch.zeros(rows, 1, 8, 8), slice(None)).name for rows in (3, 4, 3)]
    assert found == ["grouped"] * 3
    assert fastest.known == {4: "grouped"}


def test_the_plan_of_one_member_is_not_the_ensembles(program: Program) -> None:
    """What is shown is how whole ensembles run."""
    fastest = FastestPlan()
    fastest.plan(program, torch.zeros(1, 1, 8, 8), slice(0, 1))
    assert fastest.known == {}


class Failing(MeasuredChoice):
    """Fails as a plan does that needs too much memory."""

    asked = 0

    def plan(self, program: Program, x: torch.Tensor, members: slice) -> Plan:
        """Raise."""
        self.asked += 1
        raise RuntimeError("out of memory")


def test_a_plan_that_cannot_run_costs_no_answer(program: Program) -> None:
    """The fixed plan serves, and measuring is not tried again."""
    failing = Failing()
    fastest = FastestPlan(failing)
    for rows in (1, 8):
        inputs = torch.zeros(rows, 1, 8, 8)
        assert fastest.plan(program, inputs, slice(None)) is fixed_plan(inputs.device)
    assert failing.asked == 1
