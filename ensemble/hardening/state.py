"""Where a hardening stands, in memory and on disk: everything that the next step depends on, as plain tensors.

A checkpoint is one safetensors file named by the digest of all that the hardening's result depends on, so a folder may
hold those of many, and none is ever taken for another's. Nothing is pickled.
"""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ensemble.errors import ArtifactError
from ensemble.hardening.report import Check

Tensors = dict[str, Tensor]
_PARTS = ("parameters", "first", "second", "average", "best")


@dataclass(slots=True, eq=False)
class State:
    """Where a hardening stands.

    Attributes:
        parameters: the network's trainable tensors by name.
        first: Adam's running mean of the gradient.
        second: Adam's running mean of its square.
        average: running mean of the parameters.
        best: what was kept at the best look so far.
        rng: state of the generator.
        step: steps done.
        checks: looks so far.
        seconds: wall time so far.
    """

    parameters: Tensors
    first: Tensors
    second: Tensors
    average: Tensors
    best: Tensors
    rng: Tensor
    step: int = 0
    checks: list[Check] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def start(cls, parameters: Tensors, rng: Tensor) -> "State":
        """Return the state before the first step.

        Args:
            parameters: the network's, by name.
            rng: state of the generator.
        """
        own = [{name: value.detach().clone() for name, value in parameters.items()} for _ in range(3)]
        zeros = [{name: torch.zeros_like(value) for name, value in own[0].items()} for _ in range(2)]
        return cls(own[0], zeros[0], zeros[1], own[1], own[2], rng)

    def save(self, path: Path) -> None:
        """Write the state to a file, which holds the old or the new state at any moment."""
        tensors = {
            f"{part}.{name}": value.detach().cpu().contiguous()
            for part in _PARTS
            for name, value in getattr(self, part).items()
        }
        written = {"step": self.step, "seconds": self.seconds, "checks": [asdict(check) for check in self.checks]}
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = path.with_suffix(f".{os.getpid()}")
        try:
            save_file(tensors | {"rng": self.rng}, staging, metadata={"state": json.dumps(written)})
            os.replace(staging, path)
        finally:
            staging.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path, like: Tensors) -> "State":
        """Return the state that `save` wrote.

        Args:
            path: the file.
            like: the network's parameters: names, devices and memory formats.

        Raises:
            ArtifactError: the file is damaged.
        """
        try:
            with safe_open(path, framework="pt") as stored:
                written = json.loads(stored.metadata()["state"])
                parts = {part: _like(like, stored, part) for part in _PARTS}
                rng = stored.get_tensor("rng")
            checks = [Check(**check) for check in written["checks"]]
            return cls(**parts, rng=rng, step=int(written["step"]), checks=checks, seconds=float(written["seconds"]))
        except (OSError, SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise ArtifactError(
                f"checkpoint {path.name!r}: expected the state of a hardening, got {type(error).__name__}; delete it "
                "to start over"
            ) from error


def _like(like: Tensors, stored: Any, part: str) -> Tensors:
    return {name: torch.empty_like(own).copy_(stored.get_tensor(f"{part}.{name}")) for name, own in like.items()}
