"""Measurements on the audit subset that need the networks themselves; checks grade them, suites choose among them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from attacks.canonical import seed_from
from attacks.certificates import Certificate, NoRule, certify, inherited
from attacks.certificates.run import MOST
from attacks.checks.table import TABLE, belongs
from attacks.evaluation import Evaluation
from attacks.gallery import gallery
from attacks.geometry import (
    cross_adversarial_loss,
    disagreement,
    member_gradients,
    member_numbers,
    off_diagonal_mean,
    pairwise_cosine,
)
from attacks.gradient import KEEP_SURROGATE_LOSS, pgd
from attacks.jury import BASE
from attacks.ladder import craft
from attacks.null_test import largest_difference, null_test
from attacks.positive_controls import GradientKiller
from attacks.probes_gradients import directional, iterates, landscape, normalised, plateau, vanishing
from attacks.targets import EnsembleModel, NetworkModel, looks_like_probabilities, wrap
from attacks.threat import ThreatModel
from attacks.transfer import craft_on_members
from ensemble.errors import TraceError

#: How many audit points are answered one by one.
SINGLES = 16
REPEATS = 5
#: Audit points of probes that attack.
FEW = 64


@dataclass(frozen=True, slots=True, eq=False)
class Audit:
    """What a probe looks at.

    Attributes:
        evaluation: the context.
        target: the network evaluated, as served.
        base: the base network.
        inputs: `[point channel height width]`, the audit points.
        labels: `[point]`.
        seed: of everything random in the probe.
    """

    evaluation: Evaluation
    target: NetworkModel
    base: NetworkModel
    inputs: Tensor
    labels: Tensor
    seed: int

    @property
    def threat(self) -> ThreatModel:
        """The threat model of the headline."""
        return self.evaluation.threats[0]

    @property
    def block(self) -> int:
        """Points per pass."""
        return self.evaluation.block

    @property
    def few(self) -> tuple[Tensor, Tensor]:
        """The first audit points and their labels, for probes that attack."""
        return self.inputs[:FEW], self.labels[:FEW]


def probe(evaluation: Evaluation, seed: int) -> dict[str, Any]:
    """Return the numbers behind the checks that the suite runs, as JSON values.

    Args:
        evaluation: the context.
        seed: of the exact-symmetry draw and of every probe.

    Returns:
        One mapping per probe of `PROBES`; those of a check that a larger suite runs first are left out, and so are
        those about members where the target has none.
    """
    index, jury = evaluation.audit, evaluation.jury
    inputs, labels = evaluation.inputs[index], evaluation.labels[index]
    found: dict[str, Any] = {"points": len(index)}
    rules = {rule.id: rule for rule in TABLE}
    for name, (check, measure) in PROBES.items():
        rule = rules[check]
        if not belongs(rule, evaluation.rows.name) or (rule.members and not jury.members):
            continue
        own = seed if name == "null_test" else seed_from(seed, name)
        found[name] = measure(Audit(evaluation, jury.models[jury.target], jury.models[BASE], inputs, labels, own))
    few = min(evaluation.block, FEW)
    drawn = gallery(
        jury.models[jury.target],
        jury.models[BASE],
        inputs[:few],
        labels[:few],
        evaluation.threats[0],
        seed=seed_from(seed, "gallery"),
    )
    # What a reader looks at is told by its place among all points.
    found["gallery"] = [item | {"index": int(index[item["index"]])} for item in drawn]
    if evaluation.certify:
        found |= _certificates(evaluation, found)
    return found


def _certificates(evaluation: Evaluation, found: dict[str, Any]) -> dict[str, Any]:
    """Return the certificates of the base, of its exact symmetries and of the target, or why there are none."""
    jury, null = evaluation.jury, found["null_test"]
    deviation = null["logit_difference"] * null["logit_scale"] if null["run"] else None
    points = evaluation.subset(min(evaluation.certify, MOST)).tolist()
    made: list[Certificate] = []
    refused = {}
    for name, extra in ((BASE, deviation or 0.0), (jury.target, 0.0)):
        try:
            own = certify(
                jury.models[name],
                evaluation.inputs,
                evaluation.labels,
                evaluation.threats,
                points=points,
                target=name,
                deviation=extra,
            )
        except (NoRule, TraceError) as error:
            refused[name] = str(error)
            continue
        made += own
        if name == BASE and deviation is not None:
            made += inherited(own)
    return {"certificates": [item.to_json() for item in made], "not_certified": refused}


def _contract(audit: Audit) -> dict[str, Any]:
    return {"probabilities": looks_like_probabilities(audit.target.logits(audit.inputs[: audit.block]))}


def _repeats(audit: Audit) -> dict[str, Any]:
    runs = [audit.target.logits(audit.inputs[: audit.block]) for _ in range(REPEATS)]
    return {
        "forwards": REPEATS,
        "label_changes": sum(int((run.argmax(1) != runs[0].argmax(1)).sum()) for run in runs),
        "difference": max(largest_difference(run, runs[0]) for run in runs),
    }


def _batch_sizes(audit: Audit) -> dict[str, Any]:
    inputs = audit.inputs[: min(SINGLES, audit.block)]
    together = audit.target.logits(inputs)
    singles = torch.cat([audit.target.logits(point[None]) for point in inputs])
    return {
        "sizes": [1, len(inputs)],
        "points": len(inputs),
        "label_changes": int((together.argmax(1) != singles.argmax(1)).sum()),
        "difference": largest_difference(together, singles),
    }


def _serving(audit: Audit) -> dict[str, Any]:
    """Whether the answers of `predict`, which a server sends, are those of the logits that were attacked."""
    predict = getattr(audit.target.network, "predict", None)
    served_by_mean = not isinstance(audit.target, EnsembleModel) or audit.target.serving.forward
    if predict is None or not served_by_mean:
        return {"path": "forward", "label_changes": 0}
    inputs = audit.inputs[: audit.block]
    served = predict(audit.target.coding(inputs.to(audit.target.device))).labels.cpu()
    return {"path": "predict", "label_changes": int((served != audit.target.answers(inputs)).sum())}


def _null_test(audit: Audit) -> dict[str, Any]:
    return null_test(audit.base, audit.inputs, audit.labels, audit.evaluation, audit.seed)


def _vanishing(audit: Audit) -> dict[str, Any]:
    return vanishing(audit.target, audit.inputs, audit.labels, block=audit.block)


def _killer(audit: Audit) -> dict[str, Any]:
    inputs, labels = audit.few
    role, bounds = "gradient-killer", audit.threat.bounds
    killer = wrap(GradientKiller(audit.base.network), bounds=bounds, example=inputs[:2], role=role)
    return vanishing(killer, inputs, labels, block=audit.block)


def _iterates(audit: Audit) -> dict[str, Any]:
    return iterates(audit.target, *audit.few, audit.threat, block=audit.block, seed=audit.seed)


def _plateau(audit: Audit) -> dict[str, Any]:
    return plateau(audit.target, *audit.few, audit.threat, block=audit.block, seed=audit.seed)


def _normalised(audit: Audit) -> dict[str, Any]:
    return normalised(audit.target, audit.inputs, audit.labels, audit.threat, block=audit.block, seed=audit.seed)


def _directional(audit: Audit) -> dict[str, Any]:
    return directional(audit.target, audit.inputs, audit.labels, block=audit.block, seed=audit.seed)


def _landscape(audit: Audit) -> dict[str, Any]:
    return landscape(audit.target, *audit.few, audit.threat, block=audit.block, seed=audit.seed)


def _on_base(audit: Audit, epsilon: float | None = None) -> tuple[list[Tensor], Tensor]:
    """Return blocks of examples made on the base alone at a radius, the headline's for None, and all their labels."""
    attack = pgd(audit.threat.norm, steps=10, rel_stepsize=0.25, random_start=False, keep=KEEP_SURROGATE_LOSS)
    threat = replace(audit.threat, epsilons=(audit.threat.headline if epsilon is None else epsilon,))
    blocks = zip(audit.inputs.split(audit.block), audit.labels.split(audit.block), strict=True)
    return [craft(attack, audit.base, x, y, threat).examples[0] for x, y in blocks], audit.labels


def _disagreement(audit: Audit) -> dict[str, Any]:
    assert isinstance(audit.target, EnsembleModel)  # the check concerns members
    inputs, _ = audit.few
    rng = torch.Generator().manual_seed(audit.seed)
    noise = 2 * torch.rand(inputs.shape, generator=rng) - 1
    if audit.threat.norm != "linf":
        noise = noise / inputs[0].numel() ** 0.5
    noisy = [(inputs + e * noise).clamp(*audit.threat.bounds) for e in audit.threat.epsilons]
    attacked = torch.cat(_on_base(audit)[0])[:FEW]
    rows = [{"epsilon": e, **_differing(audit, x)} for e, x in zip(audit.threat.epsilons, noisy, strict=True)]
    return {
        "points": len(inputs),
        "clean": _differing(audit, inputs),
        "noise": rows,
        "adversarial": _differing(audit, attacked),
    }


def _differing(audit: Audit, inputs: Tensor) -> dict[str, float]:
    assert isinstance(audit.target, EnsembleModel)
    parts = [disagreement(audit.target, audit.base, x) | {"weight": len(x)} for x in inputs.split(audit.block)]
    total = sum(part["weight"] for part in parts)
    return {name: sum(p[name] * p["weight"] for p in parts) / total for name in parts[0] if name != "weight"}


def _geometry(audit: Audit) -> dict[str, Any]:
    assert isinstance(audit.target, EnsembleModel)
    inputs, labels = audit.few
    cut = list(zip(inputs.split(audit.block), labels.split(audit.block), strict=True))
    parts = [pairwise_cosine(member_gradients(audit.target, x, y)) * len(x) / len(inputs) for x, y in cut]
    cosine = torch.stack(parts).sum(0)
    attack = pgd(audit.threat.norm, steps=10, rel_stepsize=0.25, random_start=False, keep=KEEP_SURROGATE_LOSS)
    loss = torch.zeros_like(cosine)
    for x, y in cut:
        everywhere = torch.ones(len(cosine), len(x), dtype=torch.bool)
        made = craft_on_members(attack, audit.target, x, y, audit.threat, right=everywhere)
        loss += cross_adversarial_loss(audit.target, made.examples, y).double() * len(x) / len(inputs)
    return {
        "points": len(inputs),
        "cosine": [[round(float(value), 6) for value in row] for row in cosine],
        "mean_cosine": off_diagonal_mean(cosine),
        "loss": [[round(float(value), 6) for value in row] for row in loss],
        "mean_loss_on_others": off_diagonal_mean(loss),
        "mean_loss_on_own": float(loss.diagonal().mean()),
    }


def _member_count(audit: Audit) -> dict[str, Any]:
    assert isinstance(audit.target, EnsembleModel)
    found = []
    for epsilon in audit.threat.epsilons:
        examples, labels = _on_base(audit, epsilon)
        found.append({"epsilon": epsilon, **member_numbers(audit.target, examples, labels)})
    # Where nothing is left, or nothing is lost, no member can make a difference: one radius, as near as can be to half.
    return min(found, key=lambda numbers: abs(numbers["prefixes"][-1]["accuracy"] - 0.5))


Measure = Callable[[Audit], dict[str, Any]]

#: Name -> (the check that needs it, how it is measured). A probe runs where its check does.
PROBES: Mapping[str, tuple[str, Measure]] = MappingProxyType(
    {
        "logits_contract": ("A2", _contract),
        "repeats": ("A5", _repeats),
        "batch": ("A6", _batch_sizes),
        "serving": ("A4", _serving),
        "null_test": ("E1", _null_test),
        "vanishing": ("B6", _vanishing),
        "iterates": ("B8", _iterates),
        "gradient_killer": ("B15", _killer),
        "plateau": ("B4", _plateau),
        "normalised": ("B7", _normalised),
        "directional": ("B10", _directional),
        "disagreement": ("E2", _disagreement),
        "geometry": ("E4", _geometry),
        "landscape": ("B9", _landscape),
        "member_count": ("E8", _member_count),
    }
)
