"""Starting weights and targets of the paper's training runs, and when to record."""

import torch
from torch import Tensor

DTYPE = torch.float64


def generator(*seeds: int) -> torch.Generator:
    """Return the generator of a seed and what is drawn with it, each combination its own stream.

    Args:
        seeds: the seed of the figure, then numbers that tell draws apart.
    """
    mixed = 0
    for seed in seeds:
        mixed = (mixed * 1_000_003 + seed + 1) % (2**63)
    return torch.Generator().manual_seed(mixed)


def gaussian_start(sizes: tuple[int, int, int], spread: float, seed: int, *, shared: bool) -> tuple[Tensor, Tensor]:
    """Return U `[out hidden]` and V `[hidden inp]` with independent normal entries.

    Args:
        sizes: (out, inp, hidden).
        spread: standard deviation.
        seed: of the draw.
        shared: draw U and V from one seed, so that the smaller repeats the beginning of the larger, as the official
            scripts do.
    """
    out, inp, hidden = sizes
    upper = torch.randn(out, hidden, generator=generator(seed, 1), dtype=DTYPE)
    lower = torch.randn(hidden, inp, generator=generator(seed, 1 if shared else 2), dtype=DTYPE)
    return spread * upper, spread * lower


def targets(out: int, inp: int, seed: int) -> Tensor:
    """Return Y `[out inp]` with standard normal entries.

    Args:
        out: m.
        inp: n, also the number of samples.
        seed: of the draw.
    """
    return torch.randn(out, inp, generator=generator(seed, 0), dtype=DTYPE)


def log_steps(last: int, count: int = 60) -> list[int]:
    """Return 0, 1 and about `count` step numbers spread evenly in their logarithm, up to the last.

    Args:
        last: largest step number, >= 1.
        count: how many to aim at.
    """
    return sorted({0, 1, *(round(last ** (i / count)) for i in range(count + 1))})
