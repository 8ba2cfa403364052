"""One real service for all tests that do not stop it: starting its three processes costs more than most of them."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.settings import Settings
from tests.service.inference.models import copy_models, damage, duplicate
from tests.service.integration.service_process import Service, running


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a registered data set."""
    path = tmp_path_factory.mktemp("street files") / "street.npz"
    images = np.random.default_rng(0).random((60, 8, 8), dtype=np.float32)
    np.savez(path, x=images, y=np.arange(60) % 10)
    return path


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, street: Path) -> Iterator[Service]:
    """Yield a service with the ensemble `digits` and three that cannot be used."""
    data = tmp_path_factory.mktemp("service")
    models = copy_models(tmp_path_factory, data)
    for name in ("damaged", "foreign", "norecord"):
        duplicate(models, "digits", "1", new_name=name, new_version="1")
    damage(models, "damaged", "1")
    manifest = models / "foreign" / "1" / "artifact" / "manifest.json"
    unknown = {"architecture": {"key": "nobody/net", "options": {}}}
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | unknown))
    (models / "norecord" / "1" / "model.json").write_text("{")
    datasets = {"street": f"npz:{street}", "gone": f"npz:{street.parent}/gone.npz"}
    with running(Settings(data=data, port=0, drain_grace=5.0, datasets=datasets)) as service:
        yield service
