"""What each kind of shard does. Every worker returns JSON values; one table says which worker a shard has."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from attacks import crafting
from attacks.building import build_attack, takes_starts
from attacks.canonical import seed_from
from attacks.cascade import Cascade, Judged, Step
from attacks.evaluation import Evaluation
from attacks.examples import keep
from attacks.gradient.keeping import served_margin
from attacks.kinds import KINDS
from attacks.ladder import craft, craft_nearest
from attacks.probes import probe
from attacks.records import cascade_records, crafted_record, subset_record, transfer_records
from attacks.targets import EnsembleModel, NetworkModel
from attacks.transfer import transfer_block
from attacks.verdicts import to_bits

if TYPE_CHECKING:
    from attacks.shards import Shard

Result = dict[str, Any]


def clean(shard: "Shard", evaluation: Evaluation) -> Result:
    """Return who answers the unattacked points right."""
    held = evaluation.jury.held(*evaluation.block_of(shard.start, shard.stop))
    return {"held": {name: [to_bits(flags)] for name, flags in held.items()}}


def probes(shard: "Shard", evaluation: Evaluation) -> Result:
    """Return the measurements on the audit subset that need the networks themselves."""
    return {"numbers": probe(evaluation, shard.seed)}


def prepare(shard: "Shard", evaluation: Evaluation) -> Result:
    """Return the digest of an attacker's surrogate, or of another draw; the tensors are left in the store."""
    if shard.attack in evaluation.drawn.sources:
        return {"drawn": evaluation.drawn.prepare(shard.attack)}
    return {"material": evaluation.workshop.prepare(shard.attack)}


def transfer(shard: "Shard", evaluation: Evaluation) -> Result:
    """Return everybody's verdicts on examples made without the target."""
    _, labels = evaluation.block_of(shard.start, shard.stop)
    row = evaluation.rows.row(shard.attack)
    reason = evaluation.workshop.failure(row.surrogate)
    if reason:
        return {"runs": [], "not_run": reason}
    made = crafting.made_elsewhere(evaluation, row, shard.threat, shard.start, shard.stop)
    records = [keep(draw.examples, evaluation.examples_folder) for draw in made.draws]
    held: dict[str, Tensor] = {}
    for draw in made.draws:
        for name, flags in crafting.verdicts(evaluation.jury, draw.examples, labels).items():
            held[name] = held.get(name, torch.ones_like(flags)) & flags
    return {"runs": [crafted_record(row.id, made, held, records)]}


def matrix(shard: "Shard", evaluation: Evaluation) -> Result:
    """Return everybody's verdicts on examples made on each member."""
    inputs, labels = evaluation.block_of(shard.start, shard.stop)
    row, threat, jury = evaluation.rows.row(shard.attack), evaluation.threats[shard.threat], evaluation.jury
    model = jury.models[jury.target]
    assert isinstance(model, EnsembleModel)  # the plan has no such shard for a single network
    attack = build_attack(row, threat.norm, served=False)
    names = (jury.members[: row.members], "base", jury.target)
    block = transfer_block(attack, model, jury.models["base"], inputs, labels, threat, names=names)
    kept = keep(block.crafted.examples, evaluation.examples_folder)
    return {"runs": transfer_records(row.id, block, kept)}


def cascade(shard: "Shard", evaluation: Evaluation) -> Result:
    """Return what all white-box attacks together leave of one network."""
    inputs, labels = evaluation.block_of(shard.start, shard.stop)
    threat, model = evaluation.threats[shard.threat], evaluation.jury.models[shard.judge]
    judged = judged_as_served(model)
    run = Cascade(judged, threat, inputs, labels)
    starts = [
        crafting.made_elsewhere(evaluation, row, shard.threat, shard.start, shard.stop).draws[0].examples
        for row in evaluation.start_rows(shard.threat)
        if not evaluation.workshop.failure(row.surrogate)
    ]
    steps = steps_of(evaluation, shard.judge, shard.threat)
    run.run(steps, starts, lambda name, rung: seed_from(shard.seed, name, rung))
    kept = keep(run.examples, evaluation.examples_folder)
    return {"runs": cascade_records(shard.judge, evaluation.jury.members_of(shard.judge), run, kept)}


def audit(shard: "Shard", evaluation: Evaluation) -> Result:
    """Return one cold run on part of the points, attacked and judged as served."""
    row, model = evaluation.rows.row(shard.attack), evaluation.jury.models[shard.judge]
    threat = crafting.threat_of(row, evaluation.threats[shard.threat], evaluation.inputs)
    index = evaluation.subset(row.points)
    attack = build_attack(row, threat.norm, served=True, random=is_random(model))
    before = (model.passes.forwards, model.passes.backwards)
    blocks, queries, reaches = [], 0, []
    for part in index.split(evaluation.block):
        inputs, labels = evaluation.inputs[part], evaluation.labels[part]
        if KINDS[row.kind].nearest:
            block, reach = craft_nearest(attack, model, inputs, labels, threat)
            reaches.append(reach)
        else:
            block = craft(attack, model, inputs, labels, threat)
        blocks.append(block)
        queries += queries_of(attack)
    passes = (model.passes.forwards - before[0], model.passes.backwards - before[1])
    crafted, labels = crafting.joined(blocks), evaluation.labels[index]
    held = crafting.verdicts(evaluation.jury, crafted.examples, labels, only=shard.judge)
    right = judged_as_served(model).right_in_attack
    in_attack = torch.stack([right(rung, labels) for rung in crafted.examples])
    kept = keep(crafted.examples, evaluation.examples_folder)
    record = subset_record(row.id, shard.judge, crafted, held, in_attack)
    record |= {"forwards": passes[0], "backwards": passes[1], "queries": queries, "examples": [kept]}
    record["numbers"] = distances(torch.cat(reaches)) if reaches else {}
    return {"runs": [record | {"points": index.tolist(), "epsilons": list(threat.epsilons)}]}


def steps_of(evaluation: Evaluation, judge: str, threat: int) -> list[Step]:
    """Return the attacks of a cascade, cheapest first; the first iterative one goes on from the best point so far.

    Args:
        evaluation: the context.
        judge: the network attacked.
        threat: index of the threat model.
    """
    model, norm = evaluation.jury.models[judge], evaluation.threats[threat].norm
    steps: list[Step] = []
    for row in evaluation.cascade_rows(threat, judge):
        through = model if not row.through or not isinstance(model, EnsembleModel) else model.with_mode(row.through)
        attack = build_attack(row, norm, served=through is model, random=is_random(model))
        warm = takes_starts(row) and not any(step.warm for step in steps)
        steps.append(Step(row.id, attack, through, warm))
    return steps


def queries_of(attack: Any) -> int:
    """Return how many answers an attack asked for in its last run, over all points; 0 where it does not count."""
    used = getattr(getattr(attack, "outcome", attack), "used", None)
    return 0 if used is None else int(used.sum())


def distances(reach: Tensor) -> dict[str, Any]:
    """Return how far the nearest examples were: median over all points, one that was not found being farther away.

    Args:
        reach: `[point]`, infinity where no example was found.
    """
    found = torch.isfinite(reach)
    median = float(reach.median())
    finite = median if math.isfinite(median) else None
    return {"points": len(reach), "found": int(found.sum()), "median_distance": finite}


def is_random(model: NetworkModel) -> bool:
    """Return whether a model's answer is drawn per request."""
    return isinstance(model, EnsembleModel) and model.serving.random


def judged_as_served(model: NetworkModel) -> Judged:
    """Return how a cascade judges a network; where the answer is drawn, a point is lost when every member is wrong."""
    if isinstance(model, EnsembleModel) and model.serving.random:
        return _judged_by_members(model)

    def in_attack(inputs: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            answers: Tensor = model(inputs.to(model.device)).argmax(dim=1).cpu()
        return answers == labels

    def margin(inputs: Tensor, labels: Tensor) -> Tensor:
        return served_margin(model.logits(inputs).cpu(), labels)

    return Judged(model, model.held, in_attack, margin)


def _judged_by_members(model: EnsembleModel) -> Judged:
    def members(inputs: Tensor, labels: Tensor) -> Tensor:
        return model.member_answers(inputs) == labels

    def right(inputs: Tensor, labels: Tensor) -> Tensor:
        return members(inputs, labels).any(0)

    def in_attack(inputs: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            answers = model.member_logits(inputs).argmax(dim=2).cpu()
        return (answers == labels[:, None]).all(1)

    def margin(inputs: Tensor, labels: Tensor) -> Tensor:
        # The share of members that are right decides; the margin of their mean breaks ties.
        return members(inputs, labels).float().sum(0) + served_margin(model.logits(inputs).cpu(), labels).sigmoid()

    return Judged(model, right, in_attack, margin, members)


WORKERS: Mapping[str, Callable[["Shard", Evaluation], Result]] = MappingProxyType(
    {
        "clean": clean,
        "probes": probes,
        "prepare": prepare,
        "transfer": transfer,
        "matrix": matrix,
        "cascade": cascade,
        "audit": audit,
    }
)
