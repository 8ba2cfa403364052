"""The tensors a view answers, computed by the same code that evaluation judges."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import torch
from torch import Tensor

from ensemble import Prediction, SymmetryEnsemble
from ensemble.aggregation import Aggregation
from ensemble.prediction import predict_from
from service.inference.executions import Executed, Results, Stopwatch
from service.inference.plans import FastestPlan
from service.inference.questions import RANDOM_MEMBER, Question
from service.inference.tensors import Rows

DISAGREEMENT: Final = "disagreement"  # computed for every ensemble answer: the live histogram reads it


@dataclass(frozen=True, slots=True, eq=False)
class _Answers:
    """What the outputs are read from.

    Attributes:
        members: logits of the members that ran `[member rows classes]`.
        served: logits that the view answers `[rows classes]`.
        probabilities: of the served mode `[rows classes]`.
        prediction: of the members together.
    """

    members: Tensor
    served: Tensor
    probabilities: Tensor
    prediction: Prediction


_OUTPUTS: Final[Mapping[str, Callable[[_Answers], Tensor]]] = MappingProxyType(
    {
        "probabilities": lambda found: found.probabilities,
        "logits": lambda found: found.served,
        "labels": lambda found: found.served.argmax(-1),
        "entropy": lambda found: torch.special.entr(found.probabilities).sum(-1),
        "member_probabilities": lambda found: found.members.softmax(-1).transpose(0, 1),
        "member_labels": lambda found: found.prediction.member_labels.transpose(0, 1),
        DISAGREEMENT: lambda found: found.prediction.disagreement,
        "mutual_information": lambda found: found.prediction.mutual_information,
    }
)


def _softmax(served: Tensor) -> Tensor:
    return served.softmax(-1)


def _shares(counts: Tensor) -> Tensor:
    return counts / counts.sum(-1, keepdim=True)


_PROBABILITIES: Final[Mapping[str, Callable[[Tensor], Tensor]]] = MappingProxyType(
    {"prob": _softmax, "logit": _softmax, "vote": _shares, RANDOM_MEMBER: _softmax}
)


def compute(
    model: SymmetryEnsemble,
    question: Question,
    rows: Rows,
    *,
    device: str,
    fastest: FastestPlan,
    aggregation: Aggregation,
) -> Executed:
    """Return every output that the question asks for, first axis = rows, and the seconds of each phase.

    Args:
        model: the loaded ensemble.
        question: view, members and outputs; only the members it needs are run.
        rows: float32 in [0, 1] or uint8 `[rows C H W]`.
        device: where the parameters lie.
        fastest: how the members run.
        aggregation: how their answers become one.
    """
    watch = Stopwatch()
    with torch.inference_mode():
        inputs = _to_device(rows, device)
        watch.lap("compute_input")
        member_logits = _member_logits(model, question, inputs, fastest)
        tensors = _answer(member_logits, question, aggregation)
        _synchronise(inputs.device)
        watch.lap("compute_infer")
        results = _to_numpy(tensors)
        watch.lap("compute_output")
    return Executed(results, watch.seconds)


def _to_device(rows: Rows, device: str) -> Tensor:
    tensor = torch.from_numpy(np.require(rows, requirements=["C", "W", "A"])).to(device)
    return tensor.float().div_(255) if tensor.dtype == torch.uint8 else tensor


def _member_logits(model: SymmetryEnsemble, question: Question, inputs: Tensor, fastest: FastestPlan) -> Tensor:
    """Return logits `[member rows classes]` of what the question addresses."""
    view = question.view
    if view.kind == "base":
        logits: Tensor = model.base(inputs)
        return logits.unsqueeze(0)
    if view.member is not None:
        own = slice(view.member, view.member + 1)
        return model.member_logits(inputs, plan=fastest.plan(model.program, inputs, own), members=own)
    plan = fastest.plan(model.program, inputs, slice(None))
    chosen = range(model.size) if question.members is None else question.members
    pieces = [model.member_logits(inputs, plan=plan, members=part) for part in even_slices(chosen)]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def even_slices(members: Sequence[int]) -> list[slice]:
    """Return the fewest slices found greedily that hold ascending numbers in order; each has a constant step."""
    slices = []
    start = 0
    while start < len(members):
        end = start + 1
        step = members[end] - members[start] if end < len(members) else 1
        while end < len(members) and members[end] - members[end - 1] == step:
            end += 1
        slices.append(slice(members[start], members[end - 1] + 1, step))
        start = end
    return slices


def _answer(member_logits: Tensor, question: Question, aggregation: Aggregation) -> dict[str, Tensor]:
    several = question.view.kind == "ensemble"
    served = aggregation(member_logits) if several else member_logits[0]
    probabilities = _PROBABILITIES[question.mode](served)
    found = _Answers(member_logits, served, probabilities, predict_from(member_logits))
    names = question.outputs | {DISAGREEMENT} if several else question.outputs
    return {name: _OUTPUTS[name](found) for name in names}


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _to_numpy(tensors: dict[str, Tensor]) -> Results:
    return {name: np.ascontiguousarray(tensor.cpu().numpy()) for name, tensor in tensors.items()}
