"""BentoML: raw bytes in by an input specification of our own, JSON probabilities out; its batches count rows."""

from typing import Any

import bentoml
import numpy as np
from _bentoml_sdk.io_models import IORootModel

from benchmarks.serving.peers.network import BATCH_ROWS, LIMIT, Served, from_bytes


class RawRows(IORootModel[np.ndarray]):
    """Rows as little-endian float32 bytes; JSON lists of 24576 numbers would cost more than the network."""

    @classmethod
    async def from_http_request(cls, request: Any, serde: Any) -> Any:
        """Return the rows of a request."""
        return cls(from_bytes(await request.body()))


@bentoml.service(workers=1, threads=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Bento:
    """The network behind a BentoML service."""

    def __init__(self) -> None:
        self.served = Served()

    @bentoml.api(batchable=True, max_batch_size=BATCH_ROWS, max_latency_ms=int(1000 * LIMIT), input_spec=RawRows)
    def infer(self, rows: np.ndarray) -> np.ndarray:
        """Return probabilities of a batch."""
        return self.served(rows)
