"""The report page says what the report says, runs nothing, loads nothing, and is the same every time.

Mutations seen to fail: the status left out of the headline; the interval's ends swapped; the bar drawn from the count;
NOT-RUN checks dropped; autoescape off; a font from another host; a second style block; the style changed after its
digest was taken; `alt` dropped; raw attacks of the base mixed into the ensemble's; `b` and `c` of a comparison swapped.
"""

import base64
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from attacks.report import EvaluationReport
from service.web.policy import digest_source, report_header_policy
from service.web.report import render_html, render_markdown, view_of
from tests.service.web import reports
from tests.service.web.markup import Page, accessibility_faults

OUTLINE = Path(__file__).parent / "report-1.0.outline.txt"
LIMIT_BYTES = 2_000_000
LIMIT_TEXT_BYTES = 500_000


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    """Return the sample report."""
    return reports.sample()


@pytest.fixture(scope="module")
def html(report: EvaluationReport) -> str:
    """Return its page."""
    return render_html(report)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    """Return its page, parsed."""
    return Page.of(html)


def outline(page: Page) -> str:
    """Return headings and table heads in order: the bones of a page, without its numbers."""
    lines, wanted = [], {"h1", "h2", "h3", "figure", "details", "nav", "main", "footer", "table", "dl"}
    for element in page.elements:
        if element.tag in wanted:
            marks = " ".join(element.attributes.get(name, "") for name in ("id", "class", "aria-label")).split()
            lines.append(" ".join([element.tag, *marks]))
    return "\n".join(lines) + "\n"


def test_the_page_has_the_agreed_structure(page: Page) -> None:
    """Sections, tables and figures stand in the checked-in order; a change of it is a decision."""
    assert outline(page) == OUTLINE.read_text(encoding="utf-8")


def test_the_page_is_the_same_every_time(report: EvaluationReport, html: str) -> None:
    """Rendering is a function of the report: equal bytes, charts included."""
    assert render_html(report) == html
    again = EvaluationReport.model_validate_json(report.to_json())
    assert render_html(again) == html


def test_the_page_loads_nothing(html: str, page: Page) -> None:
    """Every reference is a place on the page or data inside it; the style sheet fetches nothing."""
    for reference in page.references:
        assert reference.startswith(("#", "data:image/svg+xml;base64,")), reference[:80]
    style = "".join(page.styles)
    assert "url(" not in style
    assert "@import" not in style
    assert "@font-face" not in style
    for picture in embedded(page):
        root = ElementTree.fromstring(picture)
        for element in root.iter():
            for name, value in element.attrib.items():
                assert not name.endswith("href") or value.startswith(("#", "data:image/png;base64,")), value[:80]
        assert b"url(http" not in picture


def embedded(page: Page) -> list[bytes]:
    """Return every picture inside the page."""
    return [base64.b64decode(r.partition(",")[2]) for r in page.references if r.startswith("data:image/svg+xml")]


def test_the_page_runs_nothing(page: Page) -> None:
    """There is no script, no form, no frame, no handler and no style attribute."""
    assert not {element.tag for element in page.elements} & {"script", "form", "iframe", "object", "embed", "base"}
    for element in page.elements:
        assert not [name for name in element.attributes if name.startswith("on") or name == "style"], element


def test_the_policy_allows_the_one_style_block_and_data_images_only(html: str, page: Page) -> None:
    """The digest in the policy is that of the style block as it stands in the page, header and meta alike."""
    (style,) = page.styles
    assert page.policy() == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": digest_source(style),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert report_header_policy(html).endswith("; frame-ancestors 'none'")
    assert digest_source(style) in report_header_policy(html)
    with pytest.raises(ValueError, match="exactly one style block"):
        report_header_policy(html.replace("</head>", "<style>x</style></head>"))


def test_the_policy_comes_before_what_it_governs(page: Page) -> None:
    """The meta policy is the first element after the character set: later ones cannot slip past it."""
    head = [element for element in page.elements if element.tag in ("meta", "style", "title", "link")]
    assert head[0].attributes.get("charset") == "utf-8"
    assert head[1].attributes.get("http-equiv") == "Content-Security-Policy"


def test_the_page_is_small(html: str) -> None:
    """A report fits into an e-mail: 2 MB at most, half a megabyte without images of inputs."""
    assert len(html.encode()) <= min(LIMIT_BYTES, LIMIT_TEXT_BYTES)


def test_the_page_is_accessible(page: Page) -> None:
    """Headings in order, named regions, scoped headings, alternatives for charts, links that lead somewhere."""
    assert accessibility_faults(page) == []
    assert all(len(image.attributes["alt"]) > 60 for image in page.all("img"))
    assert len(page.all("details")) >= len(page.all("img"))


@pytest.mark.parametrize("value", ["UNRELIABLE", "INCOMPLETE", "CHECKED"])
def test_the_status_is_a_word_and_comes_first(value: str) -> None:
    """The status opens the headline as a word, in title, page and Markdown; it is not only a colour."""
    changed = reports.with_status(value)
    text = Page.of(render_html(changed)).text
    label = "CHECKED, 3 warnings" if value == "CHECKED" else value
    assert f"{label} On n = 200 images" in text
    assert text.index(label) < text.index("In one table")
    assert render_markdown(changed).splitlines()[4].startswith(f"**{label}** On n = 200")
    assert "robust" not in re.sub(r"robustness|robust_accuracy", "", text)


def test_the_headline_is_the_report_s_own(report: EvaluationReport, page: Page) -> None:
    """No word of the headline sentence or of its limits is lost or changed."""
    said = report.headline.sentence.removeprefix(f"[{report.status.label}] ").removesuffix(report.headline.limits)
    assert said.strip() in page.text
    assert report.headline.limits in page.text


def test_proportions_carry_count_value_and_interval(report: EvaluationReport) -> None:
    """The first table shows k, n, share and both ends, and the bar stands where the numbers say."""
    (clean, *under) = view_of(report).ranges
    lead = clean.ranges[0]
    of = report.headline.clean_accuracy
    assert lead.lead
    assert lead.count == f"{of.k} of {of.n}"
    assert of.value is not None
    assert of.low is not None
    assert of.high is not None
    assert lead.value == f"{100 * of.value:.1f}\u202f%"
    assert lead.interval == f"[{100 * of.low:.1f}, {100 * of.high:.1f}]\u202f%"
    assert (lead.low, lead.at, lead.high) == pytest.approx((100 * of.low, 100 * of.value, 100 * of.high))
    assert under[0].title == "White box, L∞ ≤ 0.3"
    assert under[0].ranges[0].count == f"{report.headline.robust_accuracy.k} of {report.headline.robust_accuracy.n}"


def test_the_weakest_member_stands_for_all(report: EvaluationReport) -> None:
    """One row names the worst member, and its count is the least of the members'."""
    clean = view_of(report).ranges[0]
    (row,) = [one for one in clean.ranges if one.label.startswith("weakest of 8 members")]
    counts = [item.clean_accuracy.k for item in report.clean if item.target.startswith("member-")]
    assert row.count == f"{min(counts)} of 200"


def test_the_numbers_behind_a_chart_are_the_report_s(report: EvaluationReport) -> None:
    """Each threat model's table holds every network's worst case, and single attacks of the served one only."""
    for model, threat in zip(report.threat_models, view_of(report).threats, strict=True):
        (figure,) = threat.figures
        rows = {(row[0], row[1]): row[2:] for row in figure.data.rows}
        for result in model.results:
            name = {"ensemble": "served ensemble", "base": "base network"}.get(result.target)
            if name is None:
                continue
            cell = rows[name, "worst case"][1 + model.epsilons.index(result.epsilon)]
            assert result.robust_accuracy.value is not None
            assert cell.startswith(f"{100 * result.robust_accuracy.value:.1f}\u202f%")
        singles = {(name, attack) for name, attack in rows if attack != "worst case"}
        assert {name for name, _ in singles} == {"served ensemble"}
        served = next(result for result in model.results if result.target == "ensemble")
        assert {attack for _, attack in singles} == {raw.attack for raw in served.raw}


def test_comparisons_show_who_won(report: EvaluationReport) -> None:
    """A comparison's row gives won, lost and the signed difference in points, as the report has them."""
    gain = report.threat_models[0].gains[0]
    table = view_of(report).threats[0].gains
    assert table is not None
    cells = table.rows[0]
    assert cells[:4] == ("base network", "0.1", str(gain.b), str(gain.c))
    assert cells[4] == f"+{100 * gain.gain:.1f}"
    worse = [row for row, one in zip(table.rows, report.threat_models[0].gains, strict=True) if one.gain < 0]
    assert worse
    assert all(row[4].startswith("\N{MINUS SIGN}") for row in worse)


def test_every_check_is_printed_with_its_reason(report: EvaluationReport, page: Page) -> None:
    """No check is hidden: each has a row with its status, and what was not run says why."""
    ids = {element.attributes.get("id") for element in page.all("tr")}
    for check in report.checks:
        assert f"check-{check.id}" in ids
        assert check.rule in page.text
        assert check.reason in page.text
    view = view_of(report)
    assert sum(count for _, count in view.tally) == len(report.checks)
    assert len(view.checks_not_run) == dict(view.tally)["NOT-RUN"]
    for item in report.not_run:
        assert item.what in page.text
        assert item.why in page.text


def test_provenance_names_every_digest(report: EvaluationReport, page: Page) -> None:
    """Whoever repeats the evaluation finds networks, inputs, seeds and versions, and the report's own digest."""
    subject = report.subject
    digests = [subject.ensemble_digest, subject.base_digest, report.data.digest, report.digest]
    for digest in [*digests, *subject.control_digests.values(), subject.calibration_digest or ""]:
        assert digest in page.text
    assert report.environment.torch in page.text


def test_hostile_text_is_shown_and_never_run() -> None:
    """Every string of a report may be hostile: it makes no element, no attribute and no reference."""
    html = render_html(reports.hostile())
    page = Page.of(html)
    assert "alert(1)" in page.text
    assert not page.all("script")
    assert not [name for e in page.elements for name in e.attributes if name.startswith("on")]
    assert all(image.attributes["src"].startswith("data:image/svg+xml;base64,") for image in page.all("img"))
    assert all(reference.startswith(("#", "data:image/svg+xml")) for reference in page.references)
    for picture in embedded(page):
        ElementTree.fromstring(picture)
    text = render_markdown(reports.hostile())
    assert "<script" not in text
    assert "<img" not in text


def test_a_single_network_has_a_report_too() -> None:
    """Without members, controls, transfer and comparisons the page still renders, and says so in its title."""

    def strip(document: Any) -> None:
        keep = {"base", "ensemble"}
        document["subject"] |= {"members": 0, "target": "network", "group": None, "calibration_digest": None}
        document["headline"]["target"] = "network"
        document["transfer"] = None
        document["clean"] = [one for one in document["clean"] if one["target"] in keep]
        for model in document["threat_models"]:
            model["results"] = [one for one in model["results"] if one["target"] in keep]
            model["gains"] = []
        for part in [document["clean"], *(model["results"] for model in document["threat_models"])]:
            for one in part:
                one["target"] = one["target"].replace("ensemble", "network")

    page = Page.of(render_html(reports.changed(strip)))
    assert "A single network under attack, on digits" in page.text
    assert "served network" in page.text
    assert accessibility_faults(page) == []


def test_rates_without_enough_cases_are_dashes() -> None:
    """A null rate is printed as a dash with its denominator, never as nought or as all."""

    def few(document: Any) -> None:
        document["transfer"]["rate"] = [[None] * len(document["transfer"]["members"])]
        document["transfer"]["denominators"] = [[7] * len(document["transfer"]["members"])]

    (figure,) = view_of(reports.changed(few)).transfer
    assert {(row[2], row[3]) for row in figure.data.rows} == {("–", "7")}


def test_several_norms_have_a_curve_each() -> None:
    """Two threat models of the same name differ in norm: each has its own heading and its own numbers."""

    def second(document: Any) -> None:
        for model in [*document["threat_models"]]:
            other = model | {"norm": "l2", "results": [one | {"norm": "l2"} for one in model["results"]]}
            document["threat_models"].append(other)

    page = Page.of(render_html(reports.changed(second)))
    for heading in ("White box, L∞", "White box, L2", "Stolen base network, L2"):
        assert heading in page.text
    assert accessibility_faults(page) == []


def test_jpeg_images_are_named_as_such() -> None:
    """A re-encoded data set is said to be one in the limits."""
    made = reports.changed(lambda document: document["data"].update(encoding="JPEG re-encoded"))
    assert any("re-encoded as JPEG" in limit for limit in view_of(made).limits)
    assert not any("JPEG" in limit for limit in view_of(reports.sample()).limits)


def test_markdown_has_the_same_sections(report: EvaluationReport, page: Page) -> None:
    """Markdown carries every section of the page and every row of its tables."""
    text = render_markdown(report)
    for title in (
        "In one table",
        "Accuracy by threat model",
        "Attacks",
        "Transfer",
        "Checks",
        "Costs",
        "Provenance",
        "Limits",
    ):
        assert f"## {title}\n" in text
        assert title in page.text
    assert text.count("\n| ") >= len(report.checks) + len(report.attacks)
    widths = [line.count(" | ") for line in text.splitlines() if line.startswith("| Check |")]
    assert widths
    assert set(widths) == {3}


def test_rendering_needs_neither_torch_nor_the_attack_library() -> None:
    """The page modules are importable without the heavy half, and pages do not even load matplotlib."""
    code = (
        "import sys, service.web.report, service.web.pages; service.web.pages.render_error(404, 'x');"
        "print([m for m in ('torch', 'foolbox', 'attacks', 'matplotlib', 'fastapi') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
