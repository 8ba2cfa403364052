"""The table of the benchmarks says what the result files say.

Seen to fail with: a page that was not written again after a new result file, a result file without a reader.
"""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.readme import FOLDER, page

RESULTS = FOLDER / "results"


def test_the_page_is_in_step_with_the_results() -> None:
    """The page in the repository is the one made from the result files; `python -m benchmarks.readme` mends it."""
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == page(RESULTS)


def test_a_changed_result_changes_the_page(tmp_path: Path) -> None:
    """A number that a run wrote is a number on the page."""
    shutil.copy(RESULTS / "transfer_matrix.json", tmp_path)
    before = page(tmp_path)
    result = json.loads((tmp_path / "transfer_matrix.json").read_text(encoding="utf-8"))
    (tmp_path / "transfer_matrix.json").write_text(json.dumps({**result, "ratio": 0.77}), encoding="utf-8")
    assert "0.77" in page(tmp_path)
    assert "0.77" not in before


def test_a_result_without_a_reader_is_refused(tmp_path: Path) -> None:
    """No result is left off the page silently."""
    (tmp_path / "unheard.json").write_text("{}", encoding="utf-8")
    with pytest.raises(KeyError, match="unheard"):
        page(tmp_path)
