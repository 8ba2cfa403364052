"""From trained weights and a data set to a stored ensemble.

Mutations seen to turn a test red: the labels' part swapped for the calibration part; the seed not used; the number of
classes not compared.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ensemble import Recipe, tensor_digest
from ensemble.errors import InputError
from service.catalogue import building, datasets
from service.catalogue.architectures import build as build_network
from service.catalogue.repository import ModelRepository

ORDER = building.Order(
    name="digits", members=2, recipe=Recipe(search_steps=0, scale=0.3, crafting_radii=()), seed=3, calibration=120
)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Return a file with weights of the digits network."""
    torch.manual_seed(0)
    save_file(build_network("digits-cnn").state_dict(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_an_ensemble_is_built_on_the_calibration_part_and_stored(tmp_path: Path, weights: Path) -> None:
    """The recorded calibration digest is that of the calibration images, and the same order gives the same ensemble."""
    source, repository = datasets.load("digits"), ModelRepository(tmp_path / "models")
    base = building.trained_network("digits-cnn", weights, num_classes=10)
    first = building.build(base, source, ORDER, repository)
    second = building.build(base, source, ORDER, repository)
    other = building.build(base, source, replace(ORDER, seed=4), repository)
    assert first.calibration_digest == tensor_digest(source.part("calibration", 120).inputs)
    assert (first.version, second.version, other.version) == ("1", "2", "3")
    assert first.digest == second.digest != other.digest
    assert (first.dataset, first.architecture) == ("digits", "digits-cnn")


def test_the_number_of_classes_must_fit(tmp_path: Path, weights: Path) -> None:
    """A data set of other classes is refused before any work."""
    np.savez(tmp_path / "x.npz", x=np.zeros((60, 8, 8), np.uint8), y=np.arange(60) % 3)
    base = building.trained_network("digits-cnn", weights, num_classes=10)
    with pytest.raises(InputError, match="expected 10 classes like the network, got 3"):
        building.build(base, datasets.load(f"npz:{tmp_path / 'x.npz'}"), ORDER, ModelRepository(tmp_path / "models"))


def test_the_shape_of_the_inputs_must_fit(tmp_path: Path, weights: Path) -> None:
    """Images that the network cannot take are refused with both shapes' meaning."""
    np.savez(tmp_path / "x.npz", x=np.zeros((60, 8, 8, 3), np.uint8), y=np.arange(60) % 10)
    base = building.trained_network("digits-cnn", weights, num_classes=10)
    with pytest.raises(InputError, match=r"got \[3, 8, 8\]"):
        building.build(base, datasets.load(f"npz:{tmp_path / 'x.npz'}"), ORDER, ModelRepository(tmp_path / "models"))
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("answer", "got"),
    [(lambda x: (x, x), "tuple"), (lambda x: {"logits": x}, "dict"), (lambda x: x, r"\[2, 1, 8, 8\]")],
)
def test_only_logits_are_an_answer(answer: Callable[[Tensor], object], got: str) -> None:
    """A network that returns a tuple, a dictionary or an image is refused in words."""

    class Wrapper(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return answer(x)  # type: ignore[return-value]

    with pytest.raises(InputError, match=f"expected logits .*, got {got}"):
        building.count_classes(Wrapper(1, 1), (1, 8, 8))


@pytest.mark.parametrize("name", ["cuda:99", "tpu-of-mine", "meta", "cuda:", "cpu:0:1", ""])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    """The message lists what is possible."""
    with pytest.raises(InputError, match="device: expected"):
        building.checked_device(name)
