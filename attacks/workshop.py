"""What attackers craft on: the stolen base, what they make of it with data of their own, networks of their own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn

from attacks.canonical import seed_from
from attacks.data import LabelledData
from attacks.gradient.skip import with_skip_gradient
from attacks.rows import Suite, SurrogateRow
from attacks.store import Shelf, Tensors, recalled
from attacks.surrogates import (
    FORMS,
    CollectedWeights,
    FreshMembers,
    LgvSettings,
    Material,
    Surrogate,
    ensemble_of,
    form_digest,
    recipe_of,
    stolen_base,
)
from attacks.targets import ModelFailure, NetworkModel, OutOfMemory
from ensemble.digests import state_digest
from ensemble.errors import ArtifactError, InputError, LevelsetError

BASE = "base"
#: A network that the attacker trained itself, and all of them together: those that are given as independent.
INDEPENDENT, INDEPENDENTS = "independent", "independents"
_NOT_GIVEN = "no independently trained networks were given"
_ONLY_ONE = "one independently trained network was given: it is its own mean"
#: Materials held ready at a time; each is a pool of weights.
HELD = 3


class Workshop:
    """The attackers' networks by name, made on first use, the last few of them held.

    Args:
        base: the stolen base.
        digest: of its weights.
        target: the network evaluated; only the recipe it was generated with is read.
        suite: for its surrogate rows.
        attacker: the attacker's own sample, or None.
        seed: of the evaluation.
        folder: where costly material is kept, or None.
        independents: networks that the attacker trained itself, as surrogates.
    """

    def __init__(
        self,
        *,
        base: NetworkModel,
        digest: str,
        target: nn.Module,
        suite: Suite,
        attacker: LabelledData | None,
        seed: int,
        folder: Path | None,
        independents: Sequence[Surrogate] = (),
    ) -> None:
        self._base = stolen_base(base, digest)
        self._held = {BASE: self._base} | _of_networks(independents)
        self._attacker = attacker
        self._target = target
        self._seed = seed
        self._folder = folder
        self._rows = {row.name: row for row in suite.surrogates}
        self._reasons = {row.name: self._check(row) for row in suite.surrogates} | {
            INDEPENDENT: "" if independents else _NOT_GIVEN,
            INDEPENDENTS: "" if len(independents) > 1 else _ONLY_ONE if independents else _NOT_GIVEN,
        }
        self._failures: dict[str, str] = {}
        self._tensors: Shelf[Tensors] = Shelf(HELD)
        self._surrogates: Shelf[Surrogate] = Shelf(HELD)

    def reason_against(self, name: str) -> str:
        """Return why there is no surrogate of this name; nothing where there is one.

        Args:
            name: "base", "target", "independent", "independents", or the name of one of the suite's surrogates.
        """
        return self._reasons.get(name, "")

    @cached_property
    def reason_against_skips(self) -> str:
        """Why gradients of the stolen base cannot be led through its skips; nothing where they can."""
        try:
            with_skip_gradient(self._base.model.network, 1.0)
        except InputError as error:
            return str(error)
        return ""

    def digest(self, name: str) -> str:
        """Return the digest of a surrogate, known without making it."""
        if name in self._held:
            return self._held[name].digest
        row = self._rows[name]
        return form_digest(row.kind, self._material(row))

    def surrogate(self, name: str) -> NetworkModel:
        """Return what gradients are taken through, made where it is not held."""
        if name in self._held:
            return self._held[name].model
        row = self._rows[name]
        return self._surrogates.get(self.digest(name), lambda: self._make(row)).model

    def failure(self, name: str) -> str:
        """Return why a surrogate could not be made, after trying; nothing where it is there.

        Args:
            name: a network that is held, or the name of one of the suite's surrogates.
        """
        if name in self._held:
            return ""
        if name not in self._failures:
            self._failures[name] = self._try(name)
        return self._failures[name]

    def _try(self, name: str) -> str:
        try:
            self._tensors_of(self._material(self._rows[name]))
        except (ArtifactError, ModelFailure, OutOfMemory):
            raise  # says nothing about the attacker
        except LevelsetError as error:
            return str(error)
        return ""

    @property
    def materials(self) -> tuple[str, ...]:
        """What has to be made before the attacks, by name; equal materials once."""
        found = {self._material(row).digest: row.material for row in self._rows.values() if not self._reasons[row.name]}
        return tuple(dict.fromkeys(found.values()))

    def identity(self, material: str) -> dict[str, Any]:
        """Return what a material depends on: settings, and the digest of all of it."""
        row = self._first(material)
        return {"kind": row.material, "settings": dict(row.settings), "source": self._material(row).digest}

    def prepare(self, material: str) -> dict[str, Any]:
        """Make a material, or find it, and return its digest and what is known about it.

        Args:
            material: one of `materials`.
        """
        row = self._first(material)
        reason = self.failure(row.name)
        if reason:
            return self.identity(material) | {"reason": reason}
        tensors = self._tensors_of(self._material(row))
        numbers = {"tensors": len(tensors), "values": sum(tensor.numel() for tensor in tensors.values())}
        points = 0 if self._attacker is None else len(self._attacker)
        return self.identity(material) | {"digest": state_digest(tensors), "numbers": numbers | {"points": points}}

    def _first(self, material: str) -> SurrogateRow:
        return next(row for row in self._rows.values() if row.material == material)

    def _make(self, row: SurrogateRow) -> Surrogate:
        material = self._material(row)
        base = self._base.model
        made = FORMS[row.kind](material, self._tensors_of(material), bounds=base.bounds)
        # The attacker knows how inputs arrive, too.
        return replace(made, model=made.model.with_coding(base.coding))

    def _tensors_of(self, material: Material) -> Tensors:
        return self._tensors.get(
            material.digest, lambda: recalled(self._folder, material.digest, lambda: dict(material.prepare()))
        )

    def _material(self, row: SurrogateRow) -> Material:
        return MATERIALS[row.material](self, row)

    def _check(self, row: SurrogateRow) -> str:
        """Return why a row's surrogate cannot be made; asking for its digest builds nothing."""
        if self._attacker is None:
            return "no attacker data were given: the attacker has no sample of its own"
        try:
            self._material(row)
        except InputError as error:
            return str(error)
        return ""

    def _fresh_members(self, row: SurrogateRow) -> Material:
        assert self._attacker is not None
        network, digest = self._base.model.network, self._base.digest
        recipe, sample = recipe_of(self._target), self._attacker.inputs
        return FreshMembers(network, digest, recipe, sample, self._own_seed(row), int(row.settings["count"]))

    def _collected_weights(self, row: SurrogateRow) -> Material:
        assert self._attacker is not None
        network, digest = self._base.model.network, self._base.digest
        settings = LgvSettings(**row.settings)
        return CollectedWeights(network, digest, self._attacker, self._own_seed(row), settings)

    def _own_seed(self, row: SurrogateRow) -> int:
        return seed_from(self._seed, "attacker", row.material)


def _of_networks(independents: Sequence[Surrogate]) -> dict[str, Surrogate]:
    """Return what an attacker crafts on that has no base: the first network it trained, and the mean of all."""
    found = {} if not independents else {INDEPENDENT: independents[0]}
    return found if len(independents) < 2 else found | {INDEPENDENTS: ensemble_of(independents)}


#: What a surrogate can be made of, by the name rows give it.
MATERIALS: Mapping[str, Callable[[Workshop, SurrogateRow], Material]] = MappingProxyType(
    {"fresh_members": Workshop._fresh_members, "lgv": Workshop._collected_weights}
)
