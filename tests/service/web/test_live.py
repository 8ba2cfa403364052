"""Every page of a real service with a worker, opened and used in a real browser at two widths.

Photographs lie in the folder `LEVELSET_PHOTOGRAPHS`, where it is set. Seen to fail when: a page loads a style from
elsewhere; the policy forbids the page's own script; a label is taken from its field; the button of a try shares its
name with a field; the lane of tries is not started.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.service.web.real_site import (
    CHROMIUM,
    ORDER,
    PATIENCE,
    WIDTHS,
    Site,
    Watch,
    pages_of,
    photograph,
    serious_faults,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest.importorskip("playwright.sync_api", reason="playwright is not installed; the extra `dev` brings it")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not there: apt-get install chromium"),
]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_opens_at_home_and_for_everybody(browser: "Browser", site: Site, width: int, scheme: Any) -> None:
    """No request leaves the origin, nothing is said on the console, nothing sticks out, axe finds nothing serious."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    for name, path in pages_of(site).items():
        page = context.new_page()
        watch = Watch.on(page)
        page.goto(site.url + path)
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert watch.outside(site.url) == [], name
        assert [line for line in watch.complaints if name != "missing" or "404" not in line] == [], name
        assert serious_faults(page) == [], name
        photograph(page, f"{name}-{scheme}", width)
        page.close()
    context.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_an_evaluation_is_started_from_the_form(browser: "Browser", site: Site, width: int) -> None:
    """A wrong radius is shown at its field; a good one leads to the job's page, which follows the job to its report."""
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    page.goto(f"{site.url}/evaluate?target=digits")
    page.get_by_label("Norm").select_option("l2")
    assert page.get_by_label("Radii").input_value() == "1, 1.5, 2"
    page.get_by_label("Norm").select_option("linf")
    page.get_by_label("Images").fill("8")
    page.get_by_label("Radii").fill("much")
    page.locator("#start").click()
    page.locator('[data-wrong="threat.epsilons"]').get_by_text("expected").wait_for(timeout=PATIENCE)
    assert page.get_by_label("Radii").get_attribute("aria-invalid") == "true"
    page.get_by_label("Radii").fill("1/10")
    page.locator("#start").click()
    page.wait_for_url("**/jobs/*", timeout=PATIENCE)
    page.locator("#open-report").wait_for(timeout=PATIENCE)
    assert page.locator("#state .word").inner_text() == "succeeded"
    page.locator("#open-report").click()
    page.wait_for_url("**/reports/*", timeout=PATIENCE)
    assert page.locator("h1").count() == 1
    context.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_an_image_is_tried(browser: "Browser", site: Site, width: int, tmp_path: Path) -> None:
    """The slider, a sample and an upload each bring an answer; nothing is said on the console."""
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    watch = Watch.on(page)
    page.goto(f"{site.url}/try?model=digits")
    site.try_once()
    page.locator("#go").click()
    page.locator("#result .verdict").wait_for(timeout=PATIENCE)
    assert "members answer" in page.locator("#result .verdict").inner_text()
    assert page.locator("#result .pictures img").count() == 3
    page.get_by_label("Radius").fill("0")
    page.get_by_text("still answers").first.wait_for(timeout=PATIENCE)
    assert page.locator("#epsilon-shown").inner_text() == "0"
    photograph(page, "try-answered", width)
    image = tmp_path / "mine.png"
    Image.new("RGB", (30, 20), "white").save(image)
    page.get_by_label("Or your own").set_input_files(image)
    page.get_by_text("as the base answers").wait_for(timeout=PATIENCE)
    assert serious_faults(page) == []
    # A busy machine may answer late, which the page says and the browser notes; nothing else may be said.
    assert [line for line in watch.complaints if "504" not in line] == []
    assert watch.outside(site.url) == []
    context.close()


def test_pages_work_without_script(browser: "Browser", site: Site) -> None:
    """Without script the forms are posted: a try answers with a page, a job leads to its page."""
    site.try_once()
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site.url}/try?model=digits")
    page.locator("#go").click()
    page.locator("#result .verdict").wait_for(timeout=PATIENCE)
    page.goto(f"{site.url}/evaluate")
    page.get_by_label("Images").fill("8")
    page.get_by_label("Radii").fill("much")
    page.locator("#start").click()
    page.locator('[data-wrong="threat.epsilons"]').get_by_text("expected").wait_for(timeout=PATIENCE)
    page.get_by_label("Radii").fill("0.1")
    page.locator("#start").click()
    page.wait_for_url("**/jobs/*", timeout=PATIENCE)
    context.close()


def test_a_try_is_remembered_and_refused_with_reason(site: Site) -> None:
    """The same order is answered from memory; what cannot be is told why, without a 5xx."""
    client = site.service.client
    assert site.try_once(seed=5).status_code == 200
    again = client.post("/api/v1/try", json=ORDER | {"seed": 5}).json()
    assert again["cached"] is True
    assert len(again["adversarial"]["members"]) == 2
    wrong: list[tuple[dict[str, Any], int]] = [
        ({"target": "nobody"}, 404),
        ({"attack": "__class__"}, 422),
        ({"steps": 41}, 422),
        ({"epsilon": -1}, 422),
        ({"norm": "l1", "attack": "apgd_ce"}, 422),
        ({"image": {"dataset": "nothing", "index": 0}}, 422),
        ({"image": {"sha256": "0" * 64}}, 422),
        ({"image": {"dataset": "digits", "index": 10**6}}, 422),
        ({"extra": 1}, 422),
    ]
    for changes, status in wrong:
        answer = client.post("/api/v1/try", json=ORDER | changes)
        assert answer.status_code == status, (changes, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"


def test_uploads_are_bounded(site: Site) -> None:
    """Three formats up to 4 MiB are taken and given back as a PNG; everything else is refused."""
    client = site.service.client
    written = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(written, format="PNG")
    kept = client.post("/api/v1/try/images", content=written.getvalue(), headers={"Content-Type": "image/png"})
    assert kept.status_code == 201
    assert client.get(kept.headers["location"]).content.startswith(b"\x89PNG")
    refused = [
        (written.getvalue(), "text/html", 415),
        (b"no image", "image/png", 400),
        (bytes((4 << 20) + 1), "image/png", 413),
    ]
    for data, media, status in refused:
        answer = client.post("/api/v1/try/images", content=data, headers={"Content-Type": media})
        assert answer.status_code == status, answer.text
    assert client.get("/api/v1/try/images/..%2f..%2fservice.json").status_code == 404
    assert client.get(f"/api/v1/try/images/{'0' * 64}").status_code == 404
