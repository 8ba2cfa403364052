"""Gallery, certificate bracket, remedies, cold runs and random serving on the page say what the report says.

Seen to fail when: the pictures of an item are swapped; a picture that is no PNG gets an address; the bracket takes the
accuracy of another network or radius; remedies are dropped; the certified line is drawn under every threat model.
"""

import base64
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from attacks.gallery import png
from attacks.report import EvaluationReport
from service.web.gallery import source
from service.web.report import render_html, render_markdown, view_of
from tests.service.web import reports
from tests.service.web.markup import Page, accessibility_faults
from tests.service.web.samples import HOSTILE

OUTLINE = Path(__file__).parent / "report-1.2.outline.txt"
LIMIT_BYTES = 2_000_000


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    """Return a report of the standard suite on a small digits classifier."""
    return reports.standard()


@pytest.fixture(scope="module")
def html(report: EvaluationReport) -> str:
    """Return its page."""
    return render_html(report)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    """Return its page, parsed."""
    return Page.of(html)


def test_the_page_has_the_agreed_structure(page: Page) -> None:
    """Sections, tables and figures stand in the checked-in order."""
    wanted = {"h1", "h2", "h3", "figure", "details", "nav", "main", "footer", "table", "dl"}
    lines = []
    for element in page.elements:
        if element.tag in wanted:
            marks = " ".join(element.attributes.get(name, "") for name in ("id", "class", "aria-label")).split()
            lines.append(" ".join([element.tag, *marks]))
    assert "\n".join(lines) + "\n" == OUTLINE.read_text(encoding="utf-8")


def test_the_page_is_small_offline_and_accessible(html: str, page: Page) -> None:
    """At most 2 MB with its pictures; nothing is fetched, nothing runs; every picture has words."""
    assert len(html.encode()) <= LIMIT_BYTES
    assert accessibility_faults(page) == []
    allowed = ("#", "data:image/svg+xml;base64,", "data:image/png;base64,")
    assert all(reference.startswith(allowed) for reference in page.references)
    assert not page.all("script")
    assert not [e for e in page.elements if "style" in e.attributes]
    assert all(len(image.attributes["alt"]) > 40 for image in page.all("img"))


def test_each_exhibit_shows_its_own_pictures(report: EvaluationReport, page: Page) -> None:
    """Original, attacked and change stand in this order, with the answers beside them."""
    sources = [image.attributes["src"] for image in page.all("img") if "image/png" in image.attributes["src"]]
    expected = [png for item in report.gallery for png in (item.original_png, item.perturbed_png, item.difference_png)]
    assert [text.partition(",")[2] for text in sources] == expected
    assert len(report.gallery) == 12
    for item in report.gallery:
        assert f"Image {item.index} · class {item.label}" in page.text
        assert f"served answer {item.served_label}, base {item.base_label}" in page.text


def test_the_members_answers_are_counted(report: EvaluationReport) -> None:
    """Two members that say 3 and one that says 7 are written so."""

    def change(document: Any) -> None:
        document["gallery"][0] |= {"member_labels": [3, 7, 3], "served_label": 3, "base_label": 7}

    shown = view_of(reports.standard(change)).gallery[0]
    assert shown.answers == "served answer 3, base 7; of the members 2 say 3, 1 says 7"


def test_only_a_png_becomes_a_picture() -> None:
    """Anything else from a report has no address: no other kind of data, no text."""
    good = base64.b64encode(png(torch.rand(1, 2, 2))).decode()
    assert source(good) == f"data:image/png;base64,{good}"
    svg = base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>").decode()
    for bad in (svg, HOSTILE, "", good + '" onerror="alert(1)', "javascript:alert(1)"):
        assert source(bad) == ""


def test_hostile_text_in_new_fields_is_shown_and_never_run() -> None:
    """Remedies, kinds, attacks and pictures may hold anything; the page makes no element of it."""

    def poison(document: Any) -> None:
        for item in document["gallery"]:
            item |= {"kind": HOSTILE, "attack": HOSTILE, "original_png": HOSTILE}
        for check in document["checks"]:
            check["remedy"] = HOSTILE
        for row in (*document["audits"], *document["attacks_on_baselines"]):
            row["parameters"] = {HOSTILE: HOSTILE}
        for row in document["certificates"]:
            row |= {"method": HOSTILE, "target": HOSTILE}

    hostile = reports.standard(poison)
    page = Page.of(render_html(hostile))
    assert not page.all("script")
    assert not [name for e in page.elements for name in e.attributes if name.startswith("on")]
    assert all(image.attributes["src"].startswith("data:image/") for image in page.all("img"))
    assert "<script" not in render_markdown(hostile)


def test_remedies_stand_with_what_did_not_pass(report: EvaluationReport, page: Page) -> None:
    """Every warning, failure and missing check that applies says what to do, on the page and in Markdown."""
    text = re.sub(r"\\", "", render_markdown(report))
    wanted = [check for check in report.checks if check.status != "PASS" and check.applies]
    assert len(wanted) >= 4
    for check in wanted:
        assert f"To do: {check.remedy}." in page.text
        assert f"To do: {check.remedy}." in text
    for check in report.checks:
        assert bool(check.remedy) == (check in wanted)


def test_the_bracket_names_its_network_and_radius(report: EvaluationReport) -> None:
    """Certified, under attack and clean belong to the same network, norm and radius."""
    table = view_of(report).certificates
    assert table is not None
    rows = [row for row in table.rows if row[0] == "served ensemble"]
    model = next(one for one in report.threat_models if one.name == "white_box")
    results = {r.epsilon: r.robust_accuracy.value for r in model.results if r.target == "ensemble"}
    clean = next(one.clean_accuracy.value for one in report.clean if one.target == "ensemble")
    assert clean is not None
    assert len(rows) == len(results) == 3
    for row, (epsilon, value) in zip(rows, sorted(results.items()), strict=True):
        assert value is not None
        assert row[2] == f"L∞ ≤ {epsilon:g}"
        assert row[5] == f"{100 * value:.1f}\u202f%"
        assert row[6] == f"{100 * clean:.1f}\u202f%"
    assert {row[0] for row in table.rows if "inherited" in row[1]} == {"exact-symmetry ensembles"}


def test_the_certified_line_stands_under_the_white_box_only(report: EvaluationReport) -> None:
    """One chart has it, with the counts of the certificate."""

    def certify(document: Any) -> None:
        for row in document["certificates"]:
            row["certified"] |= {"k": 10, "n": 40, "low": 0.14, "high": 0.4}

    view = view_of(reports.standard(certify))
    for threat in view.threats:
        (figure,) = threat.figures
        lines = [series for series in figure.chart.series if series.name == "certified"]  # type: ignore[union-attr]
        assert len(lines) == (1 if threat.title.startswith("White box") else 0)
        for line in lines:
            assert [(point.epsilon, point.value) for point in line.points] == [(0.05, 0.25), (0.1, 0.25), (0.2, 0.25)]


def test_cold_runs_and_baselines_are_listed(report: EvaluationReport, page: Page) -> None:
    """Every cold run, every attack on a baseline and every digest of a baseline is on the page."""
    titles = [one.caption for one in view_of(report).further]
    assert len(titles) == 3
    for audit in report.audits:
        assert audit.attack in page.text
    for baseline in report.baselines:
        assert baseline.digest[:12] in page.text
    cold = view_of(report).further[1]
    first = report.audits[0]
    assert cold.rows[0][4] == f"{first.results[0].k} of {first.results[0].n}"


def test_the_matrix_says_its_spread(report: EvaluationReport) -> None:
    """The mean off the diagonal and its interval stand in the caption; cosines have members on both edges."""
    rates, cosines = view_of(report).transfer
    numbers = next(check.numbers for check in report.checks if check.id == "E3")
    assert f"mean {100 * numbers['mean']:.1f}\u202f%" in rates.caption
    assert cosines.chart.rows == cosines.chart.columns == ("m0", "m1", "m2")  # type: ignore[union-attr]
    assert cosines.data.rows[0][1] == "1.00"


def test_random_serving_has_its_own_table() -> None:
    """Expectation, conservative count and retries, per radius; nothing of it where the answer is not drawn."""

    def draw(document: Any) -> None:
        share = {"k": 7, "n": 100, "value": 0.07, "low": 0.03, "high": 0.14}
        for model in document["threat_models"]:
            for result in model["results"]:
                if result["target"] == "ensemble":
                    retry = {"1": 0.25, "3": 0.5, "10": 0.75}
                    result |= {"expected_accuracy": 0.33, "all_members_right": share, "retry": retry}

    assert all(threat.random is None for threat in view_of(reports.standard()).threats)
    (table,) = {threat.random for threat in view_of(reports.standard(draw)).threats[:1]}
    assert table is not None
    assert table.rows[0][1:] == ("33.0\u202f%", "7 of 100", "25.0\u202f%", "50.0\u202f%", "75.0\u202f%")
