"""Trained weights from a file into a network: safetensors, or a PyTorch checkpoint read without unpickling code."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ensemble.errors import ArtifactError, InputError

PICKLED = (".pt", ".th", ".pth", ".bin", ".ckpt")
NESTED = ("state_dict", "model_state_dict", "model")  # where training scripts put the weights inside a checkpoint
PREFIXES = ("module.", "_orig_mod.", "model.")  # what data parallelism, compilation and training wrappers prepend
COUNTER = ".num_batches_tracked"  # old checkpoints lack it, and in eval mode no answer depends on it
INNER = "network."  # where our own normalising wrapper keeps the published network


def load_weights(network: nn.Module, path: Path) -> nn.Module:
    """Return `network` in eval mode with the weights of the file `path` in it.

    Args:
        network: untrained network; its parameters are overwritten.
        path: `.safetensors`, or a PyTorch checkpoint holding tensors only.

    Raises:
        InputError: the file is missing, of an unknown kind, or does not fit the network.
        ArtifactError: the file is damaged, holds code, or holds non-finite weights.
    """
    state = align(read_state(path), network)
    _check_fit(network.state_dict(), state, path)
    network.load_state_dict(state, strict=True)
    return network.eval()


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint file by name, on the CPU.

    Raises:
        InputError: the file is missing or its suffix is unknown.
        ArtifactError: the file is damaged, or holds anything but tensors and plain values.
    """
    if not path.is_file():
        raise InputError(f"weights: expected a file, got nothing at {path}; check the path")
    if path.suffix == ".safetensors":
        state = _read_safetensors(path)
    elif path.suffix in PICKLED:
        state = _read_pickled(path)
    else:
        raise InputError(
            f"weights: expected a file ending in .safetensors or one of {list(PICKLED)}, got {path.name!r}; convert it"
        )
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ArtifactError(
                f"weights {path.name}: expected finite values, got NaN or infinity in {name!r}; "
                "the training diverged or the file is damaged, use another checkpoint"
            )
    return state


def align(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return `state` under the names `network` uses.

    Wrapper prefixes are removed, or the one of our own wrapper added, where no name fits otherwise; the batch counters
    that old checkpoints lack are taken from the network.
    """
    expected = set(network.state_dict())
    result = dict(state)
    for prefix in PREFIXES:
        if result and all(key.startswith(prefix) for key in result) and not expected & set(result):
            result = {key.removeprefix(prefix): tensor for key, tensor in result.items()}
    if expected and all(key.startswith(INNER) for key in expected) and not expected & set(result):
        result = {INNER + key: tensor for key, tensor in result.items()}
    counters = {key: value for key, value in network.state_dict().items() if key.endswith(COUNTER)}
    return {**counters, **result}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path, device="cpu"))
    except (SafetensorError, ValueError, OSError) as error:
        raise ArtifactError(
            f"weights {path.name}: expected a safetensors file, got one that cannot be read ({error}); copy it again"
        ) from error


def _read_pickled(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of foreign pickles, which it then refuses or reads
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the restricted unpickler fails on damaged bytes in as many ways as there are bytes
        raise ArtifactError(
            f"weights {path.name}: expected a checkpoint of tensors only, got one that cannot be read without running "
            f"code ({_first_line(error)}); save `network.state_dict()` or use safetensors"
        ) from error
    for key in NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)} if _named(content) else {}
    if not tensors:
        raise ArtifactError(
            f"weights {path.name}: expected a dictionary from parameter names to tensors, got "
            f"{type(content).__name__}; save `network.state_dict()`"
        )
    return tensors


def _named(content: Any) -> bool:
    return isinstance(content, Mapping) and all(isinstance(key, str) for key in content)


def _check_fit(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path) -> None:
    missing, unexpected = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    if missing or unexpected:
        raise InputError(
            f"weights {path.name}: expected the {len(expected)} tensors of the network, got {len(state)}; "
            f"missing {_some(missing)}, unexpected {_some(unexpected)}; name the architecture the weights belong to"
        )
    for name, tensor in expected.items():
        if tensor.shape != state[name].shape:
            raise InputError(
                f"weights {path.name}: expected {name!r} of shape {list(tensor.shape)}, got "
                f"{list(state[name].shape)}; name the architecture (and number of classes) the weights belong to"
            )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:160]}"


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:4])
    return f"[{shown}, ... {len(names)} in all]" if len(names) > 4 else f"[{shown}]"
