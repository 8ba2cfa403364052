"""`levelset serve`: the service, left running."""

from enum import StrEnum
from typing import Annotated, Literal

import typer

from service.cli.options import DataFolder, settings_with

NAME = "serve"
EXAMPLE = "Example: `levelset serve --port 8000 --data var`, then open http://127.0.0.1:8000/"


class Role(StrEnum):
    """Which process of the service to run."""

    ALL = "all"
    WEB = "web"
    WORKER = "worker"


class Engine(StrEnum):
    """Where the worker runs shards."""

    LOCAL = "local"
    RAY = "ray"


ROLES: dict[Role, Literal["web", "worker"] | None] = {Role.ALL: None, Role.WEB: "web", Role.WORKER: "worker"}


def command(
    host: Annotated[str | None, typer.Option("--host", help="Address to bind [default: 127.0.0.1].")] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="TCP port; 0: a free one [default: 8000].")
    ] = None,
    data: DataFolder = None,
    role: Annotated[
        Role, typer.Option("--role", help="all: a supervisor of both; web or worker: that one alone.")
    ] = Role.ALL,
    engine: Annotated[
        Engine | None,
        typer.Option("--engine", help="Where shards run; ray: levelset[ray] [default: local]."),
    ] = None,
    address: Annotated[
        str | None, typer.Option("--address", help="host:port of Ray's head [default: a Ray of this host].")
    ] = None,
    insecure: Annotated[
        bool | None,
        typer.Option("--insecure", help="Allow an address beyond this machine although no key guards it."),
    ] = None,
) -> None:
    """Serve the model repository over HTTP: inference under /v2, jobs and reports under /api/v1, pages under /.

    Evaluation jobs run in a worker process beside the web process. Ctrl-C stops both; unfinished jobs go on at the
    next start.
    """
    from service.cli import serving

    settings = settings_with(host=host, port=port, data=data, insecure=insecure, engine=engine, address=address)
    serving.serve(settings, ROLES[role])
