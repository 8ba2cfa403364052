"""`levelset demo`: the whole way, from training to a report, in about a minute."""

from typing import Annotated

import typer

from service.cli.options import DataFolder, Seed, settings_with

NAME = "demo"
EXAMPLE = "Example: `levelset demo --data var`, then `levelset serve --data var`"


def command(
    data: DataFolder = None,
    seed: Seed = 0,
    build_only: Annotated[
        bool, typer.Option("--build-only", help="Stop once the ensemble `digits` is stored; do not serve or attack it.")
    ] = False,
    serve: Annotated[
        bool, typer.Option("--serve", help="Build it where missing, then leave the service running; print curl lines.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="Port with --serve; 0: a free one [default: 8000]."),
    ] = None,
) -> None:
    """Train a small network, build an 8-member ensemble, serve it, send it requests, attack it, write a report.

    Everything happens on this machine and leaves the ensemble `digits` and its report in the data folder. A second run
    uses the ensemble that is already there.
    """
    if serve:
        from service.cli import demo_service

        demo_service.serve(settings_with(data=data, port=port), seed=seed)
        return
    from service import demo

    settings = settings_with(data=data, host="127.0.0.1", port=0)
    demo.build_digits(settings, seed=seed)
    if not build_only:
        demo.serve_and_evaluate(settings, seed=seed)
