"""`levelset restore`: a new data folder from a backup."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.console import notices
from service.cli.options import DataFolder, settings_with

NAME = "restore"
EXAMPLE = "Example: `levelset restore var-monday.tar --data restored`"


def command(
    archive: Annotated[Path, typer.Argument(metavar="FILE", help="Archive that `levelset backup` wrote.")],
    data: DataFolder = None,
) -> None:
    """Write a backup to an empty or absent data folder, once every digest in it was found right.

    Unfinished jobs go on at the next `levelset serve`; keys that were good at the time of the backup are good again.
    """
    from service.store.backup import restore

    settings = settings_with(data=data)
    done = restore(archive, settings.data)
    notices().print(f"{done.files} files, {done.bytes} bytes: {settings.data}", markup=False, soft_wrap=True)
