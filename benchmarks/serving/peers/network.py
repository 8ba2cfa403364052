"""The network behind every peer, from the artifact that the service serves. Settings come from the environment."""

import os
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

import ensemble
from ensemble import SymmetryEnsemble
from service.catalogue.networks.cifar_resnet import resnet20

SHAPE = (3, 32, 32)
ROWS = int(os.environ.get("BENCH_ROWS", "8"))  # of each request
BATCH_ROWS = int(os.environ.get("BENCH_BATCH_ROWS", "32"))
LIMIT = float(os.environ.get("BENCH_LIMIT", "1"))  # seconds a request may take

Network = Callable[[torch.Tensor], torch.Tensor]


def _naive(many: SymmetryEnsemble) -> Network:
    """Members as full networks, one after another: what a user of such a server writes."""
    members = [many.member(index) for index in range(many.size)]
    return lambda x: torch.stack([member(x).softmax(-1) for member in members]).mean(0)


def _shared(many: SymmetryEnsemble) -> Network:
    """Our ensemble, its shared layers once: what remains is the difference between servers."""
    return lambda x: many(x).exp()


VARIANTS = {"naive": _naive, "shared": _shared}


class Served:
    """Probabilities for arrays of rows; loaded when it is made."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        many = ensemble.load(os.environ["BENCH_ARTIFACT"], build=lambda: resnet20(num_classes=10))
        self._network = VARIANTS[os.environ["BENCH_VARIANT"]](many)
        self(np.zeros((BATCH_ROWS, *SHAPE), dtype=np.float32))

    def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities `[rows classes]` for `[rows 3 32 32]`."""
        with torch.inference_mode():
            return self._network(torch.from_numpy(rows)).numpy()


def from_bytes(body: bytes) -> NDArray[np.float32]:
    """Return rows `[rows 3 32 32]` from little-endian float32 bytes."""
    return np.frombuffer(bytearray(body), dtype="<f4").reshape(-1, *SHAPE)
