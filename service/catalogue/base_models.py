"""Base networks as they were uploaded: a safetensors file each, and what it is.

    bases/<name>/base.json            what `BaseInfo` holds
    bases/<name>/weights.safetensors  the bytes as they came

A base is written whole into a hidden folder and renamed; it never changes. Weights that do not fit the architecture,
or are not finite, are never stored.
"""

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ensemble.digests import network_digest
from ensemble.errors import ArtifactError, InputError, UnknownName
from service.catalogue import architectures
from service.catalogue.building import TrainedNetwork, trained_network
from service.catalogue.checkpoints import align
from service.catalogue.durable import flush, flush_folder, refuse_links, write_text
from service.catalogue.names import NAME, RESERVED, check_name
from service.catalogue.safetensors_header import TensorEntry, read_header
from service.errors import StateConflict

INFO: Final = "base.json"
WEIGHTS: Final = "weights.safetensors"
HIDDEN: Final = ".new-"
#: How torch calls what safetensors calls otherwise.
DTYPES: Final = {
    "torch.float64": "F64", "torch.float32": "F32", "torch.float16": "F16", "torch.bfloat16": "BF16",
    "torch.int64": "I64", "torch.int32": "I32", "torch.int16": "I16", "torch.int8": "I8", "torch.uint8": "U8",
    "torch.bool": "BOOL",
}  # fmt: skip


class BaseInfo(BaseModel):
    """One stored base network; written once."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(description="name of the base network")
    architecture: str = Field(description="catalogue key")
    num_classes: int | None = Field(description="number of logits; None where the architecture's own was taken")
    sha256: str = Field(description="SHA-256 of the uploaded bytes")
    size: int = Field(description="bytes of the uploaded file")
    parameters: int = Field(description="numbers the network holds, buffers included")
    digest: str = Field(description="SHA-256 over parameters and buffers: `base_digest` of its ensembles")
    created_at: datetime = Field(description="time of storing, UTC")


class NameTaken(StateConflict):
    """Other weights are stored under that name."""


class BaseModels:
    """Stored base networks below one folder, which is created at the first write.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def names(self) -> list[str]:
        """Return the names of all stored bases, sorted."""
        if not self.folder.is_dir():
            return []
        return sorted(entry.name for entry in self.folder.iterdir() if NAME.fullmatch(entry.name) and entry.is_dir())

    def info(self, name: str) -> BaseInfo:
        """Return what is stored about a base.

        Raises:
            UnknownName: there is none of that name.
            ArtifactError: its record is damaged.
        """
        home = self._home(name)
        try:
            return BaseInfo.model_validate_json((home / INFO).read_bytes())
        except (OSError, ValidationError) as error:
            raise ArtifactError(
                f"base {name}: expected a readable {INFO}, got {type(error).__name__}; delete it and upload it again"
            ) from error

    def load(self, name: str, device: str = "cpu") -> TrainedNetwork:
        """Return the network with its weights, in eval mode.

        Raises:
            UnknownName: there is none of that name.
            ArtifactError: its files are damaged.
        """
        info = self.info(name)
        weights = self._home(name) / WEIGHTS
        network = trained_network(info.architecture, weights, num_classes=info.num_classes, device=device)
        if network_digest(network.network) != info.digest:
            raise ArtifactError(f"base {name}: expected the weights of its record, got others; upload it again")
        return network

    def draft(self) -> Path:
        """Return a new hidden folder beside the bases, for a file that is still arriving.

        Raises:
            ArtifactError: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return Path(mkdtemp(prefix=HIDDEN, dir=self.folder))
        except OSError as error:
            raise ArtifactError(f"bases: expected a writable folder, got {error}; change its permissions") from error

    @staticmethod
    def discard(draft: Path) -> None:
        """Throw away a folder of `draft`."""
        shutil.rmtree(draft, ignore_errors=True)

    def add(
        self, name: str, draft: Path, *, architecture: str, num_classes: int | None, sha256: str
    ) -> tuple[BaseInfo, bool]:
        """Return the record of the weights in `draft`, and whether they were not stored before.

        Args:
            name: letters, digits, `_` and `-`.
            draft: folder of `draft`, which holds the file `weights.safetensors`; it is used up.
            architecture: catalogue key.
            num_classes: number of logits; the architecture's own when None.
            sha256: of the file.

        Raises:
            UnknownName: the architecture is not known.
            InputError: the name is not allowed, or the weights do not fit.
            NameTaken: other weights or another architecture are stored under that name.
        """
        try:
            check_name(name)
            if (earlier := self._earlier(name, architecture, num_classes, sha256)) is not None:
                return earlier, False
            info = _judged(name, draft / WEIGHTS, architecture, num_classes, sha256)
            write_text(draft / INFO, info.model_dump_json(indent=2) + "\n")
            draft.chmod(0o755)
            flush_folder(draft)
            try:
                draft.rename(self.folder / name)
            except OSError:
                if (earlier := self._earlier(name, architecture, num_classes, sha256)) is not None:
                    return earlier, False  # another upload of the same was faster
                raise
            flush(self.folder)
            return info, True
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def remove(self, name: str) -> None:
        """Delete a base; ensembles made from it hold their own copy.

        Raises:
            UnknownName: there is none of that name.
        """
        grave = self.draft()
        try:
            self._home(name).rename(grave / name)
            flush(self.folder)
        finally:
            shutil.rmtree(grave, ignore_errors=True)

    def _earlier(self, name: str, architecture: str, num_classes: int | None, sha256: str) -> BaseInfo | None:
        twin = next((known for known in self.names() if known.lower() == name.lower()), None)
        if twin is None:
            return None
        if twin == name:
            info = self.info(name)
            if (info.sha256, info.architecture, info.num_classes) == (sha256, architecture, num_classes):
                return info
        raise NameTaken(
            f"base {name}: expected the bytes and architecture that are stored as {twin!r}, or a new name, got others; "
            "a stored base never changes: choose another name"
        )

    def _home(self, name: str) -> Path:
        if name not in self.names() or name.lower() in RESERVED:
            raise UnknownName("base network", name[:120], self.names())
        refuse_links(self.folder, self.folder / name)
        return self.folder / name


def _judged(name: str, weights: Path, key: str, num_classes: int | None, sha256: str) -> BaseInfo:
    found = read_header(weights)
    network = architectures.build(key, num_classes=num_classes)
    expected = {known: DTYPES.get(str(tensor.dtype)) for known, tensor in network.state_dict().items()}
    offered: Any = found  # align only renames
    renamed: Mapping[str, Any] = align(offered, network)
    for known, entry in renamed.items():
        if isinstance(entry, TensorEntry) and known in expected and entry.dtype != expected[known]:
            raise InputError(
                f"weights: expected {expected[known]} for {known[:80]!r} as {key} has it, got {entry.dtype}; convert"
            )
    try:
        trained = trained_network(key, weights, num_classes=num_classes)
    except ArtifactError as error:  # NaN, infinity: the client's bytes are at fault, not a stored file
        raise InputError(str(error)) from error
    state = trained.network.state_dict()
    return BaseInfo(
        name=name,
        architecture=key,
        num_classes=num_classes,
        sha256=sha256,
        size=weights.stat().st_size,
        parameters=sum(tensor.numel() for tensor in state.values()),
        digest=network_digest(trained.network),
        created_at=datetime.now(UTC),
    )
