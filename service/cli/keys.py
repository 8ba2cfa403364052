"""`levelset keys`: make, list and revoke the keys of a data folder, whether its service runs or not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.console import notices, results
from service.cli.options import DataFolder, settings_with

if TYPE_CHECKING:
    from service.security.audit import AuditLog
    from service.security.keys import KeyStore

NAME = "keys"
EXAMPLE = "Example: `levelset keys create --name ci --scope infer --scope read`"
ABOUT = """Make, list and revoke the keys that a service asks for.

Once a data folder has a key, its service asks every request for one; a running service notices within a second.
"""


def group() -> typer.Typer:
    """Return the commands about keys."""
    keys = typer.Typer(help=ABOUT, no_args_is_help=True, rich_markup_mode="markdown", epilog=EXAMPLE)
    keys.command("create", epilog=EXAMPLE)(create)
    keys.command("list", epilog="Example: `levelset keys list`")(show)
    keys.command("revoke", epilog="Example: `levelset keys revoke 0123456789ab`")(revoke)
    return keys


def create(
    name: Annotated[str, typer.Option("--name", help="What it is for: letters, digits and _.@-.")],
    scope: Annotated[list[str], typer.Option("--scope", help="infer, read, jobs or admin (everything); repeatable.")],
    owner: Annotated[
        str | None, typer.Option("--owner", help="Whose jobs and reports it sees and makes [default: its name].")
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", help="Requests per second [default: LEVELSET_KEY_RATE].")
    ] = None,
    data: DataFolder = None,
) -> None:
    """Make a key and print it, this once, on stdout; the data folder keeps its digest."""
    from service.security.keys import Order, as_scopes

    order = Order(name, as_scopes(scope), owner, rate)
    with _opened(data) as (store, audit):
        minted = store.create(order)
        audit.note("key made", key=minted.key.id, name=name, owner=minted.key.owner, scopes=scope, by="command line")
    results().print(minted.token, soft_wrap=True, markup=False)
    notices().print(f"key {minted.key.id} for {minted.key.owner}; it cannot be shown again", markup=False)


def show(data: DataFolder = None) -> None:
    """List every key: id, name, owner, scopes, and whether it was revoked."""
    from rich.table import Table

    from service.security.scopes import Scope
    from service.store.clock import rfc3339

    table = Table(title="keys")
    for title in ("id", "name", "owner", "scopes", "made", "revoked"):
        table.add_column(title, overflow="fold")
    with _opened(data) as (store, _):
        for key in store.all():
            scopes = " ".join(scope for scope in Scope if scope in key.scopes)
            times = [(rfc3339(moment) or "")[:19] for moment in (key.created_at, key.revoked_at)]
            table.add_row(key.id, key.name, key.owner, scopes, *times)
    results().print(table)


def revoke(
    key: Annotated[str, typer.Argument(help="Id of the key, as `levelset keys list` shows it.")],
    data: DataFolder = None,
) -> None:
    """End a key; a running service refuses it within a second, and its sessions with it."""
    with _opened(data) as (store, audit):
        ended = store.revoke(key)
        audit.note("key revoked", key=ended.id, name=ended.name, owner=ended.owner, by="command line")
    notices().print(f"key {ended.id} ({ended.name}) is revoked", markup=False)


@contextmanager
def _opened(data: DataFolder) -> "Iterator[tuple[KeyStore, AuditLog]]":
    from service.security.audit import FILE, AuditLog
    from service.security.opening import open_store

    settings = settings_with(data=data)
    database, store = open_store(settings)
    try:
        yield store, AuditLog(settings.data / FILE)
    finally:
        database.close()
