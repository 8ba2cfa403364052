"""`levelset figures`: pictures, numbers and the page of one figure, and refusals in words.

Seen to fail when: a figure's PNG is not written; the page names another picture; figure 8 is run; an unknown figure
raises KeyError; the missing figure is left out of the page.
"""

import json
from pathlib import Path

import pytest

from ensemble.paper import MISSING, TABLE
from service.catalogue import figure_data
from service.catalogue.figures import rows as rows_of
from service.web.paper import render
from tests.ensemble.paper.test_drawing import report
from tests.service.cli.conftest import Levelset


def test_one_figure_is_written_whole(levelset: Levelset, tmp_path: Path) -> None:
    """SVG and PNG of both tracks, strict JSON, and a page that shows them with the table and the defects."""
    shown = levelset("figures", "--figure", "4", "--output", tmp_path)
    assert shown.code == 0
    for track in ("as_published", "corrected"):
        assert (tmp_path / f"figure4-{track}.svg").read_text().startswith("<?xml")
        assert (tmp_path / f"figure4-{track}.png").read_bytes().startswith(b"\x89PNG")
    document = json.loads((tmp_path / "figures.json").read_text())
    assert [figure["figure"] for figure in document["figures"]] == [4]
    page = (tmp_path / "figures.html").read_text()
    for words in ("figure4-corrected.svg", "compute_Q", "(100, 200, 100)", "agrees", "Settings"):
        assert words in page
    assert "does not agree" not in page
    assert "agrees" in shown.out


def test_the_page_says_what_is_not_shown_and_what_is_shortened() -> None:
    """Figure 8 has its reason; a shortened figure names the command that runs it in full; markup is escaped."""
    page = render([report()], MISSING)
    assert "Figure 8" in page
    assert "not known" in page
    assert "levelset figures --full --figure 3" in page
    assert "script-src" not in page
    assert "<script" not in page
    assert "levelset figures --full" not in render([report(full=True)], {})


@pytest.mark.parametrize(("number", "words"), [("8", "not known"), ("12", "expected one of [10, 11, 3")])
def test_figures_that_are_not_there_are_refused(levelset: Levelset, tmp_path: Path, number: str, words: str) -> None:
    """One message, exit code 1, nothing written."""
    shown = levelset("figures", "--figure", number, "--output", tmp_path / "out")
    assert shown.code == 1
    assert words in shown.err
    assert not (tmp_path / "out").exists()


def test_every_figure_of_both_packages_has_a_row() -> None:
    """3 to 7, 9, 10 and 11; images are read only when a row that needs them runs."""
    rows = rows_of(lambda limit: pytest.fail("no image is needed to list the figures"))
    assert [row.number for row in rows] == [*(row.number for row in TABLE), 10, 11]


def test_digits_stand_in_where_there_is_no_cifar(tmp_path: Path) -> None:
    """They are named as what they are and are never compared with official numbers."""
    data = figure_data.load(None, tmp_path, limit=100)
    assert data.name.startswith("digits")
    assert not data.comparable
    assert data.train.pixels.shape == (100, 1, 8, 8)


def test_a_named_folder_without_images_is_refused(levelset: Levelset, tmp_path: Path) -> None:
    """A typing error must not silently become the digits."""
    shown = levelset("figures", "--figure", "10", "--images", tmp_path, "--output", tmp_path / "out")
    assert shown.code == 1
    assert "cifar10_jpeg.npz" in shown.err
