"""`levelset doctor`: what this machine offers, what is wrong with it, and what every setting means."""

import typer

from service.cli import exit_codes
from service.cli.console import notices, results
from service.cli.options import DataFolder, settings_with

NAME = "doctor"
EXAMPLE = "Example: `levelset doctor --data var`"


def command(data: DataFolder = None) -> None:
    """Look at versions, torchvision, GPU, data folder and models, and explain every setting.

    Exit code 1 when something needs to be done; what, is printed beside it.
    """
    from rich.table import Table

    from service import doctor

    settings = settings_with(data=data)
    with notices().status("looking around"):
        findings = doctor.examine(settings)
    table = Table(title="this machine")
    for title in ("", "subject", "state"):
        table.add_column(title, overflow="fold")
    for finding in findings:
        mark = "[green]ok[/]" if finding.well else "[bold red]!![/]"
        state = finding.state if finding.well else f"{finding.state} -> {finding.remedy}"
        table.add_row(mark, finding.subject, state.replace("[", r"\["))
    settings_table = Table(title="settings (environment variables)")
    for title in ("variable", "value", "meaning"):
        settings_table.add_column(title, overflow="fold")
    for knob in doctor.knobs(settings):
        value = knob.value.replace("[", r"\[")
        value = f"[bold]{value}[/]" if knob.changed else value
        settings_table.add_row(knob.variable, value, knob.meaning.replace("[", r"\["))
    console = results()
    console.print(table)
    console.print(settings_table)
    if not all(finding.well for finding in findings):
        raise typer.Exit(exit_codes.DOMAIN_ERROR)
