"""Jobs that generate: a recipe with a hardening gets a step of its own, whose checkpoint every process shares.

Seen to fail when: the hardening's step is left out (an ensemble of the trunk alone has no step); its result is
taken for a member's, or names the base; no checkpoint is kept, or a finished one is not read back.
"""

import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

import ensemble
from ensemble import Architecture, Hardening, Recipe
from service.catalogue import datasets
from service.catalogue.base_models import BaseModels
from service.catalogue.repository import ModelRepository
from service.jobs.generating import GeneratingBench
from service.settings import Settings
from service.store.canonical import digest

QUICK = Recipe(search_steps=2, fit_inputs=60, hardening=Hardening(steps=4, check_every=2, batch=8))


@pytest.mark.parametrize("members", [1, 2])
def test_a_hardened_ensemble_is_built_in_steps(tmp_path: Path, members: int) -> None:
    """The hardening comes first, then every member but the trunk; another process finds the hardening done."""
    settings = Settings(data=tmp_path)
    torch.manual_seed(0)
    network = ensemble.architectures.build(Architecture("digits-cnn", {"num_classes": 10}))
    bases, weights = BaseModels(settings.bases_folder), save(network.state_dict())
    draft = bases.draft()
    (draft / "weights.safetensors").write_bytes(weights)
    sha256 = hashlib.sha256(weights).hexdigest()
    stored, _ = bases.add("mine", draft, architecture="digits-cnn", num_classes=10, sha256=sha256)
    spec: dict[str, Any] = {
        "type": "generate", "name": "hard", "base": "mine", "members": members, "recipe": asdict(QUICK), "seed": 0,
        "calibration": {"dataset": "digits", "split": "calibration", "n": 80}, "base_sha256": stored.sha256,
        "dataset_digest": datasets.load("digits", settings.datasets_folder).digest,
    }  # fmt: skip
    first, second = GeneratingBench(settings), GeneratingBench(settings)
    steps = first.steps(spec)
    assert [step.title for step in steps] == ["hardening", "member 0"][:members]
    done = second.work(spec, steps[0])
    (checkpoint,) = (tmp_path / "hardening").glob("*.safetensors")
    written = checkpoint.stat().st_mtime_ns
    results = [done, *(first.work(spec, step) for step in steps[1:])]
    assert checkpoint.stat().st_mtime_ns == written
    assert all(first.is_whole(result) for result in results)
    found = first.finish(spec, results)["result"]
    assert found["members"] == members
    many = ModelRepository(settings.models_folder).load("hard", found["version"])
    assert done["trunk"] == ensemble.network_digest(many.trunk)
    assert many.generation is not None
    assert many.generation.recipe == QUICK
    plain = spec | {"recipe": asdict(replace(QUICK, hardening=None))}
    assert len({digest(spec), digest(plain)}) == 2
    assert [step.title for step in first.steps(plain)] == ["member 0", "member 1"][:members]
