"""Ensembles that a claim must be held against: built like the real one, without what it claims.

`exact_ensemble` is the null test of every evaluation: an exact symmetry changes no output, so it protects nobody.
`scrambled_ensemble` knows nothing and looks hard to attack. `noise_ensemble` moves every weight as far, at random.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ensemble.action import exact_layers
from ensemble.errors import NoSiteError
from ensemble.graph import trace
from ensemble.groups import Group, PowerOfTwoScaling
from ensemble.layers import FoldedLayer, LayerRef, fold
from ensemble.members import MemberLayers, SymmetryEnsemble, folded_trunk, with_members
from ensemble.sites import CoupledSite, Site, sites_of


def exact_ensemble(
    network: nn.Module,
    example_input: Tensor,
    *,
    members: int,
    rng: torch.Generator,
    powers_of_two: bool = False,
    places: Sequence[Site | CoupledSite] | None = None,
) -> SymmetryEnsemble:
    """Return members that compute the base's own function: a random exact symmetry at every site.

    Args:
        network: trained classifier in evaluation mode.
        example_input: `[batch ...]`, one row is enough.
        members: how many.
        rng: CPU generator.
        powers_of_two: scale by powers of two and do not permute: outputs then equal the base's to the last bit, up to
            the rounding of folding a BatchNorm. Sites that admit no scaling are left alone.
        places: where to act; None for the network's sites. Streams, which change most layers, have to be asked for.

    Raises:
        NoSiteError: there is nowhere to act, or nowhere to scale.
    """
    traced = trace(network, example_input)
    chosen = list(sites_of(traced) if places is None else places)
    if powers_of_two:
        chosen = [site for site in chosen if site.exact_group.explain(_doubled(site.hidden))[0]]
    if not chosen:
        raise NoSiteError(
            "an exact ensemble: expected a site that admits the wanted symmetry, got none; without a homogeneous "
            "activation (ReLU, say) use powers_of_two=False"
        )
    built: list[MemberLayers] = []
    for _ in range(members):
        # In float64: a layer is changed by several sites and should be rounded once.
        layers: MemberLayers = {}
        for site in chosen:
            group: Group = PowerOfTwoScaling() if powers_of_two else site.exact_group
            element = group.sample(site.hidden, scale=0.5, rng=rng)
            own = {ref: _cast(fold(traced.graph, ref), torch.float64) for ref in _refs(site) if ref not in layers}
            layers |= exact_layers(site, layers | own, element)
        built.append({ref: _cast(layers.pop(ref), example_input.dtype) for ref in list(layers)})
    return SymmetryEnsemble.from_members(network, example_input, built)


def _refs(site: Site | CoupledSite) -> list[LayerRef]:
    """Return the site's layers in a fixed order, each once: the order of an ensemble's layers is part of its digest."""
    return list(dict.fromkeys(part.ref for part in site.parts))


def _cast(layer: FoldedLayer, dtype: torch.dtype) -> FoldedLayer:
    return replace(layer, weight=layer.weight.to(dtype), bias=None if layer.bias is None else layer.bias.to(dtype))


def _doubled(hidden: int) -> Tensor:
    """Return a scaling by powers of two that differ between units."""
    values = torch.ones(hidden, dtype=torch.float64)
    values[0] = 2.0
    return torch.diag(values)


def layers_outside(ensemble: SymmetryEnsemble) -> tuple[LayerRef, ...]:
    """Return the layers of the base's sites that no member changes, the last of the network first.

    Args:
        ensemble: the ensemble under test.
    """
    weight = ensemble.layers[0].weight
    example = torch.zeros(1, *ensemble.input_shape, dtype=weight.dtype, device=weight.device)
    changed = {layer.ref.layer for layer in ensemble.layers}
    refs = [ref for site in sites_of(trace(ensemble.base, example)) for ref in _refs(site)]
    return tuple(ref for ref in dict.fromkeys(reversed(refs)) if ref.layer not in changed)


def scrambled_ensemble(
    ensemble: SymmetryEnsemble, *, rng: torch.Generator, further: Sequence[LayerRef] = ()
) -> SymmetryEnsemble:
    """Return the ensemble with the entries of every changed weight permuted: networks that know nothing.

    Where members change a last block only, what lies before it may still tell the classes apart; `further` layers are
    scrambled too then.

    Args:
        ensemble: the ensemble under test.
        rng: CPU generator of the permutations.
        further: layers that no member changes; some of `layers_outside`.
    """
    shared = {ref: fold(ensemble.trunk, ref) for ref in further}
    members = []
    for index in range(ensemble.size):
        layers = {}
        for ref, layer in (ensemble.member_layers(index) | shared).items():
            order = torch.randperm(layer.weight.numel(), generator=rng).to(layer.weight.device)
            shuffled = layer.weight.reshape(-1)[order].reshape(layer.weight.shape)
            layers[ref] = replace(layer, weight=shuffled)
        members.append(layers)
    return with_members(ensemble, members)


def noise_ensemble(ensemble: SymmetryEnsemble, *, rng: torch.Generator, factor: float = 1.0) -> SymmetryEnsemble:
    """Return members whose weights are W + factor |W' - W| Z/|Z|: moved as far as the real ones, in random directions.

    Args:
        ensemble: the ensemble under test; W is its trunk's (folded) weight, W' a member's.
        rng: CPU generator of Z.
        factor: multiplies the distance; 1 is `weight_noise_equal_norm`.
    """
    trunk = folded_trunk(ensemble)
    members = []
    for index in range(ensemble.size):
        layers = {}
        for ref, layer in ensemble.member_layers(index).items():
            own = trunk[ref]
            bias = layer.bias
            if bias is not None:
                start = torch.zeros_like(bias) if own.bias is None else own.bias
                bias = _moved(start, bias, factor, rng)
            layers[ref] = replace(layer, weight=_moved(own.weight, layer.weight, factor, rng), bias=bias)
        members.append(layers)
    return with_members(ensemble, members)


def _moved(start: Tensor, end: Tensor, factor: float, rng: torch.Generator) -> Tensor:
    direction = torch.randn(start.shape, generator=rng, dtype=torch.float64)
    distance = factor * float(torch.linalg.vector_norm(end - start))
    step = direction * (distance / float(torch.linalg.vector_norm(direction)))
    return start + step.to(start)
