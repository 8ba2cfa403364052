"""All white-box attacks on one network and one block as a cascade: every radius in one pass, survivors only.

Points that are wrong from the start leave first. Then, radius by radius upwards: points that an example made elsewhere
already fools leave; what is left meets the attacks, cheapest first, and leaves as soon as one of them succeeds. A point
lost at one radius is lost at every larger one, so it is never attacked again; a point held goes on from its best
iterate, scaled to the next radius. A shortcut may change cost, never meaning: the example of a point at a radius is one
that lies in that ball and fools the network, whatever found it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from attacks.ladder import Verdict, passed, settle
from attacks.targets import NetworkModel
from attacks.threat import ThreatModel


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One attack of a cascade.

    Attributes:
        name: the row's id.
        attack: a foolbox attack with `run`.
        model: what gradients are taken through.
        warm: whether `run` takes `starting_points`, and goes on from the best point found so far.
    """

    name: str
    attack: Any
    model: NetworkModel
    warm: bool


@dataclass(slots=True, eq=False)
class Trace:
    """What one attack of a cascade did; every tensor is `[epsilon batch]` bool.

    Attributes:
        attempted: the points it was run on.
        fooled: the points it fooled, by a fresh forward through the serving path.
        in_attack: the points it fooled by the differentiable path it attacked.
        forwards: points passed forward.
        backwards: points passed backward.
        excess: per epsilon, the largest norm minus epsilon.
        finite: whether everything it returned was finite.
        members: `[epsilon member batch]` bool, which members are right on what it returned; True where it was not run.
            None unless the answer is drawn per request.
    """

    attempted: Tensor
    fooled: Tensor
    in_attack: Tensor
    excess: list[float]
    forwards: int = 0
    backwards: int = 0
    finite: bool = True
    members: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The network a cascade attacks.

    Attributes:
        model: counts passes; carries the device.
        right: the verdict of the serving path, on the CPU.
        right_in_attack: the verdict of the differentiable path, on the CPU.
        margin: how far a point is from being lost, `[batch]` on the CPU; ranks starting points.
        members: the verdict of each member, `[member batch]`; None unless the answer is drawn per request.
    """

    model: NetworkModel
    right: Verdict
    right_in_attack: Verdict
    margin: Callable[[Tensor, Tensor], Tensor]
    members: Verdict | None = None


@dataclass(slots=True, eq=False)
class Cascade:
    """The state of a cascade on one block.

    Attributes:
        judged: the network attacked.
        threat: norm, radii and box.
        inputs: `[batch channel height width]` on the CPU.
        labels: `[batch]` on the CPU.
        alive: `[batch]` bool: right so far, at every radius up to the present one.
        best: `[batch ...]`, the point of least margin found so far in the present ball.
        margin: `[batch]`, its margin.
        examples: `[epsilon batch ...]`, the example of each point at each radius; the input itself where it was wrong
            from the start, the best attempt where it was held.
        started: `[epsilon batch]` bool: lost to an example made elsewhere.
        traces: by attack.
    """

    judged: Judged
    threat: ThreatModel
    inputs: Tensor
    labels: Tensor
    alive: Tensor = field(init=False)
    best: Tensor = field(init=False)
    margin: Tensor = field(init=False)
    examples: Tensor = field(init=False)
    started: Tensor = field(init=False)
    traces: dict[str, Trace] = field(init=False)

    def __post_init__(self) -> None:
        """Take the points that are right before any attack."""
        size = (len(self.threat.epsilons), len(self.inputs))
        self.alive = self.judged.right(self.inputs, self.labels)
        self.best = self.inputs.clone()
        self.margin = self.judged.margin(self.inputs, self.labels)
        self.examples = self.inputs.expand(len(self.threat.epsilons), *self.inputs.shape).clone()
        self.started = torch.zeros(size, dtype=torch.bool)
        self.traces = {}

    def run(self, steps: Sequence[Step], starts: Sequence[Tensor], seed: Callable[[str, int], int]) -> None:
        """Run every attack at every radius; results are left in the fields.

        Args:
            steps: cheapest first.
            starts: sets of examples `[epsilon batch ...]` made elsewhere, inside these balls.
            seed: (attack, index of the radius) -> seed of its random numbers.
        """
        size = (len(self.threat.epsilons), len(self.inputs))
        for step in steps:
            self.traces[step.name] = Trace(
                attempted=torch.zeros(size, dtype=torch.bool),
                fooled=torch.zeros(size, dtype=torch.bool),
                in_attack=torch.zeros(size, dtype=torch.bool),
                excess=[-epsilon for epsilon in self.threat.epsilons],
                members=self._all_right(),
            )
        previous = 0.0
        for rung, epsilon in enumerate(self.threat.epsilons):
            if rung:
                self.examples[rung] = self.examples[rung - 1]
            if epsilon == 0:
                continue
            self._scale(previous, epsilon)
            for start in starts:
                self._try_start(rung, start[rung])
            for step in steps:
                torch.manual_seed(seed(step.name, rung))
                self._attack(rung, epsilon, step)
            self.examples[rung][self.alive] = self.best[self.alive]
            previous = epsilon

    def _all_right(self) -> Tensor | None:
        if self.judged.members is None:
            return None
        count = len(self.judged.members(self.inputs[:1], self.labels[:1]))
        return torch.ones(len(self.threat.epsilons), count, len(self.inputs), dtype=torch.bool)

    def _scale(self, previous: float, epsilon: float) -> None:
        """Carry the best point of the smaller ball on to the larger one: clip(x0 + (eps/eps') (best - x0))."""
        if not previous:
            return
        index = self.alive.nonzero()[:, 0]
        moved = self.inputs[index] + (epsilon / previous) * (self.best[index] - self.inputs[index])
        self._consider(index, moved.clamp(*self.threat.bounds))

    def _consider(self, index: Tensor, points: Tensor) -> Tensor:
        """Keep the points that are nearer to being lost; return their margins."""
        if len(index) == 0:
            return torch.empty(0)
        margin = self.judged.margin(points, self.labels[index])
        better = margin < self.margin[index]
        self.best[index[better]] = points[better]
        self.margin[index[better]] = margin[better]
        return margin

    def _try_start(self, rung: int, points: Tensor) -> None:
        index = self.alive.nonzero()[:, 0]
        self._consider(index, points[index])
        if len(index) == 0:
            return
        lost = index[~self.judged.right(points[index], self.labels[index])]
        self.started[rung, lost] = True
        self._lose(rung, lost, points[lost])

    def _lose(self, rung: int, index: Tensor, points: Tensor) -> None:
        self.alive[index] = False
        self.examples[rung, index] = points

    def _attack(self, rung: int, epsilon: float, step: Step) -> None:
        index = self.alive.nonzero()[:, 0]
        if len(index) == 0:
            return
        trace, inputs, labels = self.traces[step.name], self.inputs[index], self.labels[index]
        before = _passes(step, self.judged.model)
        found = self._run(step, index, epsilon)
        points, finite = settle(found, inputs, self.threat)
        after = _passes(step, self.judged.model)
        trace.forwards += after[0] - before[0]
        trace.backwards += after[1] - before[1]
        trace.finite &= finite
        trace.excess[rung] = max(trace.excess[rung], passed(points, inputs, self.threat, epsilon))
        lost = ~self.judged.right(points, labels)
        trace.attempted[rung, index] = True
        trace.fooled[rung, index] = lost
        trace.in_attack[rung, index] = ~self.judged.right_in_attack(points, labels)
        if self.judged.members is not None and trace.members is not None:
            trace.members[rung][:, index] = self.judged.members(points, labels)
        self._consider(index, points)
        self._lose(rung, index[lost], points[lost])

    def _run(self, step: Step, index: Tensor, epsilon: float) -> Tensor:
        device = step.model.device
        x, y = self.inputs[index].to(device), self.labels[index].to(device)
        extra = {"starting_points": self.best[index].to(device)} if step.warm else {}
        found: Tensor = step.attack.run(step.model, x, y, epsilon=epsilon, **extra)
        return found


def _passes(step: Step, model: NetworkModel) -> tuple[int, int]:
    counters = {id(item): item for item in (step.model.passes, model.passes)}.values()
    return sum(item.forwards for item in counters), sum(item.backwards for item in counters)
