"""Members of the attacker's own: it knows the method, the recipe and the data, not the defender's seed and sample."""

import copy
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor, nn

from attacks.canonical import content_digest, seed_from
from attacks.surrogates.pools import Tensors, on_base
from ensemble.digests import tensor_digest
from ensemble.errors import InputError
from ensemble.execution import StackedLayer
from ensemble.generate import generate
from ensemble.layers import LayerRef, like_state_of
from ensemble.members import SymmetryEnsemble
from ensemble.recipe import Recipe

_TRUNK: Final = "trunk|"  # before the name of an entry of the refined trunk's state


def recipe_of(target: nn.Module, purpose: str = "fresh members") -> Recipe:
    """Return the recipe a target was generated with: by Kerckhoffs, the attacker knows it.

    Args:
        target: an ensemble with its generation record.
        purpose: what the recipe is for, named in the error.

    Raises:
        InputError: it has no record.
    """
    recipe = getattr(getattr(target, "generation", None), "recipe", None)
    if not isinstance(recipe, Recipe):
        raise InputError(
            f"{purpose}: expected a target with the record of its generation, got {type(target).__name__} without "
            "one; evaluate an ensemble that was generated or loaded, or name the recipe"
        )
    return recipe


@dataclass(frozen=True, slots=True, eq=False)
class FreshMembers:
    """Members that an attacker generates on the stolen base, with the target's recipe and a seed and sample of its own.

    Attributes:
        base: the stolen base, in eval mode.
        base_digest: SHA-256 of its weights and buffers.
        recipe: how members are generated; `recipe_of(target)`.
        sample: `[n channel height width]` float32, the attacker's calibration inputs; no label is used.
        seed: of the generation.
        count: how many members.
        name: what reports call it.
        digest: SHA-256 of base, recipe, sample, seed and number of members (derived).

    Raises:
        InputError: fewer than one member is asked for.
    """

    base: nn.Module
    base_digest: str
    recipe: Recipe
    sample: Tensor
    seed: int
    count: int
    name: str = "fresh_members"
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        """Check the number of members, and name what they are made from; the rest is checked where they are made."""
        if not isinstance(self.count, int) or isinstance(self.count, bool) or self.count < 1:
            raise InputError(f"{self.name}: expected a whole number >= 1 of them, got {self.count!r}; pass e.g. 8")
        sample = tensor_digest(self.sample)
        parts = [self.name, self.base_digest, self.recipe.to_json(), sample, self.seed, self.count]
        object.__setattr__(self, "digest", content_digest(parts))

    def prepare(self) -> dict[str, Tensor]:
        """Return the members' changed layers, stacked, on the CPU; equal digests give equal bytes.

        Raises:
            LevelsetError: no site, a calibration that cannot be trusted, or malformed inputs; see `ensemble.generate`.
        """
        rng = torch.Generator().manual_seed(seed_from(self.digest, "generation"))
        made = generate(self.base, on_base(self.base, self.sample), members=self.count, recipe=self.recipe, rng=rng)
        return layers_to_tensors(made)

    def from_state(self, tensors: Tensors) -> SymmetryEnsemble:
        """Return the members that tensors of `prepare` describe, on the base's device.

        Args:
            tensors: of `prepare`.
        """
        return layers_from_tensors(self.base, tuple(self.sample.shape[1:]), tensors)


def layers_to_tensors(ensemble: SymmetryEnsemble) -> dict[str, Tensor]:
    """Return the changed layers of an ensemble as named tensors on the CPU; `layers_from_tensors` reads them back.

    A refined trunk goes with them, entry by entry.

    Args:
        ensemble: any.
    """
    tensors = {}
    for index, layer in enumerate(ensemble.layers):
        # A position first: the order of layers is part of what an ensemble is, and stores sort by name.
        key = f"{index:05d}|{layer.ref.layer}|{layer.ref.norm or ''}"
        tensors[f"{key}|weight"] = layer.weight.detach().cpu().contiguous().clone()
        if layer.bias is not None:
            tensors[f"{key}|bias"] = layer.bias.detach().cpu().contiguous().clone()
    if ensemble.refined is not None:
        for name, value in ensemble.refined.state_dict().items():
            tensors[f"{_TRUNK}{name}"] = value.detach().cpu().contiguous().clone()
    return tensors


def layers_from_tensors(base: nn.Module, input_shape: tuple[int, ...], tensors: Tensors) -> SymmetryEnsemble:
    """Return the ensemble of a base and named layers.

    Args:
        base: the network they belong to.
        input_shape: of one input.
        tensors: of `layers_to_tensors`.
    """
    layers = []
    for name in sorted(name for name in tensors if not name.startswith(_TRUNK)):
        key, _, part = name.rpartition("|")
        if part == "weight":
            _, layer, norm = key.split("|")
            bias = tensors.get(f"{key}|bias")
            ref = LayerRef(layer, norm or None)
            layers.append(
                StackedLayer(ref, on_base(base, tensors[name]), None if bias is None else on_base(base, bias))
            )
    return SymmetryEnsemble(base, input_shape, layers, trunk=_trunk(base, tensors))


def _trunk(base: nn.Module, tensors: Tensors) -> nn.Module | None:
    state = {name.removeprefix(_TRUNK): value for name, value in tensors.items() if name.startswith(_TRUNK)}
    if not state:
        return None
    trunk = copy.deepcopy(base)
    trunk.load_state_dict(like_state_of(trunk, state), strict=True)
    return trunk
