"""Records of each activation alone: all runs together up to the horizon, then the sigmoid up to twice that."""

from collections.abc import Callable, Sequence

import torch

from ensemble.paper.descent import Block, DriftPrediction, Record, Runs, descend


def by_activation(
    runs: Runs, at: Sequence[int], prediction: Callable[[Runs], DriftPrediction | None] = lambda runs: None
) -> list[tuple[Block, Record]]:
    """Return the record of each block; the last one, the sigmoid's, goes on alone for as many steps again.

    Args:
        runs: of all activations, the sigmoid last.
        at: when to record up to the horizon, which is the last of these.
        prediction: what sums up the drift, or None.
    """
    together = descend(runs, at, prediction=prediction(runs))
    last = together.end.blocks[-1]
    rest = together.end.only(last)
    more = descend(rest, _tail(at[-1]), prediction=prediction(rest))
    records = [(block, _part(together, block)) for block in runs.blocks[:-1]]
    return [*records, (last, _joined(_part(together, last), more))]


def _tail(steps: int) -> list[int]:
    return sorted({round(steps * part / 8) for part in range(1, 9)})


def _part(record: Record, block: Block) -> Record:
    rows = block.rows
    return Record(record.steps, record.quantity[:, rows], record.distance[:, rows], record.predicted[:, rows],
                  record.end.only(block))  # fmt: skip


def _joined(first: Record, more: Record) -> Record:
    return Record(
        torch.cat([first.steps, first.steps[-1] + more.steps[1:]]),
        torch.cat([first.quantity, more.quantity[1:]]),
        torch.cat([first.distance, more.distance[1:]]),
        torch.cat([first.predicted, first.predicted[-1] + more.predicted[1:]]),
        more.end,
    )
