"""The plan that serves a model is the fastest measured, and the fixed one where measuring fails.

Seen to fail: the error of a plan raised to the request; the choice of one member shown as the ensemble's; the nearest
size taken among larger ones only.
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
    for rows in (3, 4, 3):
        fastest.measure(program, torch.zeros(rows, 1, 8, 8), slice(None))
    assert fastest.known == {4: "grouped"}
    assert [fastest.plan(program, torch.zeros(rows, 1, 8, 8), slice(None)).name for rows in (1, 4, 9)] == [
        "grouped"
    ] * 3


def test_an_unmeasured_size_takes_the_nearest_and_measures_nothing(program: Program) -> None:
    """A request never pays for a measurement: larger batches use the largest known plan, smaller ones the next."""
    costs = iter([*[1.0, 2.0, 3.0], *[3.0, 1.0, 2.0]])
    ticks = (value for cost in costs for _ in range(2) for value in (0.0, cost))
    fastest = FastestPlan(MeasuredChoice(repeats=1, clock=lambda: next(ticks)))
    for rows in (2, 8):
        fastest.measure(program, torch.zeros(rows, 1, 8, 8), slice(None))
    found = [fastest.plan(program, torch.zeros(rows, 1, 8, 8), slice(None)).name for rows in (1, 2, 3, 8, 99)]
    assert found == ["loop", "loop", "grouped", "grouped", "grouped"]


def test_the_plan_of_one_member_is_not_the_ensembles(program: Program) -> None:
    """What is shown is how whole ensembles run."""
    fastest = FastestPlan()
    fastest.measure(program, torch.zeros(1, 1, 8, 8), slice(0, 1))
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
        fastest.measure(program, inputs, slice(None))
        assert fastest.plan(program, inputs, slice(None)) is fixed_plan(inputs.device)
    assert failing.asked == 1
