"""SHA-256 digests of tensors and networks: what two parties compare instead of the bytes."""

import hashlib
import json
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn


def tensor_digest(tensor: Tensor) -> str:
    """Return the SHA-256 (hex) of a tensor's dtype, shape and row-major bytes; device and strides do not count."""
    return _digest([("", tensor)])


def state_digest(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 (hex) of a state dictionary; the order of its keys does not count."""
    return _digest(sorted(state.items()))


def network_digest(network: nn.Module) -> str:
    """Return the SHA-256 (hex) of a network's parameters and buffers, non-persistent buffers included."""
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    return state_digest(tensors)


def _digest(named: Iterable[tuple[str, Tensor]]) -> str:
    hasher = hashlib.sha256()
    for name, tensor in named:
        hasher.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        flat = tensor.detach().to("cpu").contiguous().reshape(-1)
        # Through uint8: numpy knows neither bfloat16 nor the quantised types.
        hasher.update(flat.view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()


def text_digest(parts: Iterable[object]) -> str:
    """Return the SHA-256 (hex) of JSON values in order."""
    return hashlib.sha256(json.dumps(list(parts), sort_keys=True).encode()).hexdigest()
