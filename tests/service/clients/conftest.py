"""One server for every client."""

from collections.abc import Iterator

import pytest

from service.settings import Settings
from tests.service.clients.live import Live, live
from tests.service.inference.models import copy_models, damage, duplicate


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Yield a server with the ensemble `digits`, one to unload, and a damaged one."""
    data = tmp_path_factory.mktemp("clients")
    models = copy_models(tmp_path_factory, data)
    for name in ("spare", "broken"):
        duplicate(models, "digits", "1", new_name=name, new_version="1")
    damage(models, "broken", "1")
    with live(Settings(data=data, max_request_rows=100)) as running:
        yield running
