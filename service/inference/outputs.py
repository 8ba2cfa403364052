"""The tensors a view answers, computed by the same code that evaluation judges."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ensemble import SymmetryEnsemble
from ensemble.prediction import log_mean_probability, predict_from
from service.inference.batcher import Results
from service.inference.plans import FastestPlan
from service.inference.views import View


def compute(
    model: SymmetryEnsemble, view: View, rows: NDArray[np.float32], *, device: str, fastest: FastestPlan
) -> Results:
    """Return every output of `view` for `rows`, first axis = rows.

    Args:
        model: the loaded ensemble.
        view: the addressed model of it; only the members it needs are run.
        rows: float32 `[rows C H W]`.
        device: where the parameters lie.
        fastest: how the members run.
    """
    with torch.inference_mode():
        inputs = torch.from_numpy(np.ascontiguousarray(rows)).to(device)
        if view.kind == "base":
            return _to_numpy(_single(model.base(inputs)))
        members = slice(None) if view.member is None else slice(view.member, view.member + 1)
        plan = fastest.plan(model.program, inputs, members)
        member_logits = model.member_logits(inputs, plan=plan, members=members)
        if view.member is not None:
            return _to_numpy(_single(member_logits[0]))
        return _to_numpy(_aggregate(member_logits))


def _single(logits: Tensor) -> dict[str, Tensor]:
    prediction = predict_from(logits.unsqueeze(0))
    return {
        "probabilities": prediction.probabilities,
        "logits": logits,
        "labels": prediction.labels,
        "entropy": prediction.entropy,
    }


def _aggregate(member_logits: Tensor) -> dict[str, Tensor]:
    prediction = predict_from(member_logits)
    return {
        "probabilities": prediction.probabilities,
        "logits": log_mean_probability(member_logits),
        "labels": prediction.labels,
        "entropy": prediction.entropy,
        "member_probabilities": member_logits.softmax(-1).transpose(0, 1),
        "member_labels": prediction.member_labels.transpose(0, 1),
        "disagreement": prediction.disagreement,
        "mutual_information": prediction.mutual_information,
    }


def _to_numpy(tensors: dict[str, Tensor]) -> Results:
    return {name: np.ascontiguousarray(tensor.cpu().numpy()) for name, tensor in tensors.items()}
