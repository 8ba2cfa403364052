r"""Gradient descent of many two-layer networks at once: one tensor program, closed-form gradients, no autograd.

The networks are F = U sigma(V) with X = 1 and the loss is the mean square of F − Y, as in the official scripts. Runs
with different activations, rates and starts are rows of the same tensors; each step is a handful of batched products.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ensemble.errors import InputError
from ensemble.paper.layers import HiddenLayer


@dataclass(frozen=True, slots=True)
class Block:
    """Neighbouring runs with one hidden layer.

    Attributes:
        layer: their nonlinearity.
        start: first run.
        stop: one past the last.
    """

    layer: HiddenLayer
    start: int
    stop: int

    @property
    def rows(self) -> slice:
        """Return the runs as a slice."""
        return slice(self.start, self.stop)


@dataclass(frozen=True, slots=True)
class Runs:
    """The state of many runs.

    Attributes:
        U: upper weights `[run out hidden]`.
        V: lower weights `[run hidden inp]`.
        Y: wanted outputs `[run out inp]`.
        rates: learning rates `[run]`.
        blocks: which runs have which nonlinearity; together they cover all runs in order.
    """

    U: Tensor
    V: Tensor
    Y: Tensor
    rates: Tensor
    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        count = len(self.U)
        stops = [0, *(block.stop for block in self.blocks)]
        starts = [*(block.start for block in self.blocks), count]
        if stops != starts or not len(self.V) == len(self.Y) == len(self.rates) == count:
            raise InputError(
                f"runs: expected blocks that cover all runs in order and as many V, Y and rates as U, got {count} U, "
                f"{len(self.V)} V, {len(self.Y)} Y, {len(self.rates)} rates and blocks that start at {starts[:-1]}; "
                "build them with `stacked`"
            )

    def quantity(self) -> Tensor:
        """Return Q `[run]`."""
        return torch.cat([block.layer.quantity(self.U[block.rows], self.V[block.rows]) for block in self.blocks])

    def outputs(self) -> Tensor:
        """Return F `[run out inp]`."""
        return self.U @ hidden(self)

    def distance(self) -> Tensor:
        """Return ‖Y − F‖ `[run]`, which the official scripts call the loss."""
        distance: Tensor = (self.Y - self.outputs()).flatten(1).norm(dim=1)
        return distance

    def only(self, block: Block) -> "Runs":
        """Return the runs of one block alone."""
        rows = block.rows
        return Runs(self.U[rows], self.V[rows], self.Y[rows], self.rates[rows],
                    (Block(block.layer, 0, block.stop - block.start),))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Record:
    """What was recorded along the runs.

    Attributes:
        steps: how many steps had been made, `[record]`, ascending; the first is the start.
        quantity: Q `[record run]`.
        distance: ‖Y − F‖ `[record run]`.
        predicted: drift of Q since the start that the second order of each step predicts, `[record run]`; zeros where
            no prediction was asked for.
        end: the runs after the last step.
    """

    steps: Tensor
    quantity: Tensor
    distance: Tensor
    predicted: Tensor
    end: Runs


class DriftPrediction:
    """Sums over the steps the drift of Q that each makes to second order; buffers are made once.

    Attributes:
        total: drift predicted so far `[run]`.
    """

    def __init__(self, runs: Runs) -> None:
        self.blocks = runs.blocks
        self.weights = torch.ones_like(runs.V)
        self.total = torch.zeros_like(runs.rates)
        self._factor = torch.cat([torch.full_like(runs.rates[b.rows], b.layer.upper / 2) for b in runs.blocks])

    def add(self, V: Tensor, dU: Tensor, dV: Tensor) -> None:
        """Add the drift of one step (dU, dV) that is about to be taken at V."""
        for block in self.blocks:
            block.layer.weigh(V[block.rows], self.weights[block.rows])
        lower = _inner(dV * self.weights, dV)
        self.total.addcmul_(self._factor, _inner(dU, dU)).sub_(lower, alpha=0.5)


def _inner(left: Tensor, right: Tensor) -> Tensor:
    """Return <left, right> of each run, `[run]`."""
    count = len(left)
    return torch.bmm(left.view(count, 1, -1), right.view(count, -1, 1)).view(count)


def stacked(groups: Sequence[tuple[HiddenLayer, Sequence[tuple[Tensor, Tensor, Tensor, float]]]]) -> Runs:
    """Return runs from lists of (U, V, Y, rate), one list per hidden layer.

    Args:
        groups: hidden layer and its runs; all runs have the same shapes.
    """
    blocks: list[Block] = []
    flat: list[tuple[Tensor, Tensor, Tensor, float]] = []
    for layer, runs in groups:
        blocks.append(Block(layer, len(flat), len(flat) + len(runs)))
        flat.extend(runs)
    U, V, Y = (torch.stack(list(tensors)) for tensors in zip(*((u, v, y) for u, v, y, _ in flat), strict=True))
    rates = torch.tensor([run[3] for run in flat], dtype=U.dtype, device=U.device)
    return Runs(U, V, Y, rates, tuple(blocks))


def hidden(runs: Runs) -> Tensor:
    """Return sigma(V) `[run hidden inp]`."""
    S = torch.empty_like(runs.V)
    for block in runs.blocks:
        block.layer.forward(runs.V[block.rows], S[block.rows])
    return S


@torch.no_grad()
def descend(runs: Runs, at: Sequence[int], *, prediction: DriftPrediction | None = None) -> Record:
    """Return the record of gradient descent on the mean square; the given runs are left as they are.

    One step: E = (2η/mn)(F − Y), V ← V − pull-back of Uᵀ E, U ← U − E Sᵀ.

    Args:
        runs: where to start.
        at: numbers of steps after which to record, ascending; 0 is recorded in any case.
        prediction: sums the drift that each step makes; left out, a step costs less.

    Raises:
        InputError: `at` is not ascending.

    Complexity:
        Per step O(run out hidden inp), nine batched calls and a few more per activation; no allocation.
    """
    wanted = sorted({0, *at})
    if list(at) != sorted(set(at)) or wanted[0] < 0:
        raise InputError(f"recording: expected ascending step numbers from 0 on, got {list(at)[:8]}; sort them")
    state = replace(runs, U=runs.U.clone(), V=runs.V.clone())
    step = _program(state, prediction)
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    done = 0
    for goal in wanted:
        for _ in range(goal - done):
            step()
        done = goal
        drift = torch.zeros_like(state.rates) if prediction is None else prediction.total
        kept.append((state.quantity(), state.distance(), drift.clone()))
    Q, distance, predicted = (torch.stack([row[part] for row in kept]) for part in range(3))
    return Record(torch.tensor(wanted), Q, distance, predicted, state)


def _program(runs: Runs, prediction: DriftPrediction | None) -> Callable[[], None]:
    """Return one step as a function on buffers made once: at these sizes the calls cost more than the arithmetic."""
    U, V, Y = runs.U, runs.V, runs.Y
    factor = (2 * runs.rates / Y[0].numel())[:, None, None]
    S, G, E, dU = torch.empty_like(V), torch.empty_like(V), torch.empty_like(Y), torch.empty_like(U)
    Ut, St = U.transpose(1, 2), S.transpose(1, 2)
    parts = [(block.layer, V[block.rows], S[block.rows], G[block.rows]) for block in runs.blocks]

    def step() -> None:
        for layer, lower, active, _ in parts:
            layer.forward(lower, active)
        torch.baddbmm(Y, U, S, beta=-1, out=E)
        E.mul_(factor)
        torch.bmm(Ut, E, out=G)
        torch.bmm(E, St, out=dU)
        for layer, lower, active, gradient in parts:
            layer.pull_back(lower, active, gradient)
        if prediction is not None:
            prediction.add(V, dU, G)
        U.sub_(dU)
        V.sub_(G)

    return step
