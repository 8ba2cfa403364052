"""Suite overrides through a real job: refused where they do not fit, recorded in the report where they do.

Seen to fail when: the workbench runs the published suite; the report leaves the changes out; its suite keeps the
published version.
"""

from collections.abc import Iterator

import pytest

from tests.service.inference.models import copy_models
from tests.service.routes.workshop import Workshop, evaluation, workshop

KEPT = ("fgsm@stolen_base", "fgsm@white_box")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """Yield an application with the ensemble `digits`."""
    data = tmp_path_factory.mktemp("overrides")
    copy_models(tmp_path_factory, data)
    with workshop(data) as shop:
        yield shop


def test_capabilities_say_what_may_be_changed(shop: Workshop) -> None:
    """Every attack has the schema of its parameters, every suite its rows, every activation its group."""
    found = shop.ask("GET", "/api/v1/capabilities").json()
    steps = found["attacks"]["apgd_ce"]["parameters"]["properties"]["steps"]
    assert steps == {"type": "integer", "minimum": 1, "maximum": 10000}
    assert KEPT[0] in {row["id"] for row in found["suites"]["quick"]["attacks"]}
    assert found["groups"]["tanh"]["group"] == "signed permutation"


@pytest.mark.parametrize(
    "overrides",
    [
        {"remove": ["nobody"]},
        {"change": {"apgd-ce-20@white_box": {"steps": 0}}},
        {"change": {"apgd-ce-20@white_box": {"keep": 1}}},
        {"add": [{"id": "x", "kind": "eval"}]},
        {"add": [{"id": "x", "kind": "fgsm", "knowledge": "nobody"}]},
        {"other": 1},
    ],
)
def test_overrides_that_do_not_fit(shop: Workshop, overrides: dict[str, object]) -> None:
    """A 422 that names the field; no job is made."""
    body = evaluation(suite={"name": "quick", "overrides": overrides})
    answer = shop.ask("POST", "/api/v1/jobs", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["field"].startswith("suite.overrides")
    assert not shop.ask("GET", "/api/v1/jobs").json()["data"]


def test_a_job_with_changed_rows(shop: Workshop) -> None:
    """It runs the rows that were asked for, in two norms, and its report says so."""
    rows = {row["id"] for row in shop.ask("GET", "/api/v1/capabilities").json()["suites"]["quick"]["attacks"]}
    parameters = {"steps": 2, "rel_stepsize": 0.5, "random_start": False}
    overrides = {
        "remove": sorted(rows - set(KEPT)),
        "change": {},
        "add": [{"id": "mine@white_box", "kind": "pgd", "knowledge": "white_box", "parameters": parameters}],
    }
    also = [{"norm": "l2", "epsilons": [1.0]}]
    body = evaluation(suite={"name": "quick", "overrides": overrides}, draws=1, also=also)
    job = shop.work(shop.create(**body)["id"])
    assert job["state"] == "succeeded", job["error"]
    report = shop.ask("GET", f"/api/v1/reports/{job['report_id']}").json()
    assert report["suite"]["overrides"] == overrides
    assert report["suite"]["version"].startswith("3+")
    assert {row["id"] for row in report["attacks"]} >= {"mine@white_box", *KEPT}
    assert "apgd-ce-20@white_box" not in {row["id"] for row in report["attacks"]}
