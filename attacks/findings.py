"""What the shards found, gathered into arrays: the pure input of gains, checks and the report."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.evaluation import Evaluation
from attacks.jury import BASE
from attacks.metrics import Flags, chance_count, raw_flags, robust_flags
from attacks.suites import AttackRow
from attacks.threat import KNOWLEDGE
from attacks.verdicts import from_bits


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One attack under one threat model, all blocks joined.

    Attributes:
        row: the suite's row.
        threat: index of the threat model.
        held: judge -> `[epsilon point]`.
        judge: the network foolbox scored on while crafting.
        in_attack: `[epsilon point]`, foolbox's verdict on it.
        excess: per epsilon, the largest norm minus epsilon.
        finite: whether every attacked value was finite; the box is kept by clipping.
        examples: records of the crafting runs.
        forwards: points passed forward while crafting.
        backwards: points passed backward.
        seconds: spent in its shards.
    """

    row: AttackRow
    threat: int
    held: Mapping[str, Flags]
    judge: str
    in_attack: Flags
    excess: tuple[float, ...]
    finite: bool
    examples: tuple[Mapping[str, Any], ...]
    forwards: int
    backwards: int
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """The evaluation's context with everything measured in it.

    Attributes:
        evaluation: names, threat models, suite, points.
        labels: `[point]`.
        clean: judge -> `[point]`, right on the clean input.
        runs: attacks in the order of the plan, per threat model.
        numbers: of the probes.
        digests: every weight digest that a shard saw after its work, per judge.
        training: whether a shard found a module in training mode.
    """

    evaluation: Evaluation
    labels: NDArray[np.int64]
    clean: Mapping[str, Flags]
    runs: tuple[Run, ...]
    numbers: Mapping[str, Any]
    digests: Mapping[str, frozenset[str]]
    training: bool

    @property
    def target(self) -> str:
        """The name of the network the evaluation is about."""
        return self.evaluation.jury.target

    @property
    def n(self) -> int:
        """How many points there are."""
        return len(self.labels)

    @property
    def chance(self) -> int:
        """How many points the best constant answer gets right."""
        return chance_count(self.labels)

    def runs_on(self, threat: int, knowledge: str, judge: str) -> list[Run]:
        """Return the attacks that count for a judge under a kind of knowledge, weaker kinds included.

        The base under white-box knowledge is judged on the examples made on itself: the stolen-base ones.

        Args:
            threat: index of the threat model.
            knowledge: a key of `attacks.threat.KNOWLEDGE`.
            judge: whose verdicts are wanted.

        Returns:
            Runs that asked this judge.
        """
        kinds = {knowledge, *KNOWLEDGE[knowledge].subsumes}
        return [r for r in self.runs if r.threat == threat and r.row.knowledge in kinds and judge in r.held]

    def raw(self, run: Run, judge: str) -> Flags:
        """Return `[epsilon point]`: right on the clean input and under this attack."""
        return raw_flags(self.clean[judge], run.held[judge])

    def robust(self, threat: int, knowledge: str, judge: str) -> Flags:
        """Return `[epsilon point]`: the per-example worst case over `runs_on`, nested over epsilons."""
        return robust_flags(self.clean[judge], [run.held[judge] for run in self.runs_on(threat, knowledge, judge)])

    def run(self, threat: int, attack: str) -> Run | None:
        """Return the run of an attack id under a threat model, or None when the suite has no such row."""
        return next((run for run in self.runs if run.threat == threat and run.row.id == attack), None)

    def judges(self, knowledge: str) -> tuple[str, ...]:
        """Return the judges whose accuracy is stated under a kind of knowledge."""
        if knowledge == "white_box":
            return (BASE, self.target)
        return self.evaluation.jury.names


def gather(evaluation: Evaluation, results: Iterable[Mapping[str, Any]]) -> Findings:
    """Return the findings of complete shard results, given in the order of the plan.

    Args:
        evaluation: the context.
        results: one per shard.

    Returns:
        Arrays over all points.
    """
    results = list(results)
    clean = [result for result in results if result["attack"] == "clean"]
    probes = next(result for result in results if result["attack"] == "probes")
    runs = [
        _join(row, threat, [r for r in results if r["attack"] == row.id and r["threat"] == threat])
        for row in evaluation.rows.rows
        for threat in range(len(evaluation.threats))
    ]
    judges = {judge for result in results for judge in result["digests"]}
    return Findings(
        evaluation=evaluation,
        labels=evaluation.labels.numpy(),
        clean={judge: flags[0] for judge, flags in _joined([result["held"] for result in clean]).items()},
        runs=tuple(runs),
        numbers=probes["numbers"],
        digests={judge: frozenset(result["digests"][judge] for result in results) for judge in judges},
        training=any(result["training"] for result in results),
    )


def _joined(blocks: list[Mapping[str, list[str]]]) -> dict[str, Flags]:
    """Join blocks of `judge -> one string per epsilon` to `judge -> [epsilon point]`."""
    return {
        judge: np.stack([from_bits("".join(rungs)) for rungs in zip(*(block[judge] for block in blocks), strict=True)])
        for judge in blocks[0]
    }


def _join(row: AttackRow, threat: int, results: list[Mapping[str, Any]]) -> Run:
    judge = results[0]["in_attack"]["judge"]
    return Run(
        row=row,
        threat=threat,
        held=_joined([result["held"] for result in results]),
        judge=judge,
        in_attack=_joined([{judge: result["in_attack"]["held"]} for result in results])[judge],
        excess=tuple(max(values) for values in zip(*(result["excess"] for result in results), strict=True)),
        finite=all(result["finite"] for result in results),
        examples=tuple(record for result in results for record in result["examples"]),
        forwards=sum(result["forwards"] for result in results),
        backwards=sum(result["backwards"] for result in results),
        seconds=sum(result["seconds"] for result in results),
    )
