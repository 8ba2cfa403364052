"""MLServer: rows as base64 strings, its smallest form over REST; its batches count requests."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.serving.peers.network import Served, from_bytes


class Runtime(MLModel):
    """The network as a custom runtime."""

    async def load(self) -> bool:
        """Load the network."""
        self.served = Served()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Return probabilities of a batch."""
        rows = from_bytes(b"".join(Base64Codec.decode_input(payload.inputs[0])))
        output = NumpyCodec.encode_output("probabilities", np.ascontiguousarray(self.served(rows)))
        return InferenceResponse(model_name=self.name, outputs=[output])
