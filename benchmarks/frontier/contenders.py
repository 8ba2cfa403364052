"""The rows of the arena: how each network or ensemble is made from a base, by name."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

import ensemble
from attacks.baselines import independent_ensemble, weight_noise_equal_accuracy
from attacks.canonical import content_digest
from benchmarks.frontier.bases import Base
from ensemble import Recipe, SymmetryEnsemble
from ensemble.controls import noise_ensemble
from ensemble.digests import network_digest
from ensemble.members import with_members

#: Unlabelled inputs of a layer-local recipe; a hardening says how many it takes.
LAYER_LOCAL_INPUTS = 500


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """A network of the arena.

    Attributes:
        name: of its row.
        network: in eval mode.
        members: how many networks answer together.
        inputs: unlabelled images it was made from.
        seconds: its making took, on a machine that did other work too; None where it was given.
        kept_step: of its hardening, 0 where the base was kept; None where there was none.
    """

    name: str
    network: nn.Module
    members: int
    inputs: int
    seconds: float | None
    kept_step: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Workbench:
    """What contenders are made from.

    Attributes:
        base: the stolen network.
        seed: of the group elements.
        largest: members that are generated; smaller ensembles are its first ones.
        folder: where generated ensembles are kept.
    """

    base: Base
    seed: int
    largest: int
    folder: Path

    def generated(self, name: str, recipe: Recipe, members: int) -> Contender:
        """Return the first members of an ensemble, generated once for all numbers of them."""
        inputs = LAYER_LOCAL_INPUTS if recipe.hardening is None else recipe.hardening.inputs
        parts = [network_digest(self.base.network), recipe.to_json(), self.seed, self.largest, inputs]
        place = self.folder / "ensembles" / content_digest(parts)
        if not (place / "seconds").exists():
            begin = time.perf_counter()
            rng = torch.Generator().manual_seed(self.seed)
            refined = content_digest(
                [parts[0], None if recipe.hardening is None else recipe.hardening.to_json(), self.seed]
            )
            made = ensemble.generate(
                self.base.network,
                self.base.unlabelled(inputs),
                members=self.largest,
                recipe=recipe,
                rng=rng,
                checkpoints=None if recipe.hardening is None else self.folder / "hardened" / refined,
            )
            place.parent.mkdir(parents=True, exist_ok=True)
            made.save(place, architecture=ensemble.Architecture("resnet20", {"num_classes": 10}))
            (place / "seconds").write_text(f"{time.perf_counter() - begin:.1f}")
        whole = ensemble.load(place)
        seconds = float((place / "seconds").read_text())
        hardened = None if whole.generation is None else whole.generation.hardening
        kept = None if hardened is None else hardened.kept_step
        return Contender(name, first(whole, members), members, inputs, seconds, kept)


def first(whole: SymmetryEnsemble, members: int) -> SymmetryEnsemble:
    """Return the ensemble of the first members; how it was generated stays known, as attackers would know it."""
    if members == whole.size:
        return whole
    chosen = list(range(members))
    recipe = None if whole.generation is None else whole.generation.recipe
    if recipe is not None and recipe.hardening is not None and recipe.hardening.trunk_is_member:
        chosen[-1] = whole.size - 1  # where the hardened network itself stands
    part = with_members(whole, [whole.member_layers(index) for index in chosen])
    return part if whole.generation is None else part.with_generation(whole.generation)


def _of_preset(preset: str, **changes: object) -> Callable[[Workbench, int], Contender]:
    def made(bench: Workbench, members: int) -> Contender:
        recipe = replace(ensemble.presets[preset], **changes) if changes else ensemble.presets[preset]
        return bench.generated(preset, recipe, members)

    return made


def _base(bench: Workbench, members: int) -> Contender:
    return Contender("base", bench.base.network, 1, 0, None)


def _independent(bench: Workbench, members: int) -> Contender:
    return Contender("independent", bench.base.independents[0], 1, 0, None)


def _independents(bench: Workbench, members: int) -> Contender:
    networks = bench.base.independents[:members]
    example = bench.base.unlabelled(1)
    together = independent_ensemble(networks, classes=10, example=example)
    return Contender("independents", together, len(networks), 0, None)


def _equal_norm(bench: Workbench, members: int) -> Contender:
    like = bench.generated("balanced", ensemble.presets["balanced"], members)
    assert isinstance(like.network, SymmetryEnsemble)
    noise = noise_ensemble(like.network, rng=torch.Generator().manual_seed(bench.seed))
    return Contender("weight_noise_equal_norm", noise, members, 0, None)


def _equal_accuracy(bench: Workbench, members: int) -> Contender:
    like = bench.generated("balanced", ensemble.presets["balanced"], members)
    assert isinstance(like.network, SymmetryEnsemble)
    noise = weight_noise_equal_accuracy(like.network, bench.base.fitting(), seed=bench.seed)
    return Contender("weight_noise_equal_accuracy", noise.network, members, 0, None)


def variants(wanted: Mapping[str, Mapping[str, Any]]) -> dict[str, Callable[["Workbench", int], Contender]]:
    """Return rows for recipes tried on the way.

    Args:
        wanted: name of the row -> its preset and the fields that differ; those of the hardening begin with
            "hardening.".
    """
    return {name: _varied(name, dict(changes)) for name, changes in wanted.items()}


def _varied(name: str, changes: dict[str, Any]) -> Callable[["Workbench", int], Contender]:
    recipe = ensemble.presets[changes.pop("preset")]
    inner = {key.removeprefix("hardening."): changes.pop(key) for key in list(changes) if key.startswith("hardening.")}
    if inner:
        assert recipe.hardening is not None
        changes["hardening"] = replace(recipe.hardening, **inner)
    varied = replace(recipe, **changes)
    return lambda bench, members: bench.generated(name, varied, members)


#: Row -> what makes it with so many members.
CONTENDERS: Mapping[str, Callable[[Workbench, int], Contender]] = MappingProxyType(
    {
        "base": _base,
        "independent": _independent,
        "independents": _independents,
        "weight_noise_equal_norm": _equal_norm,
        "weight_noise_equal_accuracy": _equal_accuracy,
        "identity_refit": _of_preset("balanced", scale=0.0, search_steps=0),
        "random_refit": _of_preset("balanced", search_steps=0),
        **{name: _of_preset(name) for name in ensemble.presets},
    }
)
#: Rows that are one network whatever the number of members.
SINGLE = ("base", "independent")
