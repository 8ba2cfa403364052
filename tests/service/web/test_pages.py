"""The pages show what the API says, run nothing a user wrote, and load nothing from elsewhere.

Mutations seen to fail: autoescape off; `| urlencode` dropped; an inline script; a stylesheet from another host; `scope`
dropped from a heading; the refresh kept after the last state; events oldest first.
"""

from collections.abc import Callable

import pytest

from service.web.compare_page import compare_page
from service.web.docs_page import docs_page
from service.web.pages import (
    render_compare,
    render_dashboard,
    render_docs,
    render_error,
    render_evaluate,
    render_job,
    render_login,
    render_model,
    render_try,
)
from service.web.policy import PAGE_POLICY
from service.web.records import MEANINGS, job_row, moment
from service.web.rendering import static_folder
from tests.service.web import samples
from tests.service.web.markup import Page, accessibility_faults

HEADLINE = "keeps 11.0\u202f% at L∞ 0.3 (white box), base 0.0\u202f%; clean 96.5\u202f%. NO CLAIM"
READY = {"live": True, "ready": True}
STATES = sorted(MEANINGS)
PAGES: dict[str, Callable[[], str]] = {
    "dashboard": lambda: render_dashboard(
        [samples.model()], [samples.job(s) for s in STATES], [samples.report()], READY
    ),
    "empty": lambda: render_dashboard([], [], [], {"live": True, "ready": False}),
    "model": lambda: render_model(
        samples.model(generation=samples.generation(8)), costs={"rows": 64, "base": 1, "member": 1.2, "ensemble": 6}
    ),
    "model without a record": lambda: render_model(samples.model()),
    "evaluate": lambda: render_evaluate(samples.form()),
    "evaluate, refused": lambda: render_evaluate(samples.form({"threat.epsilons.0": "expected a number"})),
    "evaluate, nothing stored": lambda: render_evaluate(samples.form(models=[])),
    "try": lambda: render_try(samples.try_form_of()),
    "try, answered": lambda: render_try(samples.try_form_of(answer=samples.answer())),
    "try, refused": lambda: render_try(samples.try_form_of(problem="epsilon: expected less")),
    "try, nothing stored": lambda: render_try(samples.try_form_of(models=[])),
    "compare": lambda: render_compare(
        compare_page(
            [samples.report(), samples.report(id="report-2")],
            chosen=("report-1", "report-2"),
            sides=[samples.report(), samples.report(id="report-2")],
            comparison=samples.comparison(),
        )
    ),
    "compare, nothing written": lambda: render_compare(compare_page([])),
    "docs": lambda: render_docs(docs_page(samples.DOCUMENT)),
    "so far": lambda: render_job(samples.job(), samples.events(), so_far=samples.so_far()),
    "login": lambda: render_login(needed=True, problem="key: expected another"),
    "login, without keys": lambda: render_login(needed=False),
    "signed in": lambda: render_job(samples.job(), samples.events(), csrf="a" * 64),
    "error": lambda: render_error(404, "No such job", "job 'x': expected a known id"),
    **{state: (lambda state=state: render_job(samples.job(state), samples.events())) for state in STATES},  # type: ignore[misc]
}


@pytest.fixture(params=sorted(PAGES))
def page(request: pytest.FixtureRequest) -> Page:
    """Return each page in turn, parsed."""
    return Page.of(PAGES[request.param]())


def test_pages_load_only_from_their_own_origin(page: Page) -> None:
    """Every reference is a path on this server or a place on the page, and every static file exists."""
    for reference in page.references:
        assert reference.startswith(("/", "#", "data:image/png;base64,")), reference
        assert not reference.startswith("//"), reference
        if reference.startswith("/static/"):
            assert (static_folder() / reference.removeprefix("/static/")).is_file(), reference


def test_pages_carry_no_code_of_their_own(page: Page) -> None:
    """There is no inline script, style block, style attribute or event handler: the policy would refuse them."""
    assert page.styles == []
    sources = [script.attributes.get("src", "") for script in page.all("script")]
    assert sources[0] == "/static/live.js"
    assert all(source.startswith("/static/") for source in sources)
    for element in page.elements:
        assert not [name for name in element.attributes if name.startswith("on") or name == "style"], element


def test_pages_forbid_everything_else(page: Page) -> None:
    """The policy starts from nothing, and the header adds that nobody may frame the page."""
    policy = page.policy()
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in str(policy)
    assert PAGE_POLICY.endswith("frame-ancestors 'none'")


def test_pages_are_accessible(page: Page) -> None:
    """One h1, headings in order, named regions and bars, scoped headings, links that lead somewhere."""
    assert accessibility_faults(page) == []


@pytest.mark.parametrize("place", ["metadata", "target", "error", "event", "model", "report", "id"])
def test_user_text_is_shown_and_never_run(place: str) -> None:
    """Text that a client chose appears as it was typed; it makes no element and no attribute."""
    hostile = samples.HOSTILE
    job, log, models, reports = samples.job("failed"), samples.events(), [samples.model()], [samples.report()]
    if place == "metadata":
        job["metadata"] = {hostile: hostile}
    elif place == "target":
        job["spec"]["target"] = hostile
    elif place == "error":
        job["error"] = {"code": hostile, "message": hostile}
    elif place == "event":
        log[0]["data"] = {"message": hostile, "detail": [hostile]}
    elif place == "model":
        models = [samples.model(name=hostile, dataset=hostile)]
    elif place == "report":
        reports = [samples.report(id=hostile, status=hostile)]
    else:
        job["id"] = hostile
    texts = [render_job(job, log), render_dashboard(models, [job], reports, {"ready": True, "note": hostile})]
    texts += [render_model(models[0]), render_evaluate(samples.form(models=models, values={"data.n": hostile}))]
    for text in texts:
        page = Page.of(text)
        assert all(script.attributes["src"].startswith("/static/") for script in page.all("script"))
        assert all(image.attributes["src"].startswith("/static/") for image in page.all("img"))
        assert not [name for e in page.elements for name in e.attributes if name.startswith("on")]
        assert all(reference.startswith(("/", "#")) for reference in page.references)
        assert "49" not in page.text
    assert any("alert(1)" in Page.of(text).text for text in texts)


def test_the_dashboard_names_what_it_lists() -> None:
    """Ensembles, jobs and reports appear with the words and numbers of their resources."""
    text = Page.of(PAGES["dashboard"]()).text
    for words in ("digits-cnn", "1 × 8 × 8", "17 of 46 shards", "L∞ ≤ 0.3", "INCOMPLETE", HEADLINE, "ready"):
        assert words in text, words
    assert "safe." in text


def test_an_empty_dashboard_says_what_to_do() -> None:
    """A new user sees the commands that fill each list, and that the service is not ready."""
    text = Page.of(PAGES["empty"]()).text
    assert "levelset demo" in text
    assert "/api/v1/jobs" in text
    assert "not ready" in text


@pytest.mark.parametrize("state", STATES)
def test_a_job_page_offers_what_its_state_allows(state: str) -> None:
    """Buttons follow the state, a finished job links its report, a failed one says why."""
    page = Page.of(render_job(samples.job(state), samples.events()))
    actions = {form.attributes["data-action"] for form in page.all("form")}
    allowed = {"queued": {"pause", "cancel"}, "running": {"pause", "cancel"}, "paused": {"resume", "cancel"}}
    allowed |= {"failed": {"retry"}, "cancelled": {"retry"}}
    assert actions == allowed.get(state, set())
    assert ("/reports/report-1" in page.references) == (state == "succeeded")
    assert ("expected files, got none" in page.text) == (state == "failed")


@pytest.mark.parametrize("state", STATES)
def test_a_job_page_follows_the_job_until_it_ends(state: str) -> None:
    """Open jobs ask to be read again, also without script; the others stop asking."""
    page = Page.of(render_job(samples.job(state), []))
    live = state in ("queued", "running", "pausing", "cancelling")
    (main,) = page.all("main")
    assert ("data-refresh" in main.attributes) == live
    assert bool([m for m in page.all("meta") if m.attributes.get("http-equiv") == "refresh"]) == live


def test_events_stand_newest_first() -> None:
    """The newest event is on top, whatever order the events came in."""
    text = Page.of(render_job(samples.job(), samples.events(5)[::-1])).text
    assert text.index("shard 5 of 46") < text.index("shard 1 of 46") < text.index("queued → running")


def test_live_parts_have_names_that_the_script_can_find() -> None:
    """Each part that the script swaps has an id, since it looks it up in the fresh page."""
    for make in PAGES.values():
        for element in Page.of(make()).elements:
            if "data-live" in element.attributes:
                assert element.attributes.get("id"), element


@pytest.mark.parametrize(
    ("progress", "state", "fraction", "words"),
    [
        ({"shards_total": 4, "shards_done": 1}, "running", 0.25, "1 of 4 shards"),
        ({"shards_total": None, "shards_done": 0}, "queued", 0.0, "not planned yet"),
        ({"shards_total": 4, "shards_done": 9, "fraction": 2.25}, "running", 1.0, "9 of 4 shards"),
        ({}, "succeeded", 1.0, "not planned yet"),
    ],
)
def test_progress_is_a_fraction_between_nothing_and_all(
    progress: dict[str, int | None], state: str, fraction: float, words: str
) -> None:
    """Progress is done over total, kept within the bar, complete when the job is."""
    row = job_row(samples.job(state, progress=progress))
    assert row.fraction == pytest.approx(fraction)
    assert row.progress.startswith(words)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02 03:04:05 UTC"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02 01:04:05 UTC"),
        (1767323045000, "2026-01-02 03:04:05 UTC"),
    ],
)
def test_times_are_shown_in_utc(value: object, expected: str) -> None:
    """RFC 3339 text with any offset and milliseconds since the epoch give the same kind of words."""
    shown = moment(value)
    assert shown is not None
    assert shown.human == expected


@pytest.mark.parametrize("value", [None, "yesterday", True])
def test_what_is_no_time_is_left_out(value: object) -> None:
    """A missing or malformed time never breaks a page."""
    assert moment(value) is None
