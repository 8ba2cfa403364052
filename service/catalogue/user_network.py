"""A user's own network from a Python file, for the command line only: `my_network.py:factory`."""

import importlib.util
import inspect
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from torch import nn

from ensemble.errors import InputError, LevelsetError


def is_file_reference(key: str) -> bool:
    """Return whether `key` has the form `file.py:factory` and so names a file, not a catalogue key."""
    path, colon, factory = key.rpartition(":")
    return bool(colon) and path.endswith(".py") and factory.isidentifier()


def build_from_file(reference: str, *, num_classes: int | None = None) -> nn.Module:
    """Return the network that the factory in a Python file builds, in eval mode. Runs that file.

    Args:
        reference: `path/to/file.py:factory`; the factory takes `num_classes` or nothing.
        num_classes: passed on when not None, to a factory that takes it.

    Raises:
        InputError: the file or the factory is missing, or the factory does not return a network.
    """
    path, _, name = reference.rpartition(":")
    factory = _factory(Path(path), name)
    try:
        network = factory(num_classes=num_classes) if num_classes is not None and _takes_classes(factory) else factory()
    except LevelsetError:
        raise
    except Exception as error:
        raise InputError(
            f"architecture {reference}: expected {name}(num_classes=...) or {name}() to build a network, got "
            f"{type(error).__name__}: {error}; correct the factory"
        ) from error
    if not isinstance(network, nn.Module):
        raise InputError(
            f"architecture {reference}: expected the factory to return a torch.nn.Module, got "
            f"{type(network).__name__}; return the network"
        )
    return network.eval()


def _takes_classes(factory: Callable[..., object]) -> bool:
    parameters = inspect.signature(factory).parameters.values()
    return any(each.name == "num_classes" or each.kind is each.VAR_KEYWORD for each in parameters)


def _factory(path: Path, name: str) -> Callable[..., object]:
    if not path.is_file():
        raise InputError(f"architecture: expected a Python file, got nothing at {path}; check the path")
    module_name = f"levelset_user_{sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"architecture: expected an importable Python file, got {path}; rename it to end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and fx look their own module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise InputError(
            f"architecture {path}: expected a file that imports, got {type(error).__name__}: {error}; correct the file"
        ) from error
    factory: Callable[..., object] | None = getattr(module, name, None)
    if not callable(factory):
        raise InputError(f"architecture {path}: expected a callable {name!r} in the file, got {factory!r}; define it")
    return factory
