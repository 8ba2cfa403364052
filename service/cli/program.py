"""The command line as a whole: which commands there are, and what a failure looks like."""

import sys
from collections.abc import Sequence
from typing import NoReturn

import typer

from service.cli import backup, build, demo, doctor, evaluate, exit_codes, figures, keys, report, restore, serve, sites
from service.cli.console import notices

ABOUT = """Many networks from one: build a symmetry ensemble of a classifier, serve it, measure what it is worth.

Start with `levelset demo`: about a minute, no files needed.
"""
COMMANDS = (demo, build, evaluate, serve, report, sites, figures, doctor, backup, restore)
GROUPS = (keys,)


def create_cli() -> typer.Typer:
    """Return the command-line application."""
    cli = typer.Typer(
        name="levelset",
        help=ABOUT,
        epilog=exit_codes.TABLE,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for module in COMMANDS:
        cli.command(name=module.NAME, epilog=module.EXAMPLE)(module.command)
    for room in GROUPS:
        cli.add_typer(room.group(), name=room.NAME)
    return cli


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: a domain error becomes one message on stderr, never a traceback.

    Args:
        arguments: words after the program's name; those of the process when None.
    """
    try:
        create_cli()(args=None if arguments is None else list(arguments), prog_name="levelset")
    except Exception as error:
        if not _is_meant(error):
            raise
        notices().print(f"[bold red]error[/]: {_plain(str(error))}", soft_wrap=True)
        sys.exit(getattr(error, "exit_code", exit_codes.DOMAIN_ERROR))
    sys.exit(exit_codes.OK)


def _is_meant(error: Exception) -> bool:
    """Return whether the error is one of the two trees that are raised on purpose, and so readable as it is."""
    # Imported late: `ensemble` loads torch, which `--help` and `serve` do without.
    from ensemble.errors import LevelsetError
    from service.errors import ServiceError

    return isinstance(error, LevelsetError | ServiceError)


def _plain(text: str) -> str:
    """Return the text with rich's markup made harmless."""
    return text.replace("[", r"\[")
