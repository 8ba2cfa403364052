"""Examples made on each member, judged by all: the transfer matrix and the conditional rates in it.

The attacker holds one member and never asks the network that is judged. All members are attacked in one pass over the
points, each on examples of its own; every example is then judged by all members, the base and the ensemble as served.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attacks.ladder import Crafted, craft
from attacks.metrics import Flags, Rate, transfer_rate, transfer_rate_all_right
from attacks.stacked import stacked_members
from attacks.statistics import Z
from attacks.targets import EnsembleModel, NetworkModel
from attacks.targets.models import finite
from attacks.threat import ThreatModel
from attacks.verdicts import from_bits, to_bits


@dataclass(frozen=True, slots=True, eq=False)
class MemberExamples:
    """What was made on each member.

    Attributes:
        examples: `[member batch channel height width]` float32 on the CPU; the input itself where the member is wrong
            on it already, because no rate of the matrix counts such a point.
        excess: the largest measured norm minus epsilon.
        finite: whether every value that the attack returned was finite.
        forwards: points passed forward through one member.
        backwards: points passed backward through one member.
    """

    examples: Tensor
    excess: float
    finite: bool
    forwards: int
    backwards: int


def craft_on_members(
    attack: Any, model: EnsembleModel, inputs: Tensor, labels: Tensor, threat: ThreatModel, *, right: Tensor
) -> MemberExamples:
    """Return examples made on each member, at the headline radius.

    On a CPU members follow one another, since it is busy with one; elsewhere all of them run in one stacked pass. Both
    give the same examples up to the rounding of another kernel.

    Args:
        attack: a foolbox fixed-epsilon attack that takes every point through all steps and starts at the input.
        model: the ensemble.
        inputs: `[batch channel height width]` float32 on the CPU.
        labels: `[batch]` int64 on the CPU.
        threat: norm, headline radius and bounds.
        right: `[member batch]` bool, which inputs each member answers right.
    """
    headline = ThreatModel(threat.norm, (threat.headline,), threat.bounds)
    count = len(right)
    if model.device.type == "cpu":
        passes = [(range(k, k + 1), right[k].nonzero()[:, 0]) for k in range(count)]
    else:
        passes = [(range(count), torch.arange(len(inputs)))]
    examples = inputs.expand(count, *inputs.shape).clone()
    made: list[Crafted] = []
    forwards = backwards = 0
    for members, rows in passes:
        if len(rows) == 0:
            continue
        surrogate = stacked_members(model, members)
        many = (len(members), *[1] * (inputs.ndim - 1))
        crafted = craft(attack, surrogate, inputs[rows].repeat(many), labels[rows].repeat(len(members)), headline)
        examples[members.start : members.stop, rows] = crafted.examples[0].unflatten(0, (len(members), -1))
        forwards += surrogate.passes.forwards
        backwards += surrogate.passes.backwards
        made.append(crafted)
    examples = torch.where(right[(..., *[None] * (inputs.ndim - 1))], examples, inputs)
    excess = max((run.excess[0] for run in made), default=-threat.headline)
    return MemberExamples(examples, excess, all(run.finite for run in made), forwards, backwards)


@dataclass(frozen=True, slots=True, eq=False)
class TransferBlock:
    """The verdicts on one block of points.

    Attributes:
        sources: the names of the members, in order.
        judges: the names of members, base and target, in the order of the columns.
        held: `[source judge point]` bool, whether the judge answers the source's example right.
        crafted: the examples themselves.
    """

    sources: tuple[str, ...]
    judges: tuple[str, ...]
    held: Tensor
    crafted: MemberExamples

    def to_dict(self) -> dict[str, Any]:
        """Return the verdicts and costs as JSON values: the part of a shard's result that `joined` reads."""
        return {
            "transfer": {
                source: {judge: to_bits(flags) for judge, flags in zip(self.judges, rows, strict=True)}
                for source, rows in zip(self.sources, self.held, strict=True)
            },
            "excess": [self.crafted.excess],
            "finite": self.crafted.finite,
            "forwards": self.crafted.forwards,
            "backwards": self.crafted.backwards,
        }


def transfer_block(
    attack: Any,
    model: EnsembleModel,
    base: NetworkModel,
    inputs: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    *,
    names: tuple[Sequence[str], str, str],
) -> TransferBlock:
    """Return the verdicts of everybody on the examples made on each member.

    Args:
        attack: see `craft_on_members`.
        model: the ensemble as served.
        base: the base network.
        inputs: `[batch channel height width]` float32 on the CPU.
        labels: `[batch]` int64 on the CPU.
        threat: norm, headline radius and bounds.
        names: of the members, of the base and of the target, as the report prints them; naming fewer members than
            there are leaves out the last ones, and the target keeps them all.
    """
    members, base_name, target = names
    count = len(members)
    clean = judge_once(model, base, inputs, labels)
    right = clean[:count]
    crafted = craft_on_members(attack, model, inputs, labels, threat, right=right)
    judged = clean.repeat(count, 1, 1)  # the verdict on a point that was not attacked
    for source, rows in enumerate(right):
        if rows.any():
            judged[source][:, rows] = judge_once(model, base, crafted.examples[source, rows], labels[rows])
    held = torch.cat([judged[:, :count], judged[:, -2:]], dim=1)
    return TransferBlock(tuple(members), (*members, base_name, target), held, crafted)


def judge_once(model: EnsembleModel, base: NetworkModel, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return who answers right, `[members + base + target, batch]` bool: one pass of the members serves two rows.

    Args:
        model: the ensemble as served; under random_member it is right where every member is.
        base: the base network.
        inputs: `[batch channel height width]`.
        labels: `[batch]` int64 on the CPU.
    """
    with torch.no_grad():
        logits = finite(model.member_logits(inputs).float()).transpose(0, 1)
    members = logits.argmax(2).cpu() == labels
    served = members.all(0) if model.serving.random else model.serving.scores(logits).argmax(1).cpu() == labels
    return torch.cat([members, (base.answers(inputs) == labels)[None], served[None]])


@dataclass(frozen=True, slots=True)
class Spread:
    """Least, mean and largest rate off the diagonal.

    Attributes:
        least: the cell with the least rate.
        largest: the cell with the largest.
        mean: of all cells with a rate, or None.
        low: lower end of the mean's 95 % interval.
        high: upper end of it.
        cells: how many have a rate.
    """

    least: Rate | None
    largest: Rate | None
    mean: float | None
    low: float | None
    high: float | None
    cells: int


@dataclass(frozen=True, slots=True)
class TransferMatrix:
    """Rates of sources (rows) on judges (columns).

    Attributes:
        sources: names of the rows.
        judges: names of the columns.
        rate: of the points right on both and fooled on the source, the share fooled on the judge.
        rate_all_right: of the points that every network of the table answers right, the share fooled on the judge.
        off_diagonal: `rate` between different members; other judges do not enter.
    """

    sources: tuple[str, ...]
    judges: tuple[str, ...]
    rate: tuple[tuple[Rate, ...], ...]
    rate_all_right: tuple[tuple[Rate, ...], ...]
    off_diagonal: Spread


def transfer_matrix(clean: Mapping[str, Flags], held: Mapping[str, Mapping[str, Flags]]) -> TransferMatrix:
    """Return both rates for every source and judge.

    Args:
        clean: network -> `[point]`, right on the clean input; holds every source and judge.
        held: source -> judge -> `[point]`, right on the example made on the source.

    Returns:
        Rates with their counts; one of fewer than 30 cases has no value.
    """
    sources = tuple(held)
    judges = tuple(next(iter(held.values())))
    everybody = [clean[name] for name in dict.fromkeys((*sources, *judges))]
    rates = tuple(tuple(transfer_rate(clean[s], clean[j], held[s][s], held[s][j]) for j in judges) for s in sources)
    all_right = tuple(tuple(transfer_rate_all_right(everybody, held[s][j]) for j in judges) for s in sources)
    cells = [(s, j) for s in sources for j in sources if s != j and j in judges]
    return TransferMatrix(sources, judges, rates, all_right, _spread(clean, held, cells))


def _spread(
    clean: Mapping[str, Flags], held: Mapping[str, Mapping[str, Flags]], cells: Sequence[tuple[str, str]]
) -> Spread:
    """The mean's interval takes points as the independent units: cells share them.

    With r_c = k_c / n_c and the mean R of C rates, point p moves R by (1/C) sum_c (k_cp - r_c n_cp) / n_c; the variance
    of R is the sum of these squares (delta method for a mean of ratios; derived here).
    """
    rated, moves = [], []
    for source, judge in cells:
        of = transfer_rate(clean[source], clean[judge], held[source][source], held[source][judge])
        if of.value is None:
            continue
        counted = clean[source] & clean[judge] & ~held[source][source]
        rated.append(of)
        moves.append((counted & ~held[source][judge]) / of.n - of.value * counted / of.n)
    if not rated:
        return Spread(None, None, None, None, None, 0)
    values: NDArray[np.float64] = np.array([of.value for of in rated])
    mean = float(values.mean())
    reach = Z * float(np.sqrt(np.square(np.mean(moves, axis=0)).sum()))
    return Spread(
        least=rated[int(values.argmin())],
        largest=rated[int(values.argmax())],
        mean=mean,
        low=max(0.0, mean - reach),
        high=min(1.0, mean + reach),
        cells=len(rated),
    )


def joined(blocks: Sequence[Mapping[str, Mapping[str, str]]]) -> dict[str, dict[str, Flags]]:
    """Return source -> judge -> `[point]` of the blocks' "transfer" entries, in order.

    Args:
        blocks: `TransferBlock.to_dict()["transfer"]` of each block.
    """
    return {
        source: {judge: from_bits("".join(block[source][judge] for block in blocks)) for judge in judges}
        for source, judges in blocks[0].items()
    }
