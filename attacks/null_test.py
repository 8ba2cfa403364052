"""The null test E1: to the evaluator, too, an exact-symmetry ensemble of the base is the base.

An exact symmetry leaves every output and every input gradient as it is. An evaluator that sees a difference between the
two is broken.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from attacks.evaluation import Evaluation
from attacks.gradient import KEEP_SERVED_MARGIN, pgd
from attacks.gradient.descent import served_margin
from attacks.ladder import Crafted, craft
from attacks.targets import EnsembleModel, NetworkModel, wrap
from ensemble.controls import exact_ensemble
from ensemble.errors import NoSiteError, TraceError
from ensemble.execution import plan_named

MEMBERS = 2


def null_test(base: NetworkModel, inputs: Tensor, labels: Tensor, evaluation: Evaluation, seed: int) -> dict[str, Any]:
    """Return how far an exact-symmetry ensemble of the base is from the base, on clean and attacked points.

    Args:
        base: the base network.
        inputs: the audit points.
        labels: their classes.
        evaluation: for the first threat model and the bounds.
        seed: of the group elements, and of the start points of both white-box runs.

    Returns:
        Differences relative to the logit scale, gradient cosines, verdicts that differ on the same examples and after
        separate white-box runs, and whether powers of two are bit-exact; or why it was not run.
    """
    rng = torch.Generator().manual_seed(seed)
    try:
        exact = exact_ensemble(base.network, inputs[:1].to(base.device), members=MEMBERS, rng=rng)
    except (NoSiteError, TraceError) as error:
        return {"run": False, "reason": str(error)}
    bounds, role = evaluation.threats[0].bounds, "exact-symmetry ensemble"
    model = wrap(exact, bounds=bounds, example=inputs[:8], role=role, coding=base.coding)
    on_base, on_model = (_white_box(judge, inputs, labels, evaluation, seed) for judge in (base, model))
    examples = torch.cat([run.examples for run in on_base], dim=1)
    points = torch.cat([inputs, *examples])
    compared = compare_exactly(base, model, points, labels.repeat(len(examples) + 1), inputs, block=evaluation.block)
    return {
        "run": True,
        **compared,
        "separate_runs": _separate_runs(on_base, on_model),
        "powers_of_two": bit_exactness(base, inputs, block=evaluation.block, seed=seed),
    }


def _white_box(model: NetworkModel, inputs: Tensor, labels: Tensor, evaluation: Evaluation, seed: int) -> list[Crafted]:
    """Return PGD on a model, block by block; equal seeds give equal start points."""
    torch.manual_seed(seed)
    threat = evaluation.threats[0]
    attack = pgd(threat.norm, steps=10, rel_stepsize=0.25, random_start=True, keep=KEEP_SERVED_MARGIN)
    blocks = zip(inputs.split(evaluation.block), labels.split(evaluation.block), strict=True)
    return [craft(attack, model, x, y, threat) for x, y in blocks]


def _separate_runs(first: list[Crafted], second: list[Crafted]) -> dict[str, int]:
    """Return on how many (point, epsilon) one network fell to its own attack and the other did not."""
    fooled = [torch.cat([run.fooled for run in runs], dim=1) for runs in (first, second)]
    return {"compared": fooled[0].numel(), "differ": int((fooled[0] != fooled[1]).sum())}


def bit_exactness(base: NetworkModel, inputs: Tensor, *, block: int, seed: int) -> dict[str, Any]:
    """Return whether members scaled by powers of two answer what the base answers, to the last bit.

    Such a scaling rounds nowhere, so a single differing bit is a fault. Folding a BatchNorm rounds, and a GPU may sum
    in another order: there the question is not put.

    Args:
        base: the base network.
        inputs: `[batch channel height width]`.
        block: points per pass.
        seed: of the scalings.

    Returns:
        `equal` (null where the question is not put, with the `reason`), how many logits were compared and differ.
    """
    if base.device.type != "cpu":
        return {"equal": None, "reason": "compared on the CPU only"}
    rng = torch.Generator().manual_seed(seed)
    try:
        exact = exact_ensemble(base.network, inputs[:1], members=MEMBERS, rng=rng, powers_of_two=True)
    except (NoSiteError, TraceError) as error:
        return {"equal": None, "reason": str(error)}
    if any(layer.ref.norm is not None for layer in exact.layers):
        return {"equal": None, "reason": "a BatchNorm at a site is folded, which rounds"}
    plan = plan_named("loop")  # the base's own kernels on the base's own shapes
    differ = compared = 0
    with torch.no_grad():
        for x in inputs.split(block):
            logits, members = base.network(x), exact.member_logits(x, plan=plan)
            differ += int((members != logits).sum())
            compared += members.numel()
    return {"equal": differ == 0, "compared": compared, "differ": differ}


def largest_difference(first: Tensor, second: Tensor) -> float:
    """Return the largest difference of log-probabilities, which no constant added to all logits of a point can move."""
    return float((functional.log_softmax(first, 1) - functional.log_softmax(second, 1)).abs().max())


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
    difference = max(largest_difference(logits, served), _member_difference(exact, points, logits, block))
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
