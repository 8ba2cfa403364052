"""What this machine offers and what is wrong with it, as values; `levelset doctor` prints them."""

import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from sqlalchemy import make_url

from ensemble import architectures
from ensemble.errors import LevelsetError
from service.catalogue import datasets, torchvision_compat
from service.catalogue.repository import ModelRepository
from service.settings import PREFIX, Settings

OLDEST_PYTHON = (3, 11)
PACKAGES = ("levelset", "torch", "torchvision", "numpy", "foolbox", "safetensors", "fastapi", "dbos", "sqlalchemy")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what was looked at.
        state: what was found.
        remedy: what to do about it; empty where all is well.
    """

    subject: str
    state: str
    remedy: str = ""

    @property
    def well(self) -> bool:
        """Whether nothing needs to be done."""
        return not self.remedy


@dataclass(frozen=True, slots=True)
class Knob:
    """One setting: its variable, its value, and what it means."""

    variable: str
    value: str
    changed: bool
    meaning: str


def examine(settings: Settings) -> list[Finding]:
    """Return what was found about interpreter, packages, torchvision, GPU, data folder and model repository."""
    looks: tuple[Callable[[], Finding], ...] = (
        interpreter,
        *((lambda name=name: package(name)) for name in PACKAGES),
        torchvision_import,
        accelerator,
        threads,
        registered_architectures,
        offline_data,
        lambda: data_folder(settings.data),
        lambda: repository(settings.models_folder),
        lambda: orphans(settings),
    )
    return [look() for look in looks]


def knobs(settings: Settings) -> list[Knob]:
    """Return every setting with its value and meaning, in the order of the documentation."""
    return [
        Knob(
            PREFIX + name.upper(),
            _shown(name, getattr(settings, name)),
            name in settings.model_fields_set,
            field.description or "",
        )
        for name, field in type(settings).model_fields.items()
    ]


def _shown(name: str, value: object) -> str:
    """Return a setting's value as text, without the password a database address may hold."""
    if name == "database" and value is not None:
        return make_url(str(value)).render_as_string(hide_password=True)
    return str(value)


def interpreter() -> Finding:
    """Return the Python version, and whether it is recent enough."""
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] < OLDEST_PYTHON:
        return Finding("Python", found, "install Python 3.11 or newer and make a new virtual environment")
    return Finding("Python", found)


def package(name: str) -> Finding:
    """Return the installed version of a distribution."""
    try:
        return Finding(name, version(name))
    except PackageNotFoundError:
        return Finding(name, "not installed", "pip install -c constraints.txt -e .")


def torchvision_import() -> Finding:
    """Return whether torchvision imports, and whether its compiled operators loaded."""
    subject = "torchvision import"
    try:
        compiled = torchvision_compat.load_compiled_operators(torchvision_compat.torchvision_folder())
        torchvision_compat.import_torchvision()
    except (ImportError, RuntimeError, AttributeError) as error:
        return Finding(
            subject, f"{type(error).__name__}: {error}", "install matching versions of torch and torchvision"
        )
    if compiled:
        return Finding(subject, "works, compiled operators loaded")
    return Finding(subject, "works, without compiled operators (usual beside a CPU-only torch)")


def accelerator() -> Finding:
    """Return the GPUs torch can use."""
    if not torch.cuda.is_available():
        return Finding("GPU", "none; everything runs on the CPU")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return Finding("GPU", ", ".join(names) + f" (CUDA {torch.version.cuda}); use --device cuda")


def threads() -> Finding:
    """Return the number of cores and of torch threads."""
    return Finding("cores", f"{os.cpu_count()}, torch uses {torch.get_num_threads()} threads here")


def registered_architectures() -> Finding:
    """Return the installed architecture keys."""
    keys = sorted(architectures.factories())
    if not keys:
        return Finding("architectures", "none registered", "install the package: pip install -c constraints.txt -e .")
    return Finding("architectures", ", ".join(keys))


def offline_data() -> Finding:
    """Return whether the data set of the demo can be read."""
    digits = datasets.load("digits")
    return Finding("data set digits", f"{len(digits.labels)} images, ships with scikit-learn")


def data_folder(folder: Path) -> Finding:
    """Return whether the data folder can be written; nothing is left behind."""
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return Finding(
            "data folder", f"{folder}: {error.strerror}", "change its permissions or name another with --data"
        )
    return Finding("data folder", f"{folder}, writable" if place == folder else f"{folder}, will be created")


def repository(folder: Path) -> Finding:
    """Return the stored ensembles, and whether all their records can be read."""
    models = ModelRepository(folder)
    try:
        found = [f"{name} ({len(models.versions(name))} versions)" for name in models.names()]
        for name in models.names():
            models.info(name)
    except LevelsetError as error:
        return Finding("model repository", str(error), "restore the named version from a backup or build it again")
    return Finding("model repository", ", ".join(found) or "empty; `levelset demo` puts a first ensemble there")


def orphans(settings: Settings) -> Finding:
    """Return how many artifacts nothing names: what was written before a crash, or belonged to what was deleted."""
    from sqlalchemy.exc import SQLAlchemyError

    from service.jobs.retention import GRACE, Keeper
    from service.store.database import Database

    if not settings.artifacts_folder.exists():
        return Finding("artifacts", "none yet")
    database = Database(settings.database_url)
    try:
        keeper = Keeper(database, settings.artifacts_folder, settings.bases_folder, keep_days=settings.keep_days)
        found = keeper.survey()
    except SQLAlchemyError as error:
        return Finding(
            "artifacts", type(error).__name__, "start the service once, which brings the database up to date"
        )
    finally:
        database.close()
    if not found.files:
        return Finding("artifacts", "each is named by a job or a report")
    return Finding(
        "artifacts",
        f"{found.files} that nothing names ({found.bytes} bytes); each is collected {GRACE // 3600} h after its "
        "last use",
    )
