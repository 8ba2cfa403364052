"""An ensemble on disk: safetensors files and a manifest with their digests. Never pickle.

    FOLDER/manifest.json        schema version, architecture, layers, generation record, versions, SHA-256 of the files
    FOLDER/base.safetensors     the base's state dictionary
    FOLDER/trunk.safetensors    the same of the refined copy that members share; only where there is one
    FOLDER/members.safetensors  per changed layer, weights and biases stacked over members

The folder appears whole or not at all: it is written beside its place and renamed.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ensemble.architectures import Architecture
from ensemble.architectures import build as build_architecture
from ensemble.errors import ArtifactError, InputError, LevelsetError
from ensemble.execution import StackedLayer
from ensemble.generation import Generation
from ensemble.layers import LayerRef, like_state_of
from ensemble.members import SymmetryEnsemble

SCHEMA = "levelset/ensemble"
#: Versions that are read. Version 2 adds the trunk; what has none is still written as version 1.
SCHEMA_VERSIONS = (1, 2)
BASE, TRUNK, MEMBERS = "base.safetensors", "trunk.safetensors", "members.safetensors"
#: Schema version -> the files that hold tensors.
FILES = {1: (BASE, MEMBERS), 2: (BASE, TRUNK, MEMBERS)}
# What reading a damaged file or fitting foreign tensors into a network raises.
_DAMAGE = (OSError, LookupError, TypeError, ValueError, AttributeError, RuntimeError, safetensors.SafetensorError)


def save(ensemble: SymmetryEnsemble, folder: Path, *, architecture: Architecture | None = None) -> None:
    """Write `ensemble` to `folder`, which must not exist yet (an empty one may).

    Args:
        ensemble: what to write.
        folder: its place; parents are created.
        architecture: names the base's class so that `load` can rebuild it without being handed a factory.

    Raises:
        InputError: the folder exists and is not empty; nothing in it was touched.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"save: expected a new or empty folder, got {folder.name!r} with content; choose another name")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        save_file(_state(ensemble.base), staging / BASE)
        if ensemble.refined is not None:
            save_file(_state(ensemble.refined), staging / TRUNK)
        save_file(_member_tensors(ensemble), staging / MEMBERS)
        manifest = _manifest(ensemble, architecture, staging)
        (staging / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
        for path in (*staging.iterdir(), staging):
            _sync(path)
        staging.chmod(0o755)
        os.replace(staging, folder)
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def load(
    folder: str | Path, *, device: str | torch.device = "cpu", build: Callable[[], nn.Module] | None = None
) -> SymmetryEnsemble:
    """Return the ensemble written to `folder`, verified, on `device`.

    Args:
        folder: where `save` wrote it.
        device: where its tensors go.
        build: returns an untrained network of the base's class; needed only if no architecture was named when saving.

    Raises:
        ArtifactError: a file is missing, damaged, from a newer version, or does not fit the network's class.
        InputError: the artifact names no architecture and no `build` was given.
    """
    path = Path(folder)
    manifest = read_manifest(path)
    try:
        stored = {}
        for name in FILES[manifest["schema_version"]]:
            _verify(path / name, manifest["files"][name])
            stored[name] = load_file(path / name, device=str(device))
            _check_finite(stored[name])
        tensors = stored[MEMBERS]
        layers = [_stacked(entry, tensors) for entry in manifest["layers"]]
        input_shape = [int(size) for size in manifest["input_shape"]]
        generation = None if manifest["generation"] is None else Generation.from_dict(manifest["generation"])
        networks = {}
        for name in stored.keys() - {MEMBERS}:
            network = _build_base(manifest, build).to(device)
            _check_class(path, network, stored[name])
            network.load_state_dict(like_state_of(network, stored[name]), strict=True)
            networks[name] = network.eval()
        return SymmetryEnsemble(networks[BASE], input_shape, layers, generation, trunk=networks.get(TRUNK))
    except ArtifactError:
        raise
    except LevelsetError as error:
        if manifest["architecture"] is None and build is None:
            raise
        raise ArtifactError(f"artifact {path.name!r}: {error}") from error
    except _DAMAGE as error:
        raise ArtifactError(
            f"artifact {path.name!r}: expected files that fit their manifest, got {type(error).__name__} "
            f"({_reason(error)}); restore it from a copy or build it again"
        ) from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of an artifact; tensors are not read.

    Raises:
        ArtifactError: it is missing, not JSON, of another schema, or from a newer version.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ArtifactError(
            f"artifact {folder.name!r}: expected a readable manifest.json, got {type(error).__name__}; "
            "the folder is no artifact or it is damaged"
        ) from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise ArtifactError(
            f"artifact {folder.name!r}: expected schema {SCHEMA!r}, got something else in manifest.json"
        )
    if manifest.get("schema_version") not in SCHEMA_VERSIONS:
        raise ArtifactError(
            f"artifact {folder.name!r}: expected schema version {' or '.join(map(str, SCHEMA_VERSIONS))}, got "
            f"{manifest.get('schema_version')!r}; it was written by another version of levelset"
        )
    missing = {"files", "layers", "input_shape", "generation", "architecture", "digest", "members"} - set(manifest)
    if missing:
        raise ArtifactError(f"artifact {folder.name!r}: expected a whole manifest, got one without {sorted(missing)}")
    return manifest


def _manifest(ensemble: SymmetryEnsemble, architecture: Architecture | None, folder: Path) -> dict[str, Any]:
    version = 1 if ensemble.refined is None else 2
    return {
        "schema": SCHEMA,
        "schema_version": version,
        "architecture": None
        if architecture is None
        else {"key": architecture.key, "options": dict(architecture.options)},
        "input_shape": list(ensemble.input_shape),
        "num_classes": ensemble.num_classes,
        "members": ensemble.size,
        "digest": ensemble.digest,
        "layers": [{"layer": layer.ref.layer, "norm": layer.ref.norm} for layer in ensemble.layers],
        "generation": None if ensemble.generation is None else ensemble.generation.to_dict(),
        "files": {name: _sha256(folder / name) for name in FILES[version]},
        "versions": {"torch": torch.__version__, "safetensors": safetensors.__version__},
    }


def _state(network: nn.Module) -> dict[str, Tensor]:
    return {name: _plain(tensor) for name, tensor in network.state_dict().items()}


def _member_tensors(ensemble: SymmetryEnsemble) -> dict[str, Tensor]:
    tensors = {}
    for layer in ensemble.layers:
        tensors[f"{layer.ref}.weight"] = _plain(layer.weight)
        if layer.bias is not None:
            tensors[f"{layer.ref}.bias"] = _plain(layer.bias)
    return tensors


def _stacked(entry: dict[str, Any], tensors: dict[str, Tensor]) -> StackedLayer:
    ref = LayerRef(str(entry["layer"]), None if entry["norm"] is None else str(entry["norm"]))
    return StackedLayer(ref, tensors[f"{ref}.weight"], tensors.get(f"{ref}.bias"))


def _build_base(manifest: dict[str, Any], build: Callable[[], nn.Module] | None) -> nn.Module:
    if build is not None:
        return build()
    named = manifest["architecture"]
    if named is None:
        raise InputError(
            "load: the artifact names no architecture; expected build=..., a function that returns the base's class"
        )
    return build_architecture(Architecture(str(named["key"]), dict(named["options"])))


def _check_class(path: Path, base: nn.Module, state: dict[str, Tensor]) -> None:
    own = {name: tuple(value.shape) for name, value in base.state_dict().items()}
    stored = {name: tuple(value.shape) for name, value in state.items()}
    if own != stored:
        differing = sorted(name for name in {*own, *stored} if own.get(name) != stored.get(name))
        raise ArtifactError(
            f"artifact {path.name!r}: its files are whole but belong to another class than {type(base).__name__}: "
            f"{len(differing)} entries differ, first {differing[0]!r}; expected {stored.get(differing[0])}, got "
            f"{own.get(differing[0])}; build the network class it was made from, with the same options"
        )


def _reason(error: Exception) -> str:
    # The text of an OSError ends in the file's place on this machine, which is nobody else's business.
    if isinstance(error, OSError):
        return str(error.strerror)
    return str(error).splitlines()[0] if str(error) else "no message"


def _check_finite(tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ArtifactError(f"artifact tensor {name}: expected finite values, got NaN or infinity")


def _verify(path: Path, expected: object) -> None:
    found = _sha256(path)
    if found != expected:
        raise ArtifactError(
            f"artifact {path.parent.name!r}: {path.name} is damaged: expected SHA-256 {str(expected)[:12]}..., "
            f"got {found[:12]}...; restore it from a copy or build it again"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _plain(tensor: Tensor) -> Tensor:
    # safetensors refuses tensors that share memory.
    return tensor.detach().to("cpu").contiguous().clone()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
