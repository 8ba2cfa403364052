"""The pages of a real service by keyboard alone: what can be used is reached in reading order, and seen to be."""

from typing import TYPE_CHECKING, Any

import pytest

from tests.service.web.real_site import CHROMIUM, PATIENCE, Site, pages_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest.importorskip("playwright.sync_api", reason="playwright is not installed; the extra `dev` brings it")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not there: apt-get install chromium"),
]
USABLE = "a[href], button, input:not([type=hidden]), select, summary, [tabindex='0']"
STOPS = 400
# Where the focus is: its place among all elements, whether it can be seen, and its name among radio buttons.
FOCUS = """() => {
    const at = document.activeElement;
    if (at === null || at === document.body) return null;
    const shown = getComputedStyle(at.closest(".thumb") ?? at);
    return {
        place: [...document.querySelectorAll("*")].indexOf(at),
        seen: shown.outlineStyle !== "none" && parseFloat(shown.outlineWidth) >= 1,
        html: at.outerHTML.slice(0, 120),
    };
}"""
# The places of what can be used; of radio buttons of one name only the chosen one is a stop.
PLACES = """(usable) => {
    const all = [...document.querySelectorAll("*")];
    return all.map((one, place) => [one, place]).filter(([one]) => one.matches(usable) && one.checkVisibility()
        && !one.disabled && (one.type !== "radio" || one.checked)).map(([, place]) => place);
}"""


def walk(page: "Page") -> list[dict[str, Any]]:
    """Return every place that Tab comes to, from the top of the page to its end."""
    found: list[dict[str, Any]] = []
    for _ in range(STOPS):
        page.keyboard.press("Tab")
        at = page.evaluate(FOCUS)
        if at is None or (found and at["place"] == found[0]["place"]):
            return found
        found.append(at)
    raise AssertionError(f"Tab never comes to the end of {page.url}")


@pytest.mark.parametrize("name", ["dashboard", "model", "evaluate", "job", "report", "compare", "try", "login"])
def test_tab_reaches_everything_in_reading_order(browser: "Browser", site: Site, name: str) -> None:
    """No trap, nothing left out, each stop outlined; the first one jumps over the header."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(site.url + pages_of(site)[name])
    stops = walk(page)
    places = [stop["place"] for stop in stops]
    assert places == sorted(places)
    assert set(page.evaluate(PLACES, USABLE)) <= set(places)
    assert [stop["html"] for stop in stops if not stop["seen"]] == []
    assert 'class="skip"' in stops[0]["html"]
    context.close()


def test_the_skip_link_leads_to_the_content(browser: "Browser", site: Site) -> None:
    """It is seen once it has the focus, and the next stop lies in the content."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{site.url}/evaluate")
    page.keyboard.press("Tab")
    box = page.locator(".skip").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")
    context.close()


def test_an_attack_is_tried_by_keyboard(browser: "Browser", site: Site) -> None:
    """Arrows move the slider by a notch and choose a sample; the value and the answer are told in words."""
    site.try_once()
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{site.url}/try?model=digits")
    slider = page.get_by_label("Radius")
    before = float(slider.input_value())
    page.evaluate("window.told = document.getElementById('news')")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert float(slider.input_value()) > before
    assert slider.get_attribute("aria-valuetext") == page.locator("#epsilon-shown").inner_text()
    page.locator("#news", has_text="members answer").wait_for(state="attached", timeout=PATIENCE)
    assert page.evaluate("window.told.isConnected && window.told.getAttribute('role')") == "status"
    page.keyboard.press("Home")
    assert slider.input_value() == "0"
    page.locator('input[name="index"]:checked').focus()
    page.keyboard.press("ArrowRight")
    assert page.locator('input[name="index"]:checked').get_attribute("value") == "1"
    context.close()
