"""What the shards found, gathered into arrays: the pure input of gains, checks and the report."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.evaluation import Evaluation
from attacks.metrics import Flags, chance_count, raw_flags, robust_flags
from attacks.rows import AttackRow
from attacks.threat import KNOWLEDGE
from attacks.verdicts import from_bits


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One attack under one threat model on one network, all blocks joined.

    Examples made without the target are one run that every judge looks at; a white-box attack is one run per network
    attacked. `held` is True where a point or a radius was not attacked: it says nothing there, and `attempted` says so.

    Attributes:
        row: the suite's row.
        threat: index of the threat model.
        held: judge -> `[epsilon point]`.
        judge: the network scored on while crafting.
        in_attack: `[epsilon point]`, the verdict on it by the path that was attacked.
        excess: per epsilon, the largest norm minus epsilon.
        finite: whether every attacked value was finite; the box is kept by clipping.
        examples: records of the crafting runs.
        forwards: points passed forward while crafting.
        backwards: points passed backward.
        seconds: spent in its shards; those of a cascade are shared out by passes.
        attempted: `[epsilon point]`: where the attack was run.
        cold: whether it was run on its points without survivors left out and without a warm start; only such a run
            has a raw accuracy of its own.
        broken: `[epsilon point]`: what a cascade counts as lost to this attack.
        queries: answers asked for.
        epsilons: the radii of the axis of `held`.
        numbers: further results, e.g. distances.
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
    attempted: Flags
    broken: Flags
    epsilons: tuple[float, ...]
    cold: bool = True
    queries: int = 0
    numbers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """What reports print: the row's id, with the member it was made on where there is one."""
        return self.row.id if self.row.surrogate != "members" else f"{self.row.id}:{self.judge}"


@dataclass(frozen=True, eq=False)
class Findings:
    """The evaluation's context with everything measured in it.

    Attributes:
        evaluation: names, threat models, suite, points.
        labels: `[point]`.
        clean: judge -> `[point]`, right on the clean input.
        runs: attacks in the order of the plan, per threat model.
        audits: cold runs on part of the points; their flags are True and `attempted` False elsewhere.
        numbers: of the probes.
        digests: every weight digest that a shard saw after its work, per judge.
        training: whether a shard found a module in training mode.
        started: (threat, judge) -> `[epsilon point]`: lost to an example made elsewhere before any attack on the judge.
        materials: what attackers made, by name.
        failed: attack -> why it could not be run after all.
    """

    evaluation: Evaluation
    labels: NDArray[np.int64]
    clean: Mapping[str, Flags]
    runs: tuple[Run, ...]
    numbers: Mapping[str, Any]
    digests: Mapping[str, frozenset[str]]
    training: bool
    audits: tuple[Run, ...] = ()
    started: Mapping[tuple[int, str], Flags] = field(default_factory=dict)
    materials: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

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

        The base under white-box knowledge is judged on the examples made on itself, too: the stolen-base ones.

        Args:
            threat: index of the threat model.
            knowledge: a key of `attacks.threat.KNOWLEDGE`.
            judge: whose verdicts are wanted.

        Returns:
            Runs that asked this judge.
        """
        kinds = {knowledge, *KNOWLEDGE[knowledge].subsumes}
        return [r for r in self.runs if r.threat == threat and r.row.knowledge in kinds and judge in r.held]

    def lost_at_start(self, threat: int, judge: str) -> Flags:
        """Return `[epsilon point]`: lost to an example made elsewhere, from which white-box attacks start.

        Args:
            threat: index of the threat model.
            judge: the network attacked.
        """
        size = (len(self.evaluation.threats[threat].epsilons), self.n)
        lost = self.started.get((threat, judge), np.zeros(size, dtype=np.bool_))
        flags: Flags = np.logical_or.accumulate(lost, axis=0)
        return flags

    def audit(self, threat: int, attack: str) -> Run | None:
        """Return a cold run on the target by the id of its row, or None where it was not run."""
        return next((run for run in self.audits if run.threat == threat and run.row.id == attack), None)

    def raw(self, run: Run, judge: str) -> Flags:
        """Return `[epsilon point]`: right on the clean input and under this attack."""
        return raw_flags(self.clean[judge], run.held[judge])

    def robust(self, threat: int, knowledge: str, judge: str) -> Flags:
        """Return `[epsilon point]`: the per-example worst case over `runs_on`, nested over epsilons."""
        held = [run.held[judge] for run in self.runs_on(threat, knowledge, judge)]
        size = (len(self.evaluation.threats[threat].epsilons), self.n)
        return robust_flags(self.clean[judge], [*held, np.ones(size, dtype=np.bool_)])

    def points_of(self, threat: int, knowledge: str, judge: str) -> Flags:
        """Return `[point]`: those that any attack which counts was run on; a cascade has seen all of them."""
        runs = self.runs_on(threat, knowledge, judge)
        seen = [run.attempted.any(axis=0) if run.cold else np.ones(self.n, dtype=np.bool_) for run in runs]
        points: Flags = np.logical_or.reduce(seen)
        return points

    def run(self, threat: int, attack: str, judge: str | None = None) -> Run | None:
        """Return the run of an attack id under a threat model, or None where it was not run.

        Args:
            threat: index of the threat model.
            attack: the row's id.
            judge: the network attacked; the target where there is a choice.
        """
        found = [run for run in self.runs if run.threat == threat and run.row.id == attack]
        wanted = judge or self.target
        return next((run for run in found if run.judge == wanted), found[0] if found and judge is None else None)

    @cached_property
    def knowledge(self) -> tuple[str, ...]:
        """The kinds of knowledge under which an attack was run, weakest first."""
        own = {run.row.knowledge for run in self.runs}
        return tuple(name for name in KNOWLEDGE if name in own)

    def judges(self, knowledge: str) -> tuple[str, ...]:
        """Return the judges whose accuracy is stated under a kind of knowledge: those all its attacks were run on."""
        own = [run for run in self.runs if run.row.knowledge == knowledge]
        if not own:
            return ()
        judged = {judge for run in own for judge in run.held}
        members = set(self.evaluation.jury.members) if knowledge == "white_box" else set()
        return tuple(name for name in self.evaluation.jury.names if name in judged - members)

    def member_verdicts(self, threat: int, knowledge: str) -> tuple[Flags, list[Flags]]:
        """Return which members are right, on the clean inputs and under each attack that counts for the target.

        Args:
            threat: index of the threat model.
            knowledge: a key of `attacks.threat.KNOWLEDGE`.

        Returns:
            `[member point]`, and one `[member epsilon point]` per run that asked every member.
        """
        members = self.evaluation.jury.members
        runs = [run for run in self.runs_on(threat, knowledge, self.target) if set(members) <= set(run.held)]
        clean = np.stack([self.clean[name] for name in members])
        return clean, [np.stack([run.held[name] for name in members]) for run in runs]


def gather(evaluation: Evaluation, results: Iterable[Mapping[str, Any]]) -> Findings:
    """Return the findings of complete shard results, given in the order of the plan.

    Args:
        evaluation: the context.
        results: one per shard.

    Returns:
        Arrays over all points.
    """
    results = list(results)
    clean = [result["held"] for result in results if result["work"] == "clean"]
    probes = next(result for result in results if result["work"] == "probes")
    judges = {judge for result in results for judge in result["digests"]}
    pieces = _pieces(results)
    runs = [_join(evaluation, key, pieces[key]) for key in pieces]
    return Findings(
        evaluation=evaluation,
        labels=evaluation.labels.numpy(),
        clean={judge: np.concatenate([from_bits(block[judge][0]) for block in clean]) for judge in clean[0]},
        runs=tuple(run for run in runs if not run.row.id.startswith("audit-")),
        audits=tuple(run for run in runs if run.row.id.startswith("audit-")),
        numbers=probes["numbers"],
        digests={
            judge: frozenset(result["digests"][judge] for result in results if judge in result["digests"])
            for judge in judges
        },
        training=any(result["training"] for result in results),
        started=_started(evaluation, results),
        materials={result["attack"]: result["material"] for result in results if "material" in result},
        failed={result["attack"]: result["not_run"] for result in results if result.get("not_run")},
    )


Key = tuple[str, int, str]
#: One record of a shard with the shard it lies in.
Piece = tuple[Mapping[str, Any], Mapping[str, Any]]


def _pieces(results: Sequence[Mapping[str, Any]]) -> dict[Key, list[Piece]]:
    """Return (attack, threat, judge) -> its records; first by the suite's order of work, then as planned."""
    found: dict[Key, list[Piece]] = {}
    for result in results:
        for record in result.get("runs", ()):
            found.setdefault((record["attack"], result["threat"], record["judge"]), []).append((record, result))
    return found


def _join(evaluation: Evaluation, key: Key, pieces: Sequence[Piece]) -> Run:
    attack, threat, judge = key
    row = evaluation.rows.row(attack)
    first, axis = pieces[0][0], _axis(evaluation, row, threat, pieces[0][0])

    def scattered(name: str, empty: bool, of: str | None = None) -> Flags:
        flags = np.full((len(axis), len(evaluation.labels)), empty)
        for record, result in pieces:
            bits = record[name] if of is None else record[name].get(of)
            columns = record.get("points", slice(result["start"], result["stop"]))
            if bits is not None:
                flags[len(axis) - len(bits) :, columns] = np.stack([from_bits(rung) for rung in bits])
        return flags

    if "attempted" in first:
        attempted = scattered("attempted", empty=False)
        broken = scattered("broken", empty=False)
    else:
        attempted = np.zeros((len(axis), len(evaluation.labels)), dtype=np.bool_)
        for record, result in pieces:
            columns = record.get("points", slice(result["start"], result["stop"]))
            attempted[len(axis) - len(record["in_attack"]) :, columns] = True
        broken = ~scattered("held", empty=True, of=judge)
    held = {name: scattered("held", empty=True, of=name) for name in first["held"]}
    in_attack = scattered("in_attack", empty=True)
    if "attempted" in first:  # a point lost at a radius is not attacked at a larger one: it stays lost
        held[judge] = np.logical_and.accumulate(held[judge], axis=0)
        in_attack = np.logical_and.accumulate(in_attack, axis=0)
    return Run(
        row=row,
        threat=threat,
        held=held,
        judge=judge,
        in_attack=in_attack,
        excess=tuple(max(values) for values in zip(*(record["excess"] for record, _ in pieces), strict=True)),
        finite=all(record["finite"] for record, _ in pieces),
        examples=tuple(item for record, _ in pieces for item in record["examples"]),
        forwards=sum(record["forwards"] for record, _ in pieces),
        backwards=sum(record["backwards"] for record, _ in pieces),
        seconds=sum(_seconds(record, result) for record, result in pieces),
        attempted=attempted,
        broken=broken,
        epsilons=axis,
        cold="attempted" not in first,
        queries=sum(record["queries"] for record, _ in pieces),
        numbers=first.get("numbers", {}),
    )


def _axis(evaluation: Evaluation, row: AttackRow, threat: int, record: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the radii of a run's flags: the threat model's, or its own where it attacks the whole box."""
    return tuple(record["epsilons"]) if row.full_range else evaluation.threats[threat].epsilons


def _seconds(record: Mapping[str, Any], result: Mapping[str, Any]) -> float:
    total = sum(item["forwards"] + item["backwards"] for item in result["runs"])
    share = (record["forwards"] + record["backwards"]) / total if total else 1 / len(result["runs"])
    return float(result["seconds"]) * share


def _started(evaluation: Evaluation, results: Sequence[Mapping[str, Any]]) -> dict[tuple[int, str], Flags]:
    found: dict[tuple[int, str], Flags] = {}
    for result in (result for result in results if result["work"] == "cascade"):
        size = (len(evaluation.threats[result["threat"]].epsilons), len(evaluation.labels))
        flags = found.setdefault((result["threat"], result["judge"]), np.zeros(size, dtype=np.bool_))
        bits = result["runs"][0]["started"]
        flags[:, result["start"] : result["stop"]] = np.stack([from_bits(rung) for rung in bits])
    return found
