"""In a real browser the report opens with the network off, and the pages follow a job without being reloaded.

Mutations seen to fail: the style changed after its digest was taken (the policy refuses it); a picture from another
host; `live.js` emptied; a table without its scrolling frame; the dark theme removed; the policy without `connect-src`;
the line that is read out swapped with the part it tells of, or never written.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.web.report import render_html
from tests.service.web import reports, samples
from tests.service.web.real_site import CHROMIUM, WIDTHS, Scheme, Watch
from tests.service.web.site import Site, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest.importorskip("playwright.sync_api", reason="playwright is not installed; the extra `dev` brings it")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not there: apt-get install chromium"),
]


@pytest.fixture(scope="module", params=["quick", "standard"])
def report_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a sample report as a file, the way somebody gets it by mail: without pictures, and with a gallery."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    made = {"quick": reports.sample, "standard": reports.standard}[request.param]()
    path.write_text(render_html(made), encoding="utf-8")
    return path


@pytest.fixture
def site() -> Iterator[Site]:
    """Return a server with the pages of the service."""
    with serving() as running:
        yield running


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_opens_with_the_network_off(
    browser: "Browser", report_file: Path, width: int, scheme: Scheme
) -> None:
    """Nothing is requested, nothing is complained about, nothing sticks out, and every chart is drawn."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page = context.new_page()
    watch = Watch.on(page)
    page.goto(report_file.as_uri())
    assert watch.complaints == []
    assert watch.outside(report_file.as_uri()) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    images = "[...document.images].map(i => [i.complete, i.naturalWidth, i.src.startsWith('data:image/svg')])"
    sizes = page.evaluate(images)
    assert sizes
    assert all(complete and size >= (100 if is_chart else 8) for complete, size, is_chart in sizes)
    assert "Charter" in page.evaluate("getComputedStyle(document.body).fontFamily")
    red = page.evaluate("Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])")
    assert (red > 200) == (scheme == "light")
    assert page.locator("#verdict + p .word").inner_text() == "INCOMPLETE"
    context.close()


def test_the_report_is_usable_by_keyboard(browser: "Browser", report_file: Path) -> None:
    """Tab reaches the skip link first, a table of numbers opens with Enter, a link leads to a check that is closed."""
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto(report_file.as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    first = page.locator("details").first
    first.locator("summary").focus()
    page.keyboard.press("Enter")
    assert first.get_attribute("open") is not None
    assert first.locator("table").is_visible()
    context.close()


def test_the_report_prints_everything(browser: "Browser", report_file: Path) -> None:
    """On paper the closed tables are open, and links that only make sense on a screen are gone."""
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto(report_file.as_uri())
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert page.locator("details table").first.is_visible()
    assert page.pdf().startswith(b"%PDF")
    context.close()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_dashboard_stays_at_home(browser: "Browser", site: Site, width: int, scheme: Scheme) -> None:
    """The start page asks its own server only, says nothing on the console, and fits a telephone."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    watch = Watch.on(page)
    page.goto(site.url)
    page.wait_for_load_state("networkidle")
    assert watch.complaints == []
    assert watch.outside(site.url) == []
    assert any(url.endswith("/static/live.js") for url in watch.requests)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#health .word").inner_text() == "ready"
    assert page.locator("#job-list progress").count() == 1
    context.close()


def test_a_job_page_follows_its_job(browser: "Browser", site: Site) -> None:
    """Progress, state and the link to the report appear by themselves; when the job is over the page stops asking."""
    context = browser.new_context()
    page = context.new_page()
    watch = Watch.on(page)
    page.goto(f"{site.url}/jobs/{site.job['id']}")
    assert page.locator("#state .word").inner_text() == "running"
    assert page.locator("#open-report").count() == 0
    page.locator("#do-pause").focus()
    page.evaluate("window.told = document.getElementById('news')")
    site.events = samples.events(9)
    page.get_by_text("shard 9 of 46").wait_for(timeout=10_000)
    assert page.evaluate("document.activeElement.id") == "do-pause"
    site.job = samples.job("succeeded", id=site.job["id"])
    page.locator("#open-report").wait_for(timeout=10_000)
    assert page.locator("#state .word").inner_text() == "succeeded"
    assert page.locator("main").get_attribute("data-refresh") is None
    assert (
        page.evaluate("window.told.isConnected && window.told.textContent")
        == "succeeded, 100 % done. The report is written."
    )
    asked = len(watch.requests)
    page.wait_for_timeout(2_500)
    assert len(watch.requests) == asked
    assert watch.complaints == []
    assert watch.outside(site.url) == []
    context.close()


def test_a_button_acts_and_the_page_shows_it(browser: "Browser", site: Site) -> None:
    """Cancel posts to the job's own action and the page shows the new state, without leaving the page."""
    context = browser.new_context()
    page = context.new_page()
    address = f"{site.url}/jobs/{site.job['id']}"
    page.goto(address)
    page.locator("#do-cancel").click()
    page.get_by_text("Stopped for good.", exact=True).wait_for(timeout=10_000)
    assert site.posted == [f"/api/v1/jobs/{site.job['id']}:cancel"]
    assert page.url == address
    context.close()


def test_pages_work_without_script(browser: "Browser", site: Site) -> None:
    """With script off the job page shows state, bar and events, and is read again by itself."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site.url}/jobs/{site.job['id']}")
    assert page.locator("#state progress").count() == 1
    assert "17 of 46 shards" in page.locator("#state").inner_text()
    site.job = samples.job("succeeded", id=site.job["id"])
    page.locator("#open-report").wait_for(timeout=15_000)
    context.close()
