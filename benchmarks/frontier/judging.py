"""What one contender is worth on one block: clean, on everybody's examples, and under attacks on itself."""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attacks.building import build_attack, takes_starts
from attacks.canonical import seed_from
from attacks.cascade import Cascade, Step
from attacks.evaluation import NEEDS_MEMBERS
from attacks.rows import AttackRow, Suite
from attacks.targets import EnsembleModel, NetworkModel, wrap
from attacks.threat import ThreatModel
from attacks.verdicts import to_bits
from attacks.working import judged_as_served
from benchmarks.frontier.attackers import Attackers, Block
from benchmarks.frontier.contenders import Contender

#: Knowledge of the rows that attack the contender itself.
ON_ITSELF = ("white_box", "score_query")


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """A contender under the attacks of a suite.

    Attributes:
        contender: the network.
        attackers: who never ask it.
        suite: whose rows attack it.
        threat: norm, radii and box of those who never ask it.
        own: the same of those who attack it itself; some of these radii, or all.
    """

    contender: Contender
    attackers: Attackers
    suite: Suite
    threat: ThreatModel
    own: ThreatModel

    def block(self, block: Block) -> dict[str, Any]:
        """Return verdicts on one block, as strings of 0 and 1, and what they cost."""
        begin = time.perf_counter()
        model = self._model(block)
        examples = {row.id: self.attackers.examples(row, block) for row in self.attackers.runnable()}
        crafting = time.perf_counter() - begin
        held = {
            name: [to_bits(_all_held(model, rung, block)) for rung in _rungs(found)] for name, found in examples.items()
        }
        cascade = Cascade(judged_as_served(model), self.own, block.inputs, block.labels)
        clean = cascade.alive.clone()
        gradient = [row.id for row in self.attackers.runnable() if row.gradient and row.radii == "all"]
        steps = self._steps(model)
        radii = [self.threat.epsilons.index(epsilon) for epsilon in self.own.epsilons]
        starts = [examples[name][0][radii] for name in gradient]
        cascade.run(steps, starts, lambda name, rung: seed_from(block.digest, name, rung))
        fooled = {name: trace.fooled for name, trace in cascade.traces.items()}
        return {
            "n": len(block.labels),
            "clean": to_bits(clean),
            "confidence": self._confidence(model, block),
            "elsewhere": held,
            "white_box": [to_bits(rung) for rung in _survivors(clean, cascade.started, fooled)],
            "lost_to": {name: [int(rung.sum()) for rung in flags] for name, flags in fooled.items()},
            "backwards": {name: trace.backwards for name, trace in cascade.traces.items()},
            "crafting_seconds": crafting,
            "seconds": time.perf_counter() - begin,
        }

    def _model(self, block: Block) -> NetworkModel:
        return wrap(
            self.contender.network, bounds=self.threat.bounds, example=block.inputs[:2], role=self.contender.name
        )

    def _steps(self, model: NetworkModel) -> list[Step]:
        steps: list[Step] = []
        for row in self.rows(isinstance(model, EnsembleModel)):
            through = model.with_mode(row.through) if row.through and isinstance(model, EnsembleModel) else model
            attack = build_attack(row, self.threat.norm, served=through is model)
            warm = takes_starts(row) and not any(step.warm for step in steps)
            steps.append(Step(row.id, attack, through, warm))
        return steps

    def rows(self, with_members: bool) -> list[AttackRow]:
        """Return the rows that attack the contender itself, in the suite's order: queries come last."""
        rows = [row for row in self.suite.rows if row.knowledge in ON_ITSELF]
        rows = [row for row in rows if not row.norms or self.threat.norm in row.norms]
        return [row for row in rows if with_members or not (row.through or row.kind in NEEDS_MEMBERS)]

    def _confidence(self, model: NetworkModel, block: Block) -> list[float]:
        top: Tensor = model.logits(block.inputs).softmax(-1).amax(-1)
        return [round(float(value), 6) for value in top.cpu()]


def _rungs(found: Tensor) -> list[Tensor]:
    """Return the draws `[draw batch ...]` of each radius."""
    return list(found.transpose(0, 1))


def _all_held(model: NetworkModel, draws: Tensor, block: Block) -> Tensor:
    return torch.stack([model.held(points, block.labels) for points in draws]).all(0)


def _survivors(clean: Tensor, started: Tensor, fooled: dict[str, Tensor]) -> list[Tensor]:
    """Return who is right at each radius and at every smaller one."""
    alive, found = clean.clone(), []
    for rung in range(len(started)):
        alive = alive & ~started[rung]
        for flags in fooled.values():
            alive = alive & ~flags[rung]
        found.append(alive)
    return found
