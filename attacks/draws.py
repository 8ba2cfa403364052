"""Other draws of the group: ensembles of the target's recipe and calibration inputs, and of other seeds.

A result about one draw is a result about that draw. The others are made like the target was, each on first use, and
judged on the examples that are made without the target: forwards only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attacks.canonical import seed_from
from attacks.store import Tensors, recalled
from attacks.surrogates.fresh_members import FreshMembers, recipe_of
from attacks.targets import FLOAT32, Coding, NetworkModel, wrap
from ensemble.digests import state_digest, tensor_digest
from ensemble.errors import InputError, LevelsetError

#: How draws are named in a jury: draw-1, draw-2, ...
PREFIX = "draw-"
MATERIAL = "group_draw"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GroupDraws:
    """Further ensembles, made on first use and kept.

    Attributes:
        sources: name -> what each is made from.
        bounds: of the threat models.
        example: inputs each must accept.
        mode: how each is served.
        coding: what happens to inputs before it sees them.
        folder: where their changed layers are kept, or None.
    """

    sources: Mapping[str, FreshMembers] = field(default_factory=dict)
    bounds: tuple[float, float] = (0.0, 1.0)
    example: Tensor = field(default_factory=lambda: torch.empty(0))
    mode: str = "prob"
    coding: Coding = FLOAT32
    folder: Path | None = None
    _made: dict[str, NetworkModel] = field(default_factory=dict, init=False)

    @property
    def digests(self) -> dict[str, str]:
        """The digest of each by its name: of base, recipe, calibration inputs, seed and number of members."""
        return {name: source.digest for name, source in self.sources.items()}

    @property
    def judges(self) -> dict[str, Callable[[], NetworkModel]]:
        """What returns each as a judge, by its name."""
        return {name: self._judge(name) for name in self.sources}

    def _judge(self, name: str) -> Callable[[], NetworkModel]:
        return lambda: self.model(name)

    def model(self, name: str) -> NetworkModel:
        """Return a draw as it would be served.

        Args:
            name: one of `sources`.

        Raises:
            LevelsetError: it cannot be made; the message says which one and how to do without.
        """
        if name not in self._made:
            source = self.sources[name]
            network = source.from_state(self._tensors(name)).eval().requires_grad_(False)
            self._made[name] = wrap(
                network, bounds=self.bounds, example=self.example, role=name, mode=self.mode, coding=self.coding
            )
        return self._made[name]

    def prepare(self, name: str) -> dict[str, Any]:
        """Make a draw, or find it, and return what it was made from and the digest of its changed layers.

        Args:
            name: one of `sources`.
        """
        source, tensors = self.sources[name], self._tensors(name)
        self.model(name)
        numbers = {"members": source.count, "seed": source.seed, "tensors": len(tensors), "points": len(source.sample)}
        return {"source": source.digest, "digest": state_digest(tensors), "numbers": numbers}

    def _tensors(self, name: str) -> Tensors:
        source = self.sources[name]
        return recalled(self.folder, source.digest, lambda: _generated(name, source))


def _generated(name: str, source: FreshMembers) -> Tensors:
    try:
        return source.prepare()
    except LevelsetError as error:
        error.args = (f"{name}, another draw of the group: {error}; or leave it out with draws=1",)
        raise  # of its own class, whatever that is made from


def group_draws(
    target: nn.Module,
    base: nn.Module,
    base_digest: str,
    *,
    calibration: Tensor | None,
    count: int,
    given: int,
    seed: int,
    **settings: Any,
) -> GroupDraws:
    """Return the draws beside the target; none where only one is asked for.

    Args:
        target: an ensemble with the record of its generation.
        base: the network it was made from.
        base_digest: of its weights and buffers.
        calibration: the inputs it was made from.
        count: how many draws in all, the target and those given included.
        given: how many others were given as networks.
        seed: of the evaluation.
        settings: the fields of `GroupDraws`.

    Raises:
        InputError: no calibration inputs, other ones than the target's, or a target without its record.
    """
    if count <= 1 + given:
        return GroupDraws(**settings)
    if calibration is None:
        raise InputError(
            f"draws: expected the target's calibration inputs to make {count} draws from, got none; pass "
            "calibration=inputs, or further ensembles as other_draws"
        )
    recipe = recipe_of(target, "other draws of the group")
    _check_own(target, calibration)
    members = int(getattr(target, "size", 1))
    numbers = range(1 + given, count)
    sources = {
        f"{PREFIX}{k}": FreshMembers(
            base, base_digest, recipe, calibration.detach().cpu(), seed_from(seed, MATERIAL, k), members, MATERIAL
        )
        for k in numbers
    }
    return GroupDraws(sources=sources, **settings)


def _check_own(target: nn.Module, calibration: Tensor) -> None:
    expected = getattr(getattr(target, "generation", None), "calibration_digest", None)
    got = tensor_digest(calibration)
    if expected is not None and got != expected:
        raise InputError(
            f"calibration: expected the inputs the target was generated from (digest {expected[:12]}), got others "
            f"({got[:12]}); a draw differs from the target by its seed alone: pass the same inputs in the same order"
        )
