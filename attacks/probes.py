"""Measurements on the audit subset that need the networks themselves: stability of answers, and the null test E1.

An exact symmetry leaves every output and every input gradient as it is. An evaluator that sees a difference between the
base and an exact-symmetry ensemble of it is broken.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from attacks.evaluation import Evaluation
from attacks.gradient import KEEP_SERVED_MARGIN, pgd
from attacks.gradient.descent import served_margin
from attacks.jury import BASE
from attacks.ladder import craft
from attacks.targets import EnsembleModel, NetworkModel, looks_like_probabilities, wrap
from ensemble.controls import exact_ensemble
from ensemble.errors import NoSiteError, TraceError

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


def _difference(first: Tensor, second: Tensor) -> float:
    """Largest difference of log-probabilities, which no constant added to all logits of a point can move."""
    return float((functional.log_softmax(first, 1) - functional.log_softmax(second, 1)).abs().max())


def _repeats(model: NetworkModel, inputs: Tensor) -> dict[str, Any]:
    runs = [model.logits(inputs) for _ in range(REPEATS)]
    return {
        "forwards": REPEATS,
        "label_changes": sum(int((run.argmax(1) != runs[0].argmax(1)).sum()) for run in runs),
        "difference": max(_difference(run, runs[0]) for run in runs),
    }


def _batch_sizes(model: NetworkModel, inputs: Tensor) -> dict[str, Any]:
    together = model.logits(inputs)
    singles = torch.cat([model.logits(point[None]) for point in inputs])
    return {
        "sizes": [1, len(inputs)],
        "points": len(inputs),
        "label_changes": int((together.argmax(1) != singles.argmax(1)).sum()),
        "difference": _difference(together, singles),
    }


def _serving(model: NetworkModel, inputs: Tensor) -> dict[str, Any]:
    """Whether the answers of `predict`, which a server sends, are those of the logits that were attacked."""
    predict = getattr(model.network, "predict", None)
    if predict is None:
        return {"path": "forward", "label_changes": 0}
    served = predict(inputs.to(model.device)).labels.cpu()
    return {"path": "predict", "label_changes": int((served != model.answers(inputs)).sum())}


def null_test(base: NetworkModel, inputs: Tensor, labels: Tensor, evaluation: Evaluation, seed: int) -> dict[str, Any]:
    """Return how far an exact-symmetry ensemble of the base is from the base, on clean and attacked points.

    Args:
        base: the base network.
        inputs: the audit points.
        labels: their classes.
        evaluation: for the first threat model and the bounds.
        seed: of the group elements.

    Returns:
        Differences relative to the logit scale, gradient cosines, and verdicts that differ; or why it was not run.
    """
    rng = torch.Generator().manual_seed(seed)
    try:
        exact = exact_ensemble(base.network, inputs[:1].to(base.device), members=2, rng=rng)
    except (NoSiteError, TraceError) as error:
        return {"run": False, "reason": str(error)}
    threat = evaluation.threats[0]
    model = wrap(exact, bounds=threat.bounds, example=inputs[:8], role="exact-symmetry ensemble")
    row = pgd(threat.norm, steps=10, rel_stepsize=0.25, random_start=True, keep=KEEP_SERVED_MARGIN)
    blocks = zip(inputs.split(evaluation.block), labels.split(evaluation.block), strict=True)
    examples = torch.cat([craft(row, base, x, y, threat).examples for x, y in blocks], dim=1)
    points = torch.cat([inputs, *examples])
    labels = labels.repeat(len(examples) + 1)
    return {"run": True, **compare_exactly(base, model, points, labels, inputs, block=evaluation.block)}


def compare_exactly(
    base: NetworkModel, exact: NetworkModel, points: Tensor, labels: Tensor, clean: Tensor, *, block: int
) -> dict[str, Any]:
    """Return the numbers of the null test for two models that should be the same function.

    Args:
        base: the base network.
        exact: an ensemble of its exact-symmetry images.
        points: clean and attacked inputs, `[batch ...]`.
        labels: their classes, `[batch]`.
        clean: the inputs whose gradients are compared.
        block: points per pass.

    Returns:
        Largest logit difference (members included) and verdict differences relative to the largest logit; the mean and
        least cosine of the margins' input gradients.
    """
    logits = torch.cat([base.logits(x).cpu() for x in points.split(block)])
    served = torch.cat([exact.logits(x).cpu() for x in points.split(block)])
    scale = float(logits.abs().max())
    difference = max(_difference(logits, served), _member_difference(exact, points, logits, block))
    margins = served_margin(logits, labels)
    flips = (logits.argmax(1) == labels) != (served.argmax(1) == labels)
    cosine = torch.cat([_gradient_cosine(base, exact, x) for x in clean.split(block)])
    return {
        "points": len(points),
        "logit_scale": scale,
        "logit_difference": difference / scale if scale else 0.0,
        "verdict_changes": int(flips.sum()),
        "verdict_changes_beyond_margin": int((flips & (margins.abs() >= 1e-5 * scale)).sum()),
        "gradient_cosine_mean": float(cosine.mean()) if len(cosine) else 1.0,
        "gradient_cosine_least": float(cosine.min()) if len(cosine) else 1.0,
        "gradients_compared": len(cosine),
    }


def _member_difference(exact: NetworkModel, points: Tensor, logits: Tensor, block: int) -> float:
    if not isinstance(exact, EnsembleModel):
        return 0.0
    with torch.no_grad():
        members = torch.cat([exact.member_logits(x).cpu() for x in points.split(block)])
    return float((members - logits[:, None]).abs().max())


def _gradient_cosine(first: NetworkModel, second: NetworkModel, inputs: Tensor) -> Tensor:
    """Cosines `[batch]` of the input gradients of the margin, where neither vanishes.

    The margin, not the cross-entropy: on confident points the latter's gradient is rounding noise.
    """
    labels = first.answers(inputs)
    a, b = (_margin_gradient(model, inputs, labels).double() for model in (first, second))
    usable = (a.norm(dim=1) > 1e-12) & (b.norm(dim=1) > 1e-12)
    return functional.cosine_similarity(a[usable], b[usable])


def _margin_gradient(model: NetworkModel, inputs: Tensor, labels: Tensor) -> Tensor:
    with torch.enable_grad():
        x = inputs.to(model.device).requires_grad_()
        margin = served_margin(model.network(x), labels.to(model.device)).sum()
        (gradient,) = torch.autograd.grad(margin, x)
    return gradient.flatten(1).cpu()
