"""A service with keys, as a person meets it in a browser: sign in, use the pages, sign out; forged requests fail.

The keys are made by the command line. Seen to fail when: the login has no field for a name, which the browser notes on
its console; a chart of the report is scrolled by the mouse only.
"""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from service.security.sessions import COOKIE, LIFETIME
from tests.service.web.real_site import (
    CHROMIUM,
    PATIENCE,
    Site,
    Watch,
    built,
    pages_of,
    photograph,
    serious_faults,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest.importorskip("playwright.sync_api", reason="playwright is not installed; the extra `dev` brings it")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not there: apt-get install chromium"),
]


def make_key(data: Path, name: str, *scopes: str) -> str:
    """Return a key that the command line made."""
    words = [sys.executable, "-m", "service.cli", "keys", "create", "--data", str(data), "--name", name]
    words += [word for scope in scopes for word in ("--scope", scope)]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, str]]:
    """Yield a service that asks for keys, with two reports of an owner, and the owner's key."""
    data = tmp_path_factory.mktemp("gated")
    key = make_key(data, "alice", "jobs", "read")
    with built(tmp_path_factory, data, key) as site:
        yield site, key


def sign_in(page: "Page", site: Site, key: str) -> None:
    """Come to the start page by way of the login."""
    page.goto(site.url)
    page.wait_for_url("**/login")
    page.get_by_label("Key").fill(key)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.url}/")


def others_than(complaints: list[str], *known: str) -> list[str]:
    """Return what was said besides the refusals that were asked for."""
    return [line for line in complaints if not any(text in line for text in known)]


def test_a_key_opens_the_pages_until_one_signs_out(browser: "Browser", gated: tuple[Site, str]) -> None:
    """Without a key every page leads to the login; a wrong one is told; the right one opens; signing out closes."""
    site, key = gated
    context = browser.new_context()
    page = context.new_page()
    watch = Watch.on(page)
    page.goto(f"{site.url}/jobs/{site.jobs[0]}")
    page.wait_for_url("**/login")
    assert serious_faults(page) == []
    page.get_by_label("Key").fill("lvs_wrong")
    page.keyboard.press("Enter")
    page.get_by_role("alert").get_by_text("expected one that was made here").wait_for()
    assert page.get_by_label("Key").get_attribute("aria-invalid") == "true"
    assert page.get_by_label("Key").input_value() == ""
    assert context.cookies() == []
    sign_in(page, site, key)
    (cookie,) = context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == (COOKIE, True, "Strict")
    assert 0 < cookie["expires"] - page.evaluate("Date.now() / 1000") <= LIFETIME
    assert page.evaluate("document.cookie") == ""
    assert key not in page.content()
    assert page.locator("#report-list tbody tr").count() == 2
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/login")
    assert context.cookies() == []
    page.goto(f"{site.url}/reports/{site.reports[0]}")
    page.wait_for_url("**/login")
    assert others_than(watch.complaints, "401") == []
    assert watch.outside(site.url) == []
    context.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_page_of_somebody_signed_in(browser: "Browser", gated: tuple[Site, str], width: int, scheme: Any) -> None:
    """Each page opens with the cookie, says nothing on the console, fits, and has nothing that axe finds serious."""
    site, key = gated
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    sign_in(context.new_page(), site, key)
    for name, path in pages_of(site).items():
        page = context.new_page()
        watch = Watch.on(page)
        assert page.goto(site.url + path).status == (404 if name == "missing" else 200)  # type: ignore[union-attr]
        assert others_than(watch.complaints, *["404"] * (name == "missing")) == [], name
        assert watch.outside(site.url) == [], name
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert serious_faults(page) == [], name
        photograph(page, f"signed-in-{name}-{scheme}", width)
        page.close()
    context.close()


@pytest.mark.parametrize("script", [True, False])
def test_the_pages_act_with_their_token(browser: "Browser", gated: tuple[Site, str], script: bool) -> None:
    """Forms and scripts send the token: a job is handed in and cancelled, with script and without."""
    site, key = gated
    context = browser.new_context(java_script_enabled=script)
    page = context.new_page()
    sign_in(page, site, key)
    page.goto(f"{site.url}/evaluate")
    page.get_by_label("Images").fill("300")
    page.locator("#start").click()
    page.wait_for_url("**/jobs/*", timeout=PATIENCE)
    job = page.url.rpartition("/")[2]
    page.locator("#do-cancel").click()
    site.service.wait_for_end(job, "cancelled")
    assert site.service.job(job)["state"] == "cancelled"
    context.close()


def test_requests_without_the_token_are_refused(browser: "Browser", gated: tuple[Site, str]) -> None:
    """The cookie alone changes nothing; with the page's token the same request is heard."""
    site, key = gated
    context = browser.new_context()
    page = context.new_page()
    sign_in(page, site, key)
    ask = """async (token) => (await fetch("/api/v1/jobs/none:cancel", {
        method: "POST", headers: token ? {"X-CSRF-Token": token} : {}})).status"""
    assert page.evaluate(ask, "") == 403
    assert page.evaluate(ask, "0" * 64) == 403
    assert page.evaluate(ask, page.locator('meta[name="csrf-token"]').get_attribute("content")) == 404
    context.close()


@contextmanager
def a_foreign_page(target: str) -> Iterator[str]:
    """Yield the address of a page on another port, which is another origin, with a form that posts to `target`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f'<form method="post" action="{target}"><button>win</button></form>'.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def test_other_origins_are_refused(browser: "Browser", gated: tuple[Site, str]) -> None:
    """A form on another port of this machine is sent with the cookie, since it is the same site, and is refused."""
    site, key = gated
    context = browser.new_context()
    page = context.new_page()
    sign_in(page, site, key)
    for target in ("/logout", "/login", f"/api/v1/jobs/{site.jobs[0]}:cancel"):
        with a_foreign_page(site.url + target) as address:
            page.goto(address)
            with page.expect_response(site.url + target) as answer:
                page.get_by_role("button").click()
            assert answer.value.status == 403, target
            assert "origin" in answer.value.text().lower(), target
    page.goto(site.url)
    assert page.locator("#report-list tbody tr").count() == 2
    context.close()
