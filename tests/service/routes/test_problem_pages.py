"""The `type` of a problem is a page that can be read.

Seen to fail when: a status of the table of errors has no page; the `type` names none; a page has another's words.
"""

from html import unescape

from service.errors import HTTP_STATUS
from service.routes.problem_pages import WORDS
from service.security.scopes import Scope
from tests.service.security.conftest import House, house

__all__ = ["house"]  # the fixture


def test_every_status_has_its_page(house: House) -> None:
    """Whatever the table of errors answers is explained; another status is not found."""
    token = house.mint(Scope.READ).token
    assert {str(status) for status in HTTP_STATUS.values()} | {"405", "500"} == set(WORDS)
    for status, words in WORDS.items():
        page = house.ask("GET", f"/problems/{status}", token)
        assert page.status_code == 200
        assert words.split(".")[0] in unescape(page.text)
    assert house.ask("GET", "/problems/999", token).status_code == 404
    problem = house.ask("GET", "/api/v1/jobs/nobody", token).json()
    assert house.ask("GET", problem["type"], token).status_code == 200
