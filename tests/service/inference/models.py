"""A small real ensemble of the digits network, stored once per test session."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

import ensemble
from ensemble import Architecture
from service.catalogue import architectures, datasets
from service.catalogue.repository import ModelRepository

MEMBERS = 2


def stored_models(factory: pytest.TempPathFactory) -> Path:
    """Return a model folder that holds version 1 of the ensemble `digits`; made at the first call of a session."""
    folder = factory.getbasetemp() / "digits-models"
    if not folder.exists():
        ModelRepository(folder).add(
            "digits", _ensemble(), architecture=Architecture("digits-cnn", {"num_classes": 10}), dataset="digits"
        )
    return folder


def copy_models(factory: pytest.TempPathFactory, data: Path) -> Path:
    """Return the model folder of a new data folder, filled with the session's ensemble."""
    shutil.copytree(stored_models(factory), data / "models")
    return data / "models"


def damage(models: Path, name: str, version: str) -> None:
    """Cut every weight file of a stored version in half."""
    for path in (models / name / version / "artifact").rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def duplicate(models: Path, name: str, version: str, *, new_name: str, new_version: str) -> None:
    """Store a version again under another name, as an operator's copy would, its record corrected."""
    draft = models / ".new-copy"
    shutil.copytree(models / name / version, draft)
    record = json.loads((draft / "model.json").read_text())
    (draft / "model.json").write_text(json.dumps(record | {"name": new_name, "version": new_version}))
    (models / new_name).mkdir(exist_ok=True)
    draft.rename(models / new_name / new_version)


def _ensemble() -> ensemble.SymmetryEnsemble:
    data = datasets.load("digits")
    train = data.part("train")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = architectures.build("digits-cnn", num_classes=10).train()
        optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
        for _ in range(4):
            for start in range(0, len(train.inputs), 64):
                optimizer.zero_grad()
                cross_entropy(network(train.inputs[start : start + 64]), train.labels[start : start + 64]).backward()
                optimizer.step()
    calibration = data.part("calibration", 96).inputs
    rng = torch.Generator().manual_seed(0)
    return ensemble.generate(network.eval(), calibration, members=MEMBERS, rng=rng)
