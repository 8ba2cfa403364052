"""A refused method is told which methods the path has.

Seen to fail when: the framework's own `Allow` is sent, which names the methods of one route only; the
methods of a less literal template are named too.
"""

import pytest

from service.security.scopes import Scope
from tests.service.security.conftest import House, house

__all__ = ["house"]  # the fixture


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/v1/jobs", "GET, POST"),
        ("/api/v1/jobs/x", "DELETE, GET"),
        ("/api/v1/jobs/x:cancel", "POST"),
        ("/api/v1/models/x", "DELETE, GET, PUT"),
        ("/api/v1/reports/x", "DELETE, GET"),
        ("/v2/models/stats", "GET"),
        ("/v2/models/x/infer", "POST"),
    ],
)
def test_allow_names_every_method_of_the_path(house: House, path: str, allowed: str) -> None:
    """RFC 9110, section 15.5.6."""
    answer = house.ask("OPTIONS", path, house.mint(Scope.ADMIN).token)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
