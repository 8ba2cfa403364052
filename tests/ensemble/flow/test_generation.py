"""Every member's place in the valley stands in its generation record.

Seen to fail when: the quantity is taken before the next site changes the shared layer; the base's is the member's;
the folded BatchNorm is left out; records of earlier versions are refused.
"""

import pytest
import torch
from torch import nn

import ensemble
from ensemble import flow
from ensemble.generation import Generation
from tests.ensemble.cases import generator, images, plain_cnn, randomised

RECIPE = ensemble.Recipe(search_steps=0, crafting_radii=(), max_residual=1.0, scale=0.3)


def plain() -> nn.Module:
    """Return a small CNN without BatchNorm, whose laws are those of its folded layers."""
    return randomised(
        nn.Sequential(
            nn.Conv2d(1, 6, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32, 5),
        )
    )


def test_every_member_s_coordinates_are_in_its_report() -> None:
    """Q per site is that of the finished member's own weights, and the base's stands beside it."""
    network, calibration = plain(), images(300)
    many = ensemble.generate(network, calibration, members=2, recipe=RECIPE, rng=generator())
    assert many.generation is not None
    base = flow.coordinates(network, calibration)
    for index, reports in enumerate(many.generation.sites):
        own = flow.coordinates(many.member(index), calibration)
        assert [report.site for report in reports] == list(own)
        for report in reports:
            assert report.coordinate == pytest.approx(float(own[report.site].sum()), rel=1e-4)
            assert report.base_coordinate == pytest.approx(float(base[report.site].sum()), rel=1e-4)
            assert report.coordinate != pytest.approx(report.base_coordinate, rel=1e-3)


def test_a_batchnorm_is_folded_in_first() -> None:
    """Behind a BatchNorm the folded layer counts, for base and member alike."""
    network, calibration = randomised(plain_cnn()), images(300)
    many = ensemble.generate(network, calibration, members=1, recipe=RECIPE, rng=generator())
    assert many.generation is not None
    report = many.generation.sites[0][0]
    factor = network[1].weight / torch.sqrt(network[1].running_var + network[1].eps)
    V = network[0].weight.flatten(1) * factor[:, None]
    b = network[1].bias - network[1].running_mean * factor
    U = network[4].weight
    assert report.base_coordinate == pytest.approx(
        float((U.square().sum() - V.square().sum() - b.square().sum()).detach() / 2), rel=1e-4
    )


def test_activations_without_a_degree_have_none_and_old_records_are_read() -> None:
    """GELU's units cannot be scaled; a record without the field is still a record."""
    network = randomised(nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.GELU(), nn.Linear(8, 3)))
    many = ensemble.generate(network, images(100), members=1, recipe=RECIPE, rng=generator())
    assert many.generation is not None
    (report,) = many.generation.sites[0]
    assert report.coordinate is None
    values = many.generation.to_dict()
    for name in ("coordinate", "base_coordinate"):
        del values["sites"][0][0][name]
    assert Generation.from_dict(values) == many.generation
