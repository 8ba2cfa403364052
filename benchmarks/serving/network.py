"""What is served: ResNet-20 x 8 members of the recipe `balanced`, made once and kept; and the rows that are asked."""

from pathlib import Path

import torch
from torch import Tensor

import ensemble
from benchmarks.shared_data import cifar10_jpeg, resnet20
from ensemble import Architecture, SymmetryEnsemble
from service.catalogue.repository import ModelRepository

NAME = "resnet20-x8"
MEMBERS = 8
CALIBRATION = 500
SEED = 0


def stored(folder: Path) -> Path:
    """Return the folder of the ensemble's artifact, in a model repository below `folder`; made where it is missing."""
    repository = ModelRepository(folder / "models")
    if NAME not in repository.names():
        print(f"generating {MEMBERS} members (minutes, once)", flush=True)
        calibration, _ = cifar10_jpeg("train", 0, CALIBRATION)
        rng = torch.Generator().manual_seed(SEED)
        many = ensemble.generate(resnet20(), calibration, members=MEMBERS, recipe=ensemble.presets["balanced"], rng=rng)
        repository.add(NAME, many, architecture=Architecture("resnet20", {"num_classes": 10}))
    return folder / "models" / NAME / repository.versions(NAME)[-1] / "artifact"


def questions(count: int, rows: int) -> list[Tensor]:
    """Return `count` batches `[rows 3 32 32]` of test images."""
    images, _ = cifar10_jpeg("test", 0, count * rows)
    return list(images.split(rows))


def answers(artifact: Path, batches: list[Tensor]) -> list[Tensor]:
    """Return the ensemble's probabilities for each batch, computed in this process."""
    many: SymmetryEnsemble = ensemble.load(artifact)
    return [many.predict(batch).probabilities for batch in batches]
