"""One real service and one browser for the tests that only look: starting them costs more than most of the looks."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.service.web.real_site import CHROMIUM, FLAGS, Site, built

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Yield a service that asks for no key."""
    with built(tmp_path_factory, tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Return the system's Chromium, closed at the end."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; the extra `dev` brings it")
    with api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        yield started
        started.close()
