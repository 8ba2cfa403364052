"""The model repository: ensembles on disk, each version an immutable folder.

    models/<name>/active                   the version that answers where none is named; absent: the newest usable one
    models/<name>/<version>/model.json     what `ModelInfo` holds
    models/<name>/<version>/artifact/      written and verified by `ensemble`

A version is written into a hidden folder beside its place, flushed to the disk and renamed: a reader sees all of it or
nothing. Names are checked before they touch a path, and symbolic links are refused.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp

import torch
from pydantic import ValidationError
from torch import nn

import ensemble
from ensemble import SymmetryEnsemble
from ensemble.architectures import Architecture
from ensemble.digests import network_digest
from ensemble.errors import ArtifactError, InputError, UnknownName
from service.catalogue.durable import (
    flush_folder,
    refuse_linked_path,
    refuse_links,
    write_text,
    write_text_atomically,
)
from service.catalogue.model_info import ModelInfo
from service.catalogue.names import NAME, RESERVED, VERSION, check_name, check_version

INFO = "model.json"
ARTIFACT = "artifact"
ACTIVE = "active"
HIDDEN = ".new-"

Build = Callable[[], nn.Module]


class ModelRepository:
    """Stored ensembles below one folder, which is created at the first write.

    Args:
        folder: where the models lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def names(self) -> list[str]:
        """Return the names of all ensembles with at least one version, sorted."""
        if not self.folder.is_dir():
            return []
        return sorted(entry.name for entry in self.folder.iterdir() if _is_name(entry) and self._versions(entry))

    def versions(self, name: str) -> list[str]:
        """Return the versions of an ensemble, oldest first.

        Raises:
            UnknownName: there is no such ensemble.
        """
        versions = self._versions(self.folder / name) if NAME.fullmatch(name) else []
        if not versions:
            raise UnknownName("ensemble", name[:120], self.names())
        return versions

    def active(self, name: str) -> str | None:
        """Return the version that was activated; None where none was, or it is gone: the newest usable one answers."""
        try:
            version = (self.folder / name / ACTIVE).read_text(encoding="ascii").strip() if NAME.fullmatch(name) else ""
        except (OSError, UnicodeDecodeError):
            return None
        return version if version in self._versions(self.folder / name) else None

    def activate(self, name: str, version: str) -> None:
        """Let a stored version answer where none is named, from now on and after every start.

        Raises:
            UnknownName: no such ensemble or version.
            ArtifactError: its record is damaged.
        """
        info = self.info(name, version)
        write_text_atomically(self.folder / name / ACTIVE, info.version + "\n")

    def info(self, name: str, version: str | None = None) -> ModelInfo:
        """Return what is stored about a version, the newest one when `version` is None.

        Raises:
            UnknownName: no such ensemble or version.
            ArtifactError: the record is damaged.
        """
        path = self._folder(name, version) / INFO
        try:
            info = ModelInfo.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise ArtifactError(
                f"ensemble {name}: expected a readable {INFO}, got {_first_line(error)}; restore it from a backup or "
                "build the ensemble again"
            ) from error
        if (info.name, info.version) != (name, path.parent.name):
            raise ArtifactError(
                f"ensemble {name}: expected the record of version {path.parent.name}, got that of {info.name} "
                f"version {info.version}; folders of the repository must not be renamed or copied by hand"
            )
        return info

    def load(
        self, name: str, version: str | None = None, device: str | torch.device = "cpu", *, build: Build | None = None
    ) -> SymmetryEnsemble:
        """Return a stored ensemble in eval mode, its digests verified.

        Args:
            name: name of the ensemble.
            version: decimal version; the newest one when None.
            device: where the parameters go.
            build: returns an untrained base network; needed where the record names no architecture.

        Raises:
            UnknownName: no such ensemble or version.
            InputError: the record names no architecture and no `build` was given.
            ArtifactError: the artifact is damaged, is not the one the record names, or its architecture is not known.
        """
        info = self.info(name, version)
        folder = self._folder(name, info.version) / ARTIFACT
        if not folder.is_dir():
            raise ArtifactError(f"ensemble {name} version {info.version}: expected its artifact, got none; restore it")
        if info.architecture is None and build is None:
            raise InputError(
                f"ensemble {name}: expected the network's own code, since its record names no architecture, got none; "
                "pass --arch FILE.py:FACTORY, or declare the factory in the entry-point group levelset.architectures "
                "and build again to serve it"
            )
        loaded = ensemble.load(folder, device=device, build=build)
        if loaded.digest != info.digest:
            raise ArtifactError(
                f"ensemble {name} version {info.version}: expected digest {info.digest}, got {loaded.digest}; the "
                "artifact was exchanged, restore it from a backup"
            )
        return loaded

    def add(
        self,
        name: str,
        model: SymmetryEnsemble,
        *,
        architecture: Architecture | None,
        dataset: str | None = None,
        dataset_digest: str | None = None,
        class_names: Sequence[str] | None = None,
        base: str | None = None,
    ) -> ModelInfo:
        """Return the record of a newly stored version; earlier versions stay as they are.

        Args:
            name: letters, digits, `_` and `-`; at most 96 characters.
            model: what to store.
            architecture: how the base network is built again; None where only its author can.
            dataset: data set the calibration inputs came from.
            dataset_digest: what tells it from another one of that name.
            class_names: one name per class.
            base: name of the stored base network it was made from.

        Raises:
            InputError: the name is not allowed, the inputs are not images, or the class names do not fit.
            ArtifactError: the folder cannot be written.
        """
        check_name(name)
        record = _record(name, model, architecture, class_names).model_copy(
            update={"dataset": dataset, "dataset_digest": dataset_digest, "base": base}
        )
        home = self.folder / name
        try:
            home.mkdir(parents=True, exist_ok=True)
            refuse_linked_path(self.folder, home)  # not below: the drafts of other writers come and go there
            draft = Path(mkdtemp(prefix=HIDDEN, dir=home))
            draft.chmod(0o755)
        except OSError as error:
            raise ArtifactError(
                f"ensemble {name}: expected a writable folder {self.folder}, got {error}; change its permissions"
            ) from error
        try:
            model.save(draft / ARTIFACT, architecture=architecture)
            return self._publish(draft, home, record)
        except OSError as error:
            raise ArtifactError(
                f"ensemble {name}: expected to write {home}, got {error}; nothing was stored, free some space"
            ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _publish(self, draft: Path, home: Path, record: ModelInfo) -> ModelInfo:
        """Return the record under the first free version number, which the rename claims."""
        while True:
            version = str(max((int(found) for found in self._versions(home)), default=0) + 1)
            record = record.model_copy(update={"version": version})
            write_text(draft / INFO, record.model_dump_json(indent=2) + "\n")
            flush_folder(draft)
            try:
                draft.rename(home / version)
            except OSError:
                if (home / version).is_dir():  # another writer was faster; a full folder is never replaced
                    continue
                raise
            flush_folder(home, recursive=False)
            return record

    def _folder(self, name: str, version: str | None) -> Path:
        versions = self.versions(name)
        chosen = versions[-1] if version is None else version
        if chosen not in versions:
            raise UnknownName(f"version of ensemble {name}", chosen[:120], versions)
        folder = self.folder / name / check_version(chosen)
        refuse_links(self.folder, folder)
        return folder

    @staticmethod
    def _versions(home: Path) -> list[str]:
        if not home.is_dir():
            return []
        return sorted((entry.name for entry in home.iterdir() if VERSION.fullmatch(entry.name)), key=int)


def _record(
    name: str,
    model: SymmetryEnsemble,
    architecture: Architecture | None,
    class_names: Sequence[str] | None,
) -> ModelInfo:
    if class_names is not None and len(class_names) != model.num_classes:
        raise InputError(
            f"class names: expected {model.num_classes}, got {len(class_names)}; name each class of the network once"
        )
    if len(model.input_shape) != 3:
        raise InputError(
            f"input shape: expected images (C, H, W), got {model.input_shape}; only image classifiers can be served"
        )
    channels, height, width = model.input_shape
    generation = model.generation
    return ModelInfo(
        name=name,
        version="1",
        architecture=None if architecture is None else architecture.key,
        members=model.size,
        digest=model.digest,
        base_digest=network_digest(model.base),
        input_shape=(channels, height, width),
        num_classes=model.num_classes,
        class_names=None if class_names is None else tuple(class_names),
        calibration_digest=None if generation is None else generation.calibration_digest,
        created_at=datetime.now(UTC),
        generation={} if generation is None else json.loads(json.dumps(generation.to_dict())),  # tuples become lists
    )


def _is_name(entry: Path) -> bool:
    return NAME.fullmatch(entry.name) is not None and entry.name.lower() not in RESERVED and not entry.is_symlink()


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]
