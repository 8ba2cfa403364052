"""`levelset backup`: the data folder in one file, while the service runs."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.console import notices
from service.cli.options import DataFolder, settings_with

NAME = "backup"
EXAMPLE = "Example: `levelset backup var-monday.tar --data var`"


def command(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="Archive to write; it must not exist.")],
    data: DataFolder = None,
) -> None:
    """Write models, jobs, reports and keys' digests to one archive, with a digest per file.

    The service may go on meanwhile. Downloaded data sets are left out. Keep the file like a key: it holds weights, and
    the secret that sessions are sealed with.
    """
    from service.store.backup import back_up

    settings = settings_with(data=data)
    done = back_up(settings.data, settings.database_url, target)
    notices().print(f"{done.files} files, {done.bytes} bytes: {target}", markup=False, soft_wrap=True)
