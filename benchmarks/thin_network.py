"""A thin network of CIFAR-sized images and its ensemble: cheap to run, so that what is measured is the service."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

import ensemble
from ensemble import Architecture
from service.catalogue.repository import ModelRepository
from service.settings import Settings

KEY = "thin-cnn"
NAME = "thin"
SHAPE = (3, 32, 32)


def thin_cnn() -> nn.Module:
    """Return an untrained network of two strided convolutions, inputs `[batch 3 32 32]` in [0, 1]."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, stride=4),
        nn.ReLU(),
        nn.Conv2d(8, 16, 2, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


@contextmanager
def declared(folder: Path) -> Iterator[None]:
    """Declare the architecture for this process and its children, as any installed distribution would.

    Args:
        folder: where the declaration is written.
    """
    record = folder / "thin_network-0.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: thin-network\nVersion: 0\n")
    (record / "entry_points.txt").write_text(f"[levelset.architectures]\n{KEY} = {__name__}:{thin_cnn.__name__}\n")
    before = os.environ.get("PYTHONPATH")
    paths = [str(folder), str(Path(__file__).parents[1])]
    sys.path[:0] = paths
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, *([before] if before else [])])
    try:
        yield
    finally:
        for path in paths:
            sys.path.remove(path)
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def build_thin(settings: Settings, *, members: int = 4, seed: int = 0) -> None:
    """Store the ensemble `thin` in the model folder of a data folder.

    Args:
        settings: names the data folder.
        members: of the ensemble.
        seed: of weights, calibration images and members.
    """
    rng = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = thin_cnn().eval()
    model = ensemble.generate(network, torch.rand(256, *SHAPE, generator=rng), members=members, rng=rng)
    ModelRepository(settings.models_folder).add(NAME, model, architecture=Architecture(KEY))
