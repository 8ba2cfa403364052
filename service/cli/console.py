"""Where the command line writes: results on stdout, progress and errors on stderr."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Step(Protocol):
    """What a long computation reports: how far it is, of how much, and what it does now."""

    @property
    def done(self) -> int:
        """Steps finished."""

    @property
    def total(self) -> int:
        """Steps in all."""

    @property
    def message(self) -> str:
        """What is being done."""


Report = Callable[[Step], None]


def results() -> Console:
    """Return the console for results, stdout."""
    return Console(highlight=False)


def notices() -> Console:
    """Return the console for progress, hints and errors, stderr."""
    return Console(stderr=True, highlight=False)


@contextmanager
def progress_bar(title: str) -> Iterator[Report]:
    """Yield a callback that draws how far a computation is; on a file or pipe only one closing line is written.

    Args:
        title: what is being computed.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[message]}"),
    )
    console = notices()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None, message="")

        def report(step: Step) -> None:
            bar.update(task, completed=step.done, total=step.total, message=step.message[:40])

        yield report
    if not console.is_terminal:
        console.print(f"{title}: done", markup=False)
