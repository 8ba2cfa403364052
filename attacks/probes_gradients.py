"""Probes of gradients on the audit subset: do they vanish, do iterates get lost, are they derivatives at all.

A masked gradient makes every gradient attack look weak. Each probe returns counts; checks B6, B8, B9 and
B10 grade them.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from attacks.gradient import KEEP_SERVED_MARGIN, KeepRule, pgd
from attacks.gradient.keeping import served_margin
from attacks.targets import EnsembleModel, NetworkModel
from attacks.threat import ThreatModel

#: A gradient of a smaller L2 norm carries no direction.
VANISHED = 1e-12
#: Points and directions of the finite differences.
POINTS, DIRECTIONS = 64, 8
#: The step of the finite differences and the jitter that leaves kinks behind, per coordinate, in widths of the box.
STEP, JITTER = 1e-7, 1e-3
#: Draws of the loss landscape, and the radius of its ball as a share of the headline.
DRAWS, SMALL = 100, 0.1


def vanishing(model: NetworkModel, inputs: Tensor, labels: Tensor, *, block: int) -> dict[str, Any]:
    """Return on how many points the input gradient vanishes, under cross-entropy, under the margin, under both.

    Args:
        model: what attackers take gradients through.
        inputs: `[batch channel height width]`.
        labels: `[batch]` int64.
        block: points per pass.
    """
    gone: dict[str, list[Tensor]] = {"cross_entropy": [], "margin": []}
    for x, y in zip(inputs.split(block), labels.split(block), strict=True):
        x, y = x.to(model.device).requires_grad_(), y.to(model.device)
        with torch.enable_grad():
            logits = model(x)
            losses = (functional.cross_entropy(logits, y, reduction="sum"), served_margin(logits, y).sum())
            for name, loss in zip(gone, losses, strict=True):
                (gradient,) = torch.autograd.grad(loss, x, retain_graph=True)
                gone[name].append((gradient.detach().flatten(1).double().norm(dim=1) < VANISHED).cpu())
    flags = {name: torch.cat(parts) for name, parts in gone.items()}
    counts = {name: int(flag.sum()) for name, flag in flags.items()}
    return {"points": len(inputs), **counts, "both": int((flags["cross_entropy"] & flags["margin"]).sum())}


class _Recording:
    """A model that writes down the margin and the loss of every iterate it is asked about."""

    def __init__(self, model: NetworkModel, labels: Tensor) -> None:
        self._model = model
        self._labels = labels
        self.margins: list[Tensor] = []
        self.losses: list[Tensor] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, inputs: Any) -> Any:
        logits = self._model(inputs)
        if isinstance(logits, Tensor) and len(logits) == len(self._labels):
            answer = logits.detach()
            self.margins.append(served_margin(answer, self._labels))
            self.losses.append(functional.cross_entropy(answer, self._labels, reduction="none"))
        return logits


def iterates(
    model: NetworkModel, inputs: Tensor, labels: Tensor, threat: ThreatModel, *, block: int, seed: int
) -> dict[str, Any]:
    """Return how many points are fooled at some iterate of PGD but not at its last, and how many best ones get lost.

    The attack is the one of the suite, told to take all steps, so that a last iterate exists.

    Args:
        model: what is attacked.
        inputs: `[batch channel height width]`.
        labels: `[batch]` int64.
        threat: norm, headline radius and bounds.
        block: points per pass.
        seed: of the start points.

    Returns:
        Initially right points, silent successes among them, and points whose returned example is not their best.
    """
    torch.manual_seed(seed)
    rule = KeepRule(served_margin, stop_below=None)
    attack = pgd(threat.norm, steps=10, rel_stepsize=0.25, random_start=True, keep=rule)
    counts = {"points": 0, "silent": 0, "not_best": 0}
    if threat.headline == 0:
        return counts
    for x, y in zip(inputs.split(block), labels.split(block), strict=True):
        x, y = x.to(model.device), y.to(model.device)
        recording = _Recording(model, y)
        kept = attack.run(recording, x, y, epsilon=threat.headline)
        margins = torch.stack(recording.margins)
        with torch.no_grad():
            saved = served_margin(model(kept), y)
        right = served_margin(model.logits(x), y) >= 0
        best, slack = margins.amin(0), 1e-5 * margins.abs().amax()
        counts["points"] += int(right.sum())
        counts["silent"] += int((right & (best < 0) & (margins[-1] >= 0)).sum())
        counts["not_best"] += int((right & (saved > best + slack)).sum())
    return counts


def plateau(
    model: NetworkModel, inputs: Tensor, labels: Tensor, threat: ThreatModel, *, block: int, seed: int
) -> dict[str, Any]:
    """Return by what share of its size the mean cross-entropy still rises in the last tenth of 100 steps of PGD.

    Args:
        model: what is attacked.
        inputs: `[batch channel height width]`.
        labels: `[batch]` int64.
        threat: norm, headline radius and bounds.
        block: points per pass.
        seed: of the start points.
    """
    torch.manual_seed(seed)
    attack = pgd(
        threat.norm, steps=100, rel_stepsize=0.025, random_start=True, keep=KeepRule(served_margin, stop_below=None)
    )
    total = torch.zeros(100, dtype=torch.float64)
    for x, y in zip(inputs.split(block), labels.split(block), strict=True):
        x, y = x.to(model.device), y.to(model.device)
        recording = _Recording(model, y)
        attack.run(recording, x, y, epsilon=threat.headline)
        total += torch.stack(recording.losses)[-100:].double().sum(1).cpu()
    start, end = float(total[-11]), float(total[-1])
    return {"points": len(inputs), "steps": 100, "fall_at_end": (end - start) / max(abs(end), 1e-12)}


def normalised(
    model: NetworkModel, inputs: Tensor, labels: Tensor, threat: ThreatModel, *, block: int, seed: int
) -> dict[str, Any]:
    """Return what PGD on cross-entropy leaves when the logits of every point are first brought to one scale.

    Args:
        model: what is attacked; the verdict is its own.
        inputs: `[batch channel height width]`.
        labels: `[batch]` int64.
        threat: norm, headline radius and bounds.
        block: points per pass.
        seed: of the start points.
    """
    torch.manual_seed(seed)
    attack = pgd(threat.norm, steps=50, rel_stepsize=0.05, random_start=True, keep=KEEP_SERVED_MARGIN)
    left = 0
    for x, y in zip(inputs.split(block), labels.split(block), strict=True):
        found = attack.run(_OneScale(model), x.to(model.device), y.to(model.device), epsilon=threat.headline)
        left += int((model.held(x, y) & model.held(found, y)).sum())
    return {"points": len(inputs), "left": left}


class _OneScale:
    """A model whose logits have standard deviation 1 at every point; the scale has no gradient."""

    def __init__(self, model: NetworkModel) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, inputs: Any) -> Any:
        logits = self._model(inputs)
        return logits / logits.detach().std(dim=1, keepdim=True).clamp(min=1e-30)


def directional(model: NetworkModel, inputs: Tensor, labels: Tensor, *, block: int, seed: int) -> dict[str, Any]:
    """Return on how many (point, direction) autograd and a central difference agree within 1 %, in float64.

    Both sides see a copy of the network in float64 and the margin of its answer, a little beside each input: exact
    inputs sit on kinks (equal values under a max-pooling), where neither side is a derivative. An error is relative to
    the larger of both, and to a thousandth of the gradient's own size, below which a direction says nothing.

    Args:
        model: whose network is differentiated; a rounding of the inputs in front of it is left out.
        inputs: `[batch channel height width]`; the first 64 are used.
        labels: `[batch]` int64.
        block: points per pass.
        seed: of the directions.
    """
    rng = torch.Generator().manual_seed(seed)
    try:
        scores = _in_double(model)
    except RuntimeError as error:
        return {"run": False, "reason": f"the network cannot be copied to float64: {error}"}
    width = float(model.bounds[1] - model.bounds[0])
    agree = compared = 0
    for x, y in zip(inputs[:POINTS].split(block), labels[:POINTS].split(block), strict=True):
        jitter = torch.rand(x.shape, generator=rng, dtype=torch.float64) * JITTER * width
        x, y = (x.double() + jitter).to(model.device), y.to(model.device)
        slope = _slope(scores, x, y)
        size = slope.flatten(1).norm(dim=1)
        dimensions = x[0].numel()
        for _ in range(DIRECTIONS):
            direction = torch.randn(x.shape, generator=rng, dtype=torch.float64).to(x.device)
            direction /= direction.flatten(1).norm(dim=1).view(-1, *[1] * (x.ndim - 1)) / dimensions**0.5
            step = STEP * width
            with torch.no_grad():
                ends = [served_margin(scores(x + sign * step * direction), y) for sign in (1, -1)]
            measured = (ends[0] - ends[1]) / (2 * step)
            expected = (slope * direction).flatten(1).sum(1)
            scale = torch.maximum(torch.maximum(measured.abs(), expected.abs()), 1e-3 * size)
            agree += int(((measured - expected).abs() <= 1e-2 * scale).sum())
            compared += len(x)
    return {"run": True, "compared": compared, "agree": agree, "step": STEP * width, "dtype": "float64"}


def _in_double(model: NetworkModel) -> Callable[[Tensor], Tensor]:
    """Return the served scores in float64, the rounding of inputs and of votes left out."""
    network: Any = copy.deepcopy(model.network).double()
    if isinstance(model, EnsembleModel) and not model.serving.forward and not model.serving.stepwise:
        return lambda x: model.serving.scores(network.member_logits(x))
    return lambda x: network(x)


def _slope(scores: Callable[[Tensor], Tensor], x: Tensor, labels: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x.clone().requires_grad_()
        margin = served_margin(scores(x), labels).sum()
        if not margin.requires_grad:
            return torch.zeros_like(x)
        (slope,) = torch.autograd.grad(margin, x, allow_unused=True)
    return torch.zeros_like(x) if slope is None else slope.detach()


def landscape(
    model: NetworkModel, inputs: Tensor, labels: Tensor, threat: ThreatModel, *, block: int, seed: int
) -> dict[str, Any]:
    """Return the mean relative change of the loss over 100 uniform draws in a tenth of the headline's cube.

    Args:
        model: what attackers take gradients through.
        inputs: `[batch channel height width]`.
        labels: `[batch]` int64.
        threat: headline radius and bounds.
        block: points per pass.
        seed: of the draws.
    """
    rng = torch.Generator().manual_seed(seed)
    radius = SMALL * threat.headline / (1.0 if threat.norm == "linf" else inputs[0].numel() ** 0.5)
    changes = []
    for x, y in zip(inputs.split(block), labels.split(block), strict=True):
        start = _loss(model, x, y)
        moved = torch.zeros_like(start)
        for _ in range(DRAWS):
            noise = (2 * torch.rand(x.shape, generator=rng) - 1) * radius
            moved += (_loss(model, (x + noise).clamp(*threat.bounds), y) - start).abs()
        changes.append(moved / DRAWS / start.clamp(min=1e-3))
    return {"points": len(inputs), "draws": DRAWS, "radius": radius, "mean_change": float(torch.cat(changes).mean())}


def _loss(model: NetworkModel, inputs: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(model.logits(inputs).cpu(), labels, reduction="none")
