"""What can go wrong while a network runs on a block of points, said so that the next run succeeds."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ensemble.errors import LevelsetError

#: How the libraries below torch say that memory ran out, where they have no exception class of their own for it.
_OUT_OF_MEMORY = (
    "out of memory",
    "DefaultCPUAllocator",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


class OutOfMemory(LevelsetError):
    """A block of points does not fit in the memory of the device.

    Attributes:
        points: how many points the block had.
        fitting: the block size to try next: half of it, at least one.
    """

    def __init__(self, doing: str, points: int) -> None:
        self.points = points
        self.fitting = max(points // 2, 1)
        remedy = f"run again with block={self.fitting}" if points > 1 else "use a device with more memory"
        super().__init__(
            f"{doing}: expected a block of {points} points to fit in the memory of the device, got out of memory; "
            f"{remedy} (blocks are part of a result's key, so none is made smaller silently)"
        )


class PreparationOutOfMemory(LevelsetError):
    """What is made before the attacks does not fit in the memory of the device; no block size helps there."""

    def __init__(self, doing: str) -> None:
        super().__init__(
            f"{doing}: expected its making to fit in the memory of the device, got out of memory; make it from fewer "
            "points, leave it out (what needs it is then NOT-RUN), or use a device with more memory"
        )


class ModelFailure(LevelsetError):
    """A network raised an error of its own on points it should accept."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that memory ran out, on whichever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(mark in str(error) for mark in _OUT_OF_MEMORY)


@contextmanager
def fits_in_memory(doing: str, points: int) -> Iterator[None]:
    """Turn out of memory inside the block into an error that names a block size that fits; all else passes through.

    Args:
        doing: what is done, for the message, e.g. the title of a shard.
        points: how many points the block has, as the caller cuts blocks.

    Raises:
        OutOfMemory: memory ran out inside.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(doing, points) from error


@contextmanager
def named_failure(role: str, shape: tuple[int, ...]) -> Iterator[None]:
    """Turn an error of a network itself into one that says which network, on how many points; memory passes through.

    Args:
        role: what the network is called.
        shape: of the batch.

    Raises:
        ModelFailure: the network raised anything but a `LevelsetError` or out of memory.
    """
    with _named(
        f"{role}: expected logits for a batch of the shape {list(shape)}",
        "mend the network's forward",
    ):
        yield


@contextmanager
def named_step(doing: str) -> Iterator[None]:
    """Turn an error that no network's forward raised into one that says which work it stopped.

    Args:
        doing: what is done, for the message, e.g. the title of a shard.

    Raises:
        ModelFailure: anything but a `LevelsetError` or out of memory was raised inside.
    """
    with _named(
        f"{doing}: expected every pass through the networks to succeed, the backward passes too",
        "mend the network that raised it",
    ):
        yield


@contextmanager
def _named(expected: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except LevelsetError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise ModelFailure(
            f"{expected}, got {type(error).__name__}: {error}; {remedy} (finished shards are kept, and the evaluation "
            "can be resumed)"
        ) from error
