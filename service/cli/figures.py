"""`levelset figures`: the figures of the paper, reproduced and set beside the official numbers."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.console import notices, results
from service.cli.options import DataRoot, settings_with

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

    from attacks.paper import PaperData
    from ensemble.paper import Report, Row

NAME = "figures"
EXAMPLE = "Example: `levelset figures --figure 3 --output figures`"


def command(
    figure: Annotated[
        list[int] | None, typer.Option("--figure", metavar="N", help="Only this figure; may be given several times.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Run to the official horizons.")] = False,
    output: Annotated[Path, typer.Option("--output", metavar="FOLDER", help="Where to write.")] = Path("figures"),
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            metavar="FOLDER",
            envvar="LEVELSET_BENCH_DATA",
            help="Folder with cifar10_jpeg.npz for figures 10 and 11 [default: torchvision's CIFAR-10, else digits].",
        ),
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Reproduce figures 3 to 11 of the paper, as published and corrected, as SVG, PNG, JSON and one HTML page.

    The default shortens the runs to minutes in all and says so on each picture; no file is needed.
    """
    from ensemble.paper import MISSING

    rows = _chosen(figure, lambda limit: _images(images, data_root, limit))
    reports = []
    for row in rows:
        with notices().status(f"figure {row.number}: {row.title}"):
            report = (row.full if full else row.default)()
            _write_pictures(report, output)
        reports.append(report)
        notices().print(f"figure {row.number}: done", markup=False)
    missing = {number: reason for number, reason in MISSING.items() if not figure or number in figure}
    page = _write_page(reports, missing, output)
    console = results()
    console.print(_table(reports))
    console.print(f"page: {page}", soft_wrap=True, markup=False)


def _images(images: Path | None, data_root: Path | None, limit: int) -> "PaperData":
    from service.catalogue import figure_data

    return figure_data.load(images, settings_with(dataset_root=data_root).datasets_folder, limit)


def _chosen(numbers: list[int] | None, data: "Callable[[int], PaperData]") -> "list[Row]":
    """Return the rows of the wanted figures.

    Raises:
        InputError: the figure cannot be reproduced.
        UnknownName: there is no such figure.
    """
    from ensemble.errors import InputError, UnknownName
    from ensemble.paper import MISSING
    from service.catalogue.figures import rows

    known = {row.number: row for row in rows(data)}
    if not numbers:
        return list(known.values())
    for number in numbers:
        if number in MISSING:
            raise InputError(f"figure {number}: expected one that is reproduced, got {number}: {MISSING[number]}")
        if number not in known:
            raise UnknownName("figure", str(number), map(str, known))
    return [known[number] for number in sorted(set(numbers))]


def _write_pictures(report: "Report", folder: Path) -> None:
    from ensemble.errors import ArtifactError
    from ensemble.paper import png, svg
    from service.web.paper import picture_name

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for track in report.tracks:
            (folder / picture_name(report, track, "svg")).write_bytes(svg(report, track))
            (folder / picture_name(report, track, "png")).write_bytes(png(report, track))
    except OSError as error:
        raise ArtifactError(
            f"figures: expected a writable folder {folder}, got {error}; name another one with --output"
        ) from error


def _write_page(reports: "list[Report]", missing: dict[int, str], folder: Path) -> Path:
    from service.catalogue.durable import write_text_atomically
    from service.web.paper import render

    document = {
        "figures": [report.to_dict() for report in reports],
        "not_shown": {str(number): reason for number, reason in missing.items()},
    }
    write_text_atomically(folder / "figures.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    page = folder / "figures.html"
    write_text_atomically(page, render(reports, missing))
    return page


def _table(reports: "list[Report]") -> "Table":
    """Return one row per figure and verdict, with what does not agree spelt out; the page has every row."""
    from collections import Counter

    from rich.table import Table

    shown = Table(title="official numbers, closed forms and claims against ours; every row is on the page")
    shown.add_column("figure", justify="right", no_wrap=True)
    shown.add_column("rows", justify="right", no_wrap=True)
    shown.add_column("verdict", no_wrap=True)
    shown.add_column("which of them do not agree", overflow="fold")
    for report in reports:
        for verdict, count in Counter(row.verdict for row in report.comparisons).items():
            named = [row.quantity for row in report.comparisons if row.verdict == verdict and "not agree" in verdict]
            cells = (str(report.number), str(count), verdict, "; ".join(dict.fromkeys(named)))
            shown.add_row(*(cell.replace("[", r"\[") for cell in cells))
    return shown
