"""A fence around foolbox's decision attacks: one point at a time, own starts, counted queries, no failure of a batch.

foolbox's HopSkipJump normalises by the whole batch, clips to [0, 1] whatever the bounds, and raises when one start
fails. Here every point is a batch of its own with its own random numbers, so that no point depends on another.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import eagerpy as ep
import torch
from foolbox.attacks.base import MinimizationAttack, raise_if_kwargs, verify_input_bounds
from foolbox.criteria import Criterion
from torch import Tensor

from attacks.gradient.goal import Goal, goal_of
from ensemble.errors import InputError


class Spent(Exception):
    """The query budget of a point is used up, or its example is near enough; caught where the point is attacked."""


class Witness(Criterion):  # type: ignore[misc]
    """What a decision attack may ask about one point: every answer is counted, and the nearest example kept.

    Args:
        goal: of the one point.
        origin: `[1 ...]`, the point.
        distance: foolbox's distance.
        queries: the budget; the batch that reaches it is the last one.
        near: stop once an example is at most this far away; None never stops for that.

    Attributes:
        used: queries so far.
        nearest: `[1 ...]`, the nearest example seen; the point itself before there is one.
        reach: its distance; infinity before there is one.
    """

    def __init__(self, goal: Goal, origin: Tensor, distance: Any, queries: int, near: float | None) -> None:
        self.goal = goal
        self.origin = origin
        self.distance = distance
        self.queries = queries
        self.near = near
        self.used = 0
        self.nearest = origin.clone()
        self.reach = torch.inf

    def __repr__(self) -> str:
        return f"Witness(queries={self.queries}, near={self.near})"

    def __call__(self, perturbed: Any, outputs: Any) -> Any:
        """Return whether each input is an example, `[batch]` bool, for a batch of any size."""
        x, classes = ep.astensor(perturbed).raw, ep.astensor(outputs).raw.argmax(1)
        reached = (classes == self.goal.labels) ^ (self.goal.sign > 0)
        self.used += len(classes)
        self._remember(x[reached])
        if self.used >= self.queries or (self.near is not None and self.reach <= self.near):
            raise Spent
        return ep.astensor(reached)

    def _remember(self, examples: Tensor) -> None:
        if len(examples) == 0:
            return
        distances = self.distance(self.origin.expand_as(examples), examples)
        best = int(distances.argmin())
        if distances[best].item() < self.reach:
            self.reach = distances[best].item()
            self.nearest = examples[best : best + 1].clone()


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What the last run did to each point.

    Attributes:
        used: `[batch]` int64, queries.
        reach: `[batch]`, distance of the nearest example; infinity where none was seen.
        started: `[batch]` bool, whether a start was found; a point without one counts as held.
    """

    used: Tensor
    reach: Tensor
    started: Tensor


class DecisionAttack(MinimizationAttack):  # type: ignore[misc]
    """A foolbox decision attack, point by point.

    foolbox's call passes the least epsilon as `early_stop`, so a point also stops once its example is that near.

    Args:
        attack: a foolbox minimisation attack that accepts starting points.
        queries: budget of one point, the search for a start included.
        starts: uniform noise images tried as a start.
        seed: of the random numbers; those of a point depend on it and on the point alone.

    Attributes:
        outcome: of the last run.
    """

    outcome: Outcome

    def __init__(self, attack: MinimizationAttack, *, queries: int, starts: int = 50, seed: int = 0) -> None:
        self.attack = attack
        self.queries = queries
        self.starts = starts
        self.seed = seed

    @property
    def distance(self) -> Any:
        """The distance of the attack."""
        return self.attack.distance

    def run(
        self,
        model: Any,
        inputs: Any,
        criterion: Any,
        *,
        early_stop: float | None = None,
        starting_points: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the nearest example of each point; the point itself where no start was found.

        Args:
            model: a foolbox model of torch with bounds (0, 1).
            inputs: `[batch ...]` float32.
            criterion: true labels, or foolbox's targeted or untargeted criterion.
            early_stop: a distance that is near enough.
            starting_points: `[batch ...]`, tried before own starts; one that is no example is passed over.
            kwargs: nothing else is accepted.

        Returns:
            Examples, same type and shape as `inputs`.

        Raises:
            InputError: other bounds.
        """
        raise_if_kwargs(kwargs)
        if tuple(model.bounds) != (0, 1):
            raise InputError(
                f"bounds of a decision attack: expected (0, 1), got {tuple(model.bounds)}; foolbox clips to (0, 1) "
                "whatever the bounds, so rescale the inputs inside the network"
            )
        wrapped, restore = ep.astensor_(inputs)
        verify_input_bounds(wrapped, model)
        goal, origin = goal_of(criterion), wrapped.raw
        witnesses, started = [], []
        for index in torch.arange(len(origin), device=origin.device).split(1):
            witness = Witness(goal[index], origin[index], self.distance, self.queries, early_stop)
            first = None if starting_points is None else starting_points[index]
            with torch.no_grad(), _numbers_of(origin[index], self.seed):
                started.append(self._attack(model, witness, first))
            witnesses.append(witness)
        self.outcome = Outcome(
            torch.tensor([witness.used for witness in witnesses]),
            torch.tensor([witness.reach for witness in witnesses]),
            torch.tensor(started),
        )
        return restore(ep.astensor(torch.cat([witness.nearest for witness in witnesses])))

    def _attack(self, model: Any, witness: Witness, first: Tensor | None) -> bool:
        """Attack one point; returns whether there was a start."""
        try:
            if not self._ask(model, witness, witness.origin):  # else the point is its own example
                for candidates in self._starts(witness.origin, first):
                    if self._ask(model, witness, candidates):
                        break
                else:
                    return False
                self.attack.run(model, witness.origin, witness, starting_points=witness.nearest)
        except Spent:
            pass
        return witness.reach < torch.inf

    def _ask(self, model: Any, witness: Witness, x: Tensor) -> bool:
        wrapped = ep.astensor(x)
        return bool(witness(wrapped, model(wrapped)).any().item())

    def _starts(self, origin: Tensor, first: Tensor | None) -> list[Tensor]:
        """Return candidates, batch by batch: the given start; black, white and the negative; uniform noise."""
        plain = torch.cat([torch.zeros_like(origin), torch.ones_like(origin), 1 - origin])
        noise = torch.rand(self.starts, *origin.shape[1:]).to(origin)
        return [*([] if first is None else [first]), plain, noise]


@contextmanager
def _numbers_of(point: Tensor, seed: int) -> Iterator[None]:
    """Seed torch from a point's bytes and a seed, and restore its state afterwards."""
    digest = hashlib.sha256(seed.to_bytes(8, "little", signed=True) + point.cpu().numpy().tobytes()).digest()
    with torch.random.fork_rng(devices=[point.device] if point.device.type == "cuda" else []):
        torch.manual_seed(int.from_bytes(digest[:8], "little", signed=True))
        yield
