"""Options that several commands share, each with its explanation."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from service.settings import Settings

DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="FOLDER", help="Folder with models, jobs and reports [default: ./var, or LEVELSET_DATA]."
    ),
]
Seed = Annotated[
    int,
    typer.Option("--seed", min=0, max=2**53, help="Seed of everything random; the same seed repeats the run."),
]
Device = Annotated[str, typer.Option("--device", help="torch device: cpu, cuda or cuda:N.")]
DataSetName = Annotated[
    str,
    typer.Option("--dataset", help="digits, mnist, fashion-mnist, cifar10, or folder:PATH or npz:PATH."),
]
DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", metavar="FOLDER", help="Folder with torchvision's files [default: DATA/datasets]."),
]
Download = Annotated[bool, typer.Option("--download", help="Fetch missing torchvision files over the network.")]
ArchitectureKey = Annotated[
    str,
    typer.Option(
        "--arch",
        help="digits-cnn, mnist-cnn, resnet20/32/44/56, torchvision/NAME, an installed entry point, or your own "
        "FILE.py:FACTORY (runs that file).",
    ),
]


def settings_with(**changes: Any) -> Settings:
    """Return the settings of the environment with the given values, those that are not None, in front.

    Raises:
        BadParameter: a value, here or in the environment, is outside its range.
    """
    try:
        return Settings(**{name: value for name, value in changes.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise typer.BadParameter(
            f"setting {where}: {first['msg']}, got {first['input']!r}; correct the option or the variable "
            f"LEVELSET_{where.upper()}"
        ) from error
    except (OSError, ValueError) as error:  # the settings file
        raise typer.BadParameter(f"{error}; LEVELSET_SETTINGS_FILE names a TOML file with settings") from error
