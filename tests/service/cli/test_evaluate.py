"""`levelset evaluate` and `levelset report` in this process.

Mutations seen to turn a test red: base and ensemble columns swapped; `-n` not passed on; the calibration digest left
out (the report's check turns NOT-RUN); the report written without its digest.
"""

import json
import shutil
from pathlib import Path

import pytest

from attacks import EvaluationReport
from service.catalogue.repository import ModelRepository
from service.cli import evaluating
from service.cli.report_files import read_report
from service.settings import Settings
from tests.service.cli.conftest import Levelset


@pytest.fixture(scope="module")
def evaluated(stock: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a report on forty images at one radius."""
    from service.cli import main

    out = tmp_path_factory.mktemp("report")
    with pytest.raises(SystemExit) as ended:
        main(
            [
                *("evaluate", "small", "-n", "40", "--epsilon", "0.1", "--seed", "3"),
                *("--data", str(stock / "var"), "--out", str(out)),
            ]
        )
    assert not ended.value.code
    return out


def test_evaluate_writes_one_report_in_three_forms(evaluated: Path) -> None:
    """JSON with its digest, HTML and Markdown, beside the examples; the order is recorded in it."""
    assert sorted(path.name for path in evaluated.iterdir()) == ["examples", "report.html", "report.json", "report.md"]
    assert list((evaluated / "examples").iterdir())
    report = read_report(evaluated / "report.json")
    assert report.report_digest == report.digest
    assert (report.data.name, report.data.split, report.data.n) == ("digits", "test", 40)
    assert report.threat_models[0].epsilons == [0.1]
    assert report.headline.epsilon == 0.1
    assert report.report_digest[:12] in (evaluated / "report.html").read_text()


def test_the_calibration_images_are_checked_against_the_judged_ones(evaluated: Path, stock: Path) -> None:
    """Check A8, disjoint data, could be run because digests and numbers of used images were handed over."""
    (check,) = [check for check in read_report(evaluated / "report.json").checks if check.id == "A8"]
    assert check.status == "PASS", check
    settings = Settings(data=stock / "var")
    evaluation = evaluating.prepare(evaluating.Order(target="small", count=9), evaluating.Here(settings=settings))
    info = ModelRepository(settings.models_folder).info("small")
    assert info.calibration_digest in evaluation.calibration_digests


def test_the_table_shows_the_reports_own_numbers(levelset: Levelset, evaluated: Path, tmp_path: Path) -> None:
    """Base and ensemble stand in their own columns, with their intervals, beside the radius."""
    report = read_report(evaluated / "report.json")
    shown = levelset("report", evaluated / "report.json", "--out", tmp_path)
    head = report.headline
    (row,) = [line for line in shown.out.splitlines() if "none (clean)" in line]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells[2].startswith(f"{100 * head.base_clean_accuracy.k / 40:.1f} %")
    assert cells[3].startswith(f"{100 * head.clean_accuracy.k / 40:.1f} %")
    (row,) = [line for line in shown.out.splitlines() if "stolen base" in line and "│" in line]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    stolen = {
        found.target: found.robust_accuracy
        for model in report.threat_models
        if model.name == "stolen_base"
        for found in model.results
    }
    assert cells[1] == "0.1"
    for cell, target in zip(cells[2:], ("base", head.target), strict=True):
        share = stolen[target]
        assert share.low is not None
        assert share.high is not None
        assert cell == f"{100 * share.k / share.n:.1f} % ({100 * share.low:.1f} to {100 * share.high:.1f})"


def test_report_draws_the_same_page_again(levelset: Levelset, evaluated: Path, tmp_path: Path) -> None:
    """From the JSON alone, byte for byte, beside the file or where it is told."""
    shown = levelset("report", evaluated / "report.json", "--out", tmp_path)
    assert shown.code == 0
    for name in ("report.html", "report.md", "report.json"):
        assert (tmp_path / name).read_bytes() == (evaluated / name).read_bytes()
    assert str(tmp_path / "report.html") in shown.out


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "got nothing at"), (b"", "evaluation report"), (b"{}", "evaluation report"), (b"\xff\xfe", "report")],
)
def test_report_refuses_what_is_no_report(
    levelset: Levelset, tmp_path: Path, content: bytes | None, message: str
) -> None:
    """Missing, empty, foreign or binary files: exit code 1, one message, nothing written."""
    path = tmp_path / "x.json"
    if content is not None:
        path.write_bytes(content)
    shown = levelset("report", path, "--out", tmp_path / "out")
    assert shown.code == 1
    assert message in shown.err
    assert not (tmp_path / "out").exists()


def test_a_changed_report_is_refused(levelset: Levelset, evaluated: Path, tmp_path: Path) -> None:
    """A number edited by hand no longer fits the digest."""
    content = json.loads((evaluated / "report.json").read_text())
    content["headline"]["clean_accuracy"]["k"] -= 1
    (tmp_path / "x.json").write_text(json.dumps(content))
    shown = levelset("report", tmp_path / "x.json")
    assert (shown.code, "digest" in shown.err) == (1, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epsilon", "-0.1"], "epsilon of the threat model"),
        (["--epsilon", "nan"], "epsilon of the threat model"),
        (["--norm", "l7"], "unknown norm"),
        (["--suite", "deepest"], "unknown suite"),
        (["--split", "holdout"], "unknown part"),
        (["-n", "100000"], "between 1 and its 306 images"),
        (["--dataset", "mnist"], "--download"),
        (["--device", "cuda:77"], "device: expected"),
    ],
)
def test_what_cannot_be_evaluated_is_said(
    levelset: Levelset, stock: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    """Each bad option has its own message, exit code 1, and no report is written."""
    shown = levelset("evaluate", "small", "--data", stock / "var", "--out", tmp_path / "out", *options)
    assert shown.code == 1
    assert message in " ".join(shown.err.split())
    assert not (tmp_path / "out").exists()


def test_an_order_the_shell_got_wrong_is_wrong_usage(levelset: Levelset, stock: Path) -> None:
    """A seed beyond what torch takes, and options that a service would not see, are refused as usage."""
    line = ("evaluate", "small", "--data", stock / "var")
    assert levelset(*line, "--seed", 2**70).code == 2
    for option in (("--device", "cuda"), ("--arch", "x.py:f"), ("--data-root", "d"), ("--download",)):
        shown = levelset(*line, "--url", "http://127.0.0.1:1", *option)
        assert (shown.code, "--url" in shown.err) == (2, True)


def test_a_folder_that_cannot_be_written_is_said_before_the_attacks(
    levelset: Levelset, stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Minutes of attacks are not lost to a wrong --out."""
    monkeypatch.setattr(evaluating, "evaluate_here", lambda *args, **kwargs: pytest.fail("the attacks were started"))
    (tmp_path / "file").write_text("not a folder")
    for out in (tmp_path / "file" / "deeper", Path("/proc/levelset")):
        shown = levelset("evaluate", "small", "--data", stock / "var", "--out", out)
        assert shown.code == 1
        assert "expected a writable folder" in shown.err


def test_an_ensemble_of_a_file_asks_for_its_path(levelset: Levelset, stock: Path, tmp_path: Path) -> None:
    """Its record holds a name, which is not enough to find the images again."""
    shutil.copytree(stock / "var", tmp_path / "var")
    record = tmp_path / "var" / "models" / "small" / "1" / "model.json"
    record.write_text(record.read_text().replace('"dataset": "digits"', '"dataset": "street"'))
    shown = levelset("evaluate", "small", "--data", tmp_path / "var")
    assert shown.code == 1
    assert "'street'" in shown.err
    assert "--dataset npz:PATH" in shown.err


def test_a_data_set_of_another_shape_is_refused(levelset: Levelset, stock: Path, tmp_path: Path) -> None:
    """Images the ensemble was not made for are refused before any attack."""
    import numpy as np

    np.savez(tmp_path / "x.npz", x=np.zeros((60, 9, 9), np.uint8), y=np.arange(60) % 10)
    shown = levelset("evaluate", "small", "--data", stock / "var", "--dataset", f"npz:{tmp_path / 'x.npz'}")
    assert shown.code == 1
    assert "expected images [1, 8, 8] like the ensemble's, got [1, 9, 9]" in " ".join(shown.err.split())


def test_the_same_order_gives_the_same_report(levelset: Levelset, stock: Path, evaluated: Path, tmp_path: Path) -> None:
    """Running the line again gives the digest again."""
    again = levelset(
        *("evaluate", "small", "-n", 40, "--epsilon", 0.1, "--seed", 3, "--data", stock / "var", "--out", tmp_path)
    )
    assert again.code == 0
    reports = [EvaluationReport.from_json((folder / "report.json").read_text()) for folder in (evaluated, tmp_path)]
    assert reports[0].digest == reports[1].digest


def test_an_unreliable_report_is_exit_code_three(
    levelset: Levelset, stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluated: Path
) -> None:
    """Scripts can tell numbers that must not be used from an error and from success."""
    found = read_report(evaluated / "report.json")
    status = found.status.model_copy(update={"value": "UNRELIABLE", "reasons": ["A1"]})
    unreliable = found.model_copy(update={"status": status, "report_digest": ""})
    monkeypatch.setattr(evaluating, "evaluate_here", lambda order, here, progress: unreliable)
    shown = levelset("evaluate", "small", "--data", stock / "var", "--out", tmp_path)
    assert shown.code == 3
    assert "UNRELIABLE" in shown.out
