"""Saving and loading; every corruption is an `ArtifactError`, never a wrong network.

Seen to fail: digest not verified; schema version ignored; a bias left out of the members file.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close

import ensemble
from ensemble.artifact import read_manifest
from ensemble.errors import ArtifactError, InputError
from ensemble.members import SymmetryEnsemble
from tests.ensemble.cases import generator, images, plain_cnn, randomised

FAST = ensemble.Recipe(search_steps=3, crafting_radii=(0.05,), crafting_steps=1)


@pytest.fixture(scope="module")
def many() -> SymmetryEnsemble:
    """A two-member ensemble."""
    return ensemble.generate(randomised(plain_cnn()), images(150), members=2, recipe=FAST, rng=generator())


def _saved(many: SymmetryEnsemble, folder: Path) -> Path:
    target = folder / "artifact"
    many.save(target)
    return target


def test_round_trip(many: SymmetryEnsemble, tmp_path: Path) -> None:
    """What is loaded answers to the bit what was saved, with the same record and digest, without pickle."""
    folder = _saved(many, tmp_path)
    loaded = ensemble.load(folder, build=plain_cnn)
    x = images(5)
    assert_close(loaded.member_logits(x), many.member_logits(x), rtol=0, atol=0)
    assert loaded.digest == many.digest == read_manifest(folder)["digest"]
    assert loaded.generation == many.generation
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "base.safetensors", "members.safetensors"}
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


def test_architecture_by_name(many: SymmetryEnsemble, tmp_path: Path) -> None:
    """Without a named architecture loading asks for a factory; an unknown name is refused, never imported."""
    folder = _saved(many, tmp_path)
    with pytest.raises(InputError, match="build="):
        ensemble.load(folder)
    many.save(tmp_path / "named", architecture=ensemble.Architecture("os.system", {}))
    with pytest.raises(ArtifactError, match="unknown architecture"):
        ensemble.load(tmp_path / "named")


def test_existing_content_is_never_overwritten(many: SymmetryEnsemble, tmp_path: Path) -> None:
    """Saving to a folder with content is refused and leaves it as it was."""
    folder = _saved(many, tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(InputError, match="new or empty folder"):
        many.save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_damaged_byte_is_noticed(
    many: SymmetryEnsemble, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Flipping, cutting or removing bytes of any file raises ArtifactError or loads the very same network."""
    folder = _saved(many, tmp_path_factory.mktemp("fuzz"))
    path = folder / data.draw(st.sampled_from(["manifest.json", "base.safetensors", "members.safetensors"]))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[at] ^= data.draw(st.integers(1, 255))
    else:
        del content[at:]
    path.write_bytes(bytes(content))
    try:
        loaded = ensemble.load(folder, build=plain_cnn)
    except ArtifactError:
        return
    assert loaded.digest == many.digest


@pytest.mark.parametrize("name", ["manifest.json", "base.safetensors", "members.safetensors"])
def test_missing_file(many: SymmetryEnsemble, tmp_path: Path, name: str) -> None:
    """A missing file is an ArtifactError that names the artifact, not its place."""
    folder = _saved(many, tmp_path)
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match="artifact 'artifact'") as raised:
        ensemble.load(folder, build=plain_cnn)
    assert str(tmp_path) not in str(raised.value)


@pytest.mark.parametrize(
    "change",
    [{"schema": "other"}, {"schema_version": 99}, {"layers": []}, {"input_shape": "x"}, {"layers": [{"layer": "7"}]}],
    ids=lambda change: next(iter(change)),
)
def test_foreign_manifest(many: SymmetryEnsemble, tmp_path: Path, change: dict[str, object]) -> None:
    """A manifest of another schema, a newer version or with impossible entries is refused."""
    folder = _saved(many, tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | change))
    with pytest.raises(ArtifactError):
        ensemble.load(folder, build=plain_cnn)


def test_nan_weights_with_a_right_digest_are_refused(many: SymmetryEnsemble, tmp_path: Path) -> None:
    """Digests prove that bytes are unchanged, not that they are sound."""
    folder = _saved(many, tmp_path)
    tensors = load_file(folder / "members.safetensors")
    tensors["0.weight"][0, 0] = float("nan")
    save_file(tensors, folder / "members.safetensors")
    manifest = json.loads((folder / "manifest.json").read_text())
    from ensemble.artifact import _sha256

    manifest["files"]["members.safetensors"] = _sha256(folder / "members.safetensors")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="finite"):
        ensemble.load(folder, build=plain_cnn)


def test_wrong_class_is_refused(many: SymmetryEnsemble, tmp_path: Path) -> None:
    """An artifact does not load into another class."""
    with pytest.raises(ArtifactError, match=r"another class.*0\.bias"):
        ensemble.load(_saved(many, tmp_path), build=lambda: torch.nn.Sequential(torch.nn.Linear(3, 3)))


class _Versioned(nn.Sequential):
    """A class that reads state dictionaries of another version differently, as torchvision's MNASNet does."""

    _version = 2

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
        assert local_metadata.get("version") == 2, "read as the oldest version"
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


def test_versions_of_a_class_are_kept(tmp_path: Path) -> None:
    """Members and loaded artifacts carry the version that their class asks for."""

    def build() -> nn.Module:
        return _Versioned(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 4))

    x = torch.rand(100, 6, generator=generator())
    many = ensemble.generate(randomised(build()), x, members=2, recipe=FAST, rng=generator())
    assert_close(many.member(1)(x), many.member_logits(x)[1], rtol=1e-4, atol=1e-5)
    many.save(tmp_path / "versioned")
    assert ensemble.load(tmp_path / "versioned", build=build).digest == many.digest
