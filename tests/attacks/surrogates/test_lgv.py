"""Weights collected around the base by training on: they differ, stay good, and are the same for the same seed.

Seen to fail with: the network trained in eval mode (its BatchNorm statistics stay); snapshots that share memory; the
rate at zero; the labels left out of the digest; dropout from the global generator; the last weight answered for all.
"""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from attacks.data import LabelledData
from attacks.surrogates import CollectedWeights, LgvSettings, one_per_step
from ensemble import network_digest
from ensemble.digests import state_digest
from ensemble.errors import InputError, LevelsetError
from tests.attacks.conftest import Points

BOX = (0.0, 1.0)


def test_the_weights_are_forty_by_default() -> None:
    """Ten epochs, four snapshots each, at the paper's rate and weight decay."""
    settings = LgvSettings()
    assert (settings.count, settings.rate, settings.momentum, settings.weight_decay) == (40, 0.05, 0.9, 1e-4)


def test_collected_weights_differ_and_keep_most_of_the_accuracy(
    lgv: CollectedWeights, lgv_tensors: dict[str, Tensor], held_out: Points
) -> None:
    """Eight networks, no two alike, none the base, each right on most held-out points."""
    pool = lgv.from_state(lgv_tensors)
    assert pool.size == lgv.settings.count == 8
    weights = {state_digest({"0.weight": weight}) for weight in lgv_tensors["0.weight"]}
    assert len(weights | {state_digest({"0.weight": lgv.base.state_dict()["0.weight"]})}) == 9
    right = (pool.member_logits(held_out.inputs).argmax(2) == held_out.labels).float().mean(1)
    base = float((lgv.base(held_out.inputs).argmax(1) == held_out.labels).float().mean())
    assert float(right.min()) > base - 0.25
    assert float(right.mean()) > base - 0.1


def test_the_same_seed_collects_the_same_bytes(lgv: CollectedWeights, lgv_tensors: dict[str, Tensor]) -> None:
    """Repeated, whatever the global generator did in between; another seed, other weights; the base is untouched."""
    before, state = network_digest(lgv.base), torch.get_rng_state()
    assert state_digest(lgv.prepare()) == state_digest(lgv_tensors)
    assert torch.equal(torch.get_rng_state(), state)
    assert network_digest(lgv.base) == before
    assert not any(module.training for module in lgv.base.modules())
    other = dataclasses.replace(lgv, seed=6)
    assert state_digest(other.prepare()) != state_digest(lgv_tensors)


def test_the_digest_names_all_that_weights_are_made_from(lgv: CollectedWeights) -> None:
    """Base, points, labels, seed and settings: each changes it."""
    data = lgv.data
    changes = (
        {"base_digest": "0" * 64},
        {"data": LabelledData(data.inputs[1:], data.labels[1:])},
        {"data": LabelledData(data.inputs, data.labels.roll(1))},
        {"seed": 6},
        {"settings": LgvSettings(epochs=2, rate=0.01)},
    )
    digests = {dataclasses.replace(lgv, **change).digest for change in changes}
    assert len(digests | {lgv.digest}) == 6


def test_what_was_stored_is_what_was_collected(
    lgv: CollectedWeights, lgv_tensors: dict[str, Tensor], held_out: Points, tmp_path: Path
) -> None:
    """Through a safetensors file and back; one weight taken out alone answers as it does in the pool."""
    save_file(lgv_tensors, tmp_path / "lgv.safetensors")
    made, read = lgv.from_state(lgv_tensors), lgv.from_state(load_file(tmp_path / "lgv.safetensors"))
    logits = made.member_logits(held_out.inputs)
    assert torch.equal(logits, read.member_logits(held_out.inputs))
    assert torch.equal(logits[3], made.member(3)(held_out.inputs))
    assert torch.equal(made.member_logits(held_out.inputs, members=slice(2, 4)), logits[2:4])
    torch.testing.assert_close(made(held_out.inputs), logits.mean(0))


def test_each_gradient_call_goes_through_the_next_weight(
    lgv: CollectedWeights, lgv_tensors: dict[str, Tensor], held_out: Points
) -> None:
    """Eight calls, eight different gradients, each of a weight of the pool."""
    surrogate, pool = one_per_step(lgv, lgv_tensors, bounds=BOX), lgv.from_state(lgv_tensors)
    every = pool.member_logits(held_out.inputs[:4])
    seen = []
    for _ in range(8):
        x = held_out.inputs[:4].clone().requires_grad_()
        logits = surrogate.model(x)
        seen.append(next(k for k in range(8) if torch.equal(logits.detach(), every[k])))
    assert sorted(seen) == list(range(8))


def test_batch_norm_statistics_move_and_dropout_repeats(normalised: nn.Module, sample: LabelledData) -> None:
    """Running means are collected with the weights, and differ; the training's dropout follows the seed."""
    settings = LgvSettings(epochs=1, batch=64)
    lgv = CollectedWeights(normalised, network_digest(normalised), sample, seed=1, settings=settings)
    tensors = lgv.prepare()
    means = tensors["1.running_mean"]
    assert len({tuple(mean.tolist()) for mean in (*means, normalised.state_dict()["1.running_mean"])}) == 5
    torch.rand(3)
    assert state_digest(lgv.prepare()) == state_digest(tensors)
    logits = lgv.from_state(tensors).member_logits(sample.inputs[:8])
    assert torch.equal(logits, lgv.from_state(tensors).member_logits(sample.inputs[:8]))


def test_a_sample_too_small_or_mislabelled_is_refused(lgv: CollectedWeights) -> None:
    """Two points for each snapshot of an epoch; labels that the base has."""
    data = lgv.data
    with pytest.raises(InputError, match="at least 8 labelled points"):
        dataclasses.replace(lgv, data=LabelledData(data.inputs[:7], data.labels[:7]))
    mislabelled = dataclasses.replace(lgv, data=LabelledData(data.inputs[:8], data.labels[:8] + 10))
    with pytest.raises(InputError, match="last class"):
        mislabelled.prepare()


def test_a_training_that_diverges_is_an_error(lgv: CollectedWeights) -> None:
    """Weights that are not finite never reach an attack."""
    with torch.no_grad():
        huge = LabelledData(lgv.data.inputs * 1e20, lgv.data.labels)
    with pytest.raises(LevelsetError, match="lower the rate"):
        dataclasses.replace(lgv, data=huge).prepare()


@pytest.mark.parametrize("change", [{"epochs": 0}, {"rate": 0.0}, {"batch": 1.5}, {"momentum": 1.0}, {"snapshots": -1}])
def test_settings_outside_their_range_are_refused(change: dict[str, float]) -> None:
    """The message names the field."""
    with pytest.raises(InputError, match=f"lgv {next(iter(change))}: expected"):
        LgvSettings(**change)  # type: ignore[arg-type]
