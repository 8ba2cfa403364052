"""An evaluation report as files that a person and a script can open."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ensemble.errors import ArtifactError, InputError
from service.catalogue.durable import write_text_atomically
from service.cli.tables import report_table

if TYPE_CHECKING:
    from attacks import EvaluationReport


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Where one report lies.

    Attributes:
        json: the report itself; the other two are drawn from it.
        html: one page, readable offline.
        markdown: the same as text.
    """

    json: Path
    html: Path
    markdown: Path


def read_report(path: Path) -> "EvaluationReport":
    """Return the report in a JSON file.

    Raises:
        InputError: there is no such file.
        ArtifactError: it is damaged, or from a newer version.
    """
    from attacks import EvaluationReport

    try:
        return EvaluationReport.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"report: expected a file, got nothing at {path}; check the path") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"report {path.name}: expected the JSON of an evaluation report, got one that cannot be read ({error}); "
            "take the file that `levelset evaluate` or the service wrote"
        ) from error


def show_report(console: Console, report: "EvaluationReport", files: ReportFiles) -> None:
    """Print the table, the one sentence a report may be quoted by, and where its page lies."""
    console.print(report_table(report))
    console.print(report.headline.sentence, markup=False)
    console.print(f"report: {files.html}", soft_wrap=True, markup=False)


def check_writable(folder: Path) -> None:
    """Check that a report could be written into a folder; nothing is created.

    Raises:
        ArtifactError: it could not.
    """
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise _not_writable(folder, error) from error


def write_report(report: "EvaluationReport", folder: Path) -> ReportFiles:
    """Return the files of a report written into a folder as JSON, HTML and Markdown.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    from service.web.report import render_html, render_markdown

    files = ReportFiles(folder / "report.json", folder / "report.html", folder / "report.md")
    try:
        write_text_atomically(files.json, report.to_json())
        write_text_atomically(files.html, render_html(report))
        write_text_atomically(files.markdown, render_markdown(report))
    except OSError as error:
        raise _not_writable(folder, error) from error
    return files


def _not_writable(folder: Path, error: OSError) -> ArtifactError:
    return ArtifactError(f"report: expected a writable folder {folder}, got {error}; name another one with --out")
