"""Measurements on the audit subset that need the networks themselves: stability of answers, and the null test."""

from typing import Any

import torch
from torch import Tensor

from attacks.evaluation import Evaluation
from attacks.jury import BASE
from attacks.null_test import largest_difference, null_test
from attacks.targets import NetworkModel, looks_like_probabilities

#: How many audit points are answered one by one.
SINGLES = 16
REPEATS = 5


def probe(evaluation: Evaluation, seed: int) -> dict[str, Any]:
    """Return the numbers behind checks A2, A5, A6 and E1.

    Args:
        evaluation: the context.
        seed: of the exact-symmetry draw.

    Returns:
        JSON values, one mapping per probe.
    """
    index = evaluation.audit
    inputs, labels = evaluation.inputs[index], evaluation.labels[index]
    target = evaluation.jury.models[evaluation.jury.target]
    return {
        "points": len(index),
        "logits_contract": {"probabilities": looks_like_probabilities(target.logits(inputs[: evaluation.block]))},
        "repeats": _repeats(target, inputs[: evaluation.block]),
        "batch": _batch_sizes(target, inputs[: min(SINGLES, evaluation.block)]),
        "serving": _serving(target, inputs[: evaluation.block]),
        "null_test": null_test(evaluation.jury.models[BASE], inputs, labels, evaluation, seed),
    }


def _repeats(model: NetworkModel, inputs: Tensor) -> dict[str, Any]:
    runs = [model.logits(inputs) for _ in range(REPEATS)]
    return {
        "forwards": REPEATS,
        "label_changes": sum(int((run.argmax(1) != runs[0].argmax(1)).sum()) for run in runs),
        "difference": max(largest_difference(run, runs[0]) for run in runs),
    }


def _batch_sizes(model: NetworkModel, inputs: Tensor) -> dict[str, Any]:
    together = model.logits(inputs)
    singles = torch.cat([model.logits(point[None]) for point in inputs])
    return {
        "sizes": [1, len(inputs)],
        "points": len(inputs),
        "label_changes": int((together.argmax(1) != singles.argmax(1)).sum()),
        "difference": largest_difference(together, singles),
    }


def _serving(model: NetworkModel, inputs: Tensor) -> dict[str, Any]:
    """Whether the answers of `predict`, which a server sends, are those of the logits that were attacked."""
    predict = getattr(model.network, "predict", None)
    if predict is None:
        return {"path": "forward", "label_changes": 0}
    served = predict(inputs.to(model.device)).labels.cpu()
    return {"path": "predict", "label_changes": int((served != model.answers(inputs)).sum())}
