"""Before a model answers: every view runs once, plans are chosen, and the cost of its batches is measured."""

import time
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from service.catalogue.model_info import ModelInfo
from service.inference.costs import CostModel
from service.inference.questions import Question
from service.inference.served import Runner
from service.inference.signature import signature_of
from service.inference.views import View

CHOOSING: Final = 2.0  # seconds after which no further size of batch is measured for its plan


def warm_up(runner: Runner, info: ModelInfo, *, max_rows: int) -> CostModel:
    """Return the costs of the model's executions; called in the device's thread.

    Plans are chosen for the smallest batches first; a slow model uses the last choice for larger ones.

    Args:
        runner: of the loaded ensemble.
        info: what the repository says about it.
        max_rows: rows of the largest execution.
    """
    _choose_plans(runner, info, max_rows)
    costs = CostModel()
    for view in (View(info.name, "base"), View(info.name, "member", 0), View(info.name)):
        outputs = signature_of(view, input_shape=info.input_shape, num_classes=info.num_classes, members=info.members)
        question = Question(view, frozenset(outputs.output_names))
        one, many = (_seconds(runner, question, _zeros(info, rows)) for rows in (1, max_rows))
        costs.seed(question.forwards, one=one, rows=max_rows, many=many)
    return costs


def _choose_plans(runner: Runner, info: ModelInfo, max_rows: int) -> None:
    deadline = time.monotonic() + CHOOSING
    program = runner.model.program
    for rows in [*(1 << power for power in range((max_rows - 1).bit_length())), max_rows]:
        inputs = torch.from_numpy(_zeros(info, rows)).to(runner.device)
        for members in (slice(0, 1), slice(None)):
            runner.fastest.measure(program, inputs, members)
        if time.monotonic() > deadline:
            return


def _seconds(runner: Runner, question: Question, rows: NDArray[np.float32]) -> float:
    runner.compute(question, rows)
    return runner.compute(question, rows).total


def _zeros(info: ModelInfo, rows: int) -> NDArray[np.float32]:
    return np.zeros((rows, *info.input_shape), dtype=np.float32)
