"""A small real ensemble, built once for the tests of this folder."""

import pytest
import torch

import ensemble
from ensemble import Recipe, SymmetryEnsemble
from service.catalogue.networks.small import digits_cnn


@pytest.fixture(scope="session")
def small_ensemble() -> SymmetryEnsemble:
    """Return two members of an untrained digits network, made without a search."""
    torch.manual_seed(0)
    network = digits_cnn().eval()
    inputs = torch.rand(100, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    recipe = Recipe(search_steps=0, scale=0.3, crafting_radii=())
    return ensemble.generate(network, inputs, members=2, recipe=recipe, rng=torch.Generator().manual_seed(2))
