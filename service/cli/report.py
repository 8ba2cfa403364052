"""`levelset report`: an evaluation report drawn again from its JSON, offline."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.console import notices, results

NAME = "report"
EXAMPLE = "Example: `levelset report var/reports/digits/report.json`"


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help="Report written by evaluate, demo or the service.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Where to write [default: beside FILE.json].")
    ] = None,
) -> None:
    """Draw a report as one offline HTML page and as Markdown, and print its summary.

    The JSON file is the only truth: nothing is computed again, and no network or data set is needed.
    """
    from service.cli.report_files import read_report, show_report, write_report

    with notices().status("drawing the report"):
        found = read_report(file)
        files = write_report(found, file.parent / file.stem if out is None else out)
    console = results()
    show_report(console, found, files)
