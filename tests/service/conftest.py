"""Databases for the tests of the store: SQLite always, PostgreSQL where its server is installed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.postgres import Cluster, cluster, programs


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """Yield a running PostgreSQL server."""
    place = programs()
    if place is None:
        pytest.skip("PostgreSQL's server is not installed: neither on the path nor below /usr/lib/postgresql")
    with cluster(place) as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a new database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'a b.sqlite'}"
    running: Cluster = request.getfixturevalue("postgres")
    return running.new_database()
