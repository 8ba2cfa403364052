"""LitServe: raw bytes in, raw bytes out; its batches count requests."""

import os
from typing import Annotated

import litserve
import numpy as np
from fastapi import Body, Response

from benchmarks.serving.peers.network import BATCH_ROWS, LIMIT, ROWS, Served, from_bytes


class Api(litserve.LitAPI):
    """The network behind LitServe's hooks."""

    def setup(self, device):
        """Load the network in the worker."""
        self.served = Served()

    def decode_request(self, request: Annotated[bytes, Body(media_type="application/octet-stream")]):
        """Return the rows of one request."""
        return from_bytes(request)

    def batch(self, inputs):
        """Put requests together."""
        return np.concatenate(inputs)

    def predict(self, x):
        """Return probabilities of the whole batch."""
        return self.served(x)

    def unbatch(self, output):
        """Take the requests apart; all have the same number of rows."""
        return [output[start : start + ROWS] for start in range(0, len(output), ROWS)]

    def encode_response(self, output) -> Response:
        """Return the answer of one request."""
        return Response(output.tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    api = Api(max_batch_size=BATCH_ROWS // ROWS, batch_timeout=float(os.environ["BENCH_DELAY"]))
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=LIMIT)
    server.run(
        host="127.0.0.1", port=int(os.environ["BENCH_PORT"]), log_level="warning", generate_client_file=False,
        num_api_servers=1,
    )  # fmt: skip
