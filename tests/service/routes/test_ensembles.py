"""From an uploaded network to an ensemble that answers, is judged, compared and replaced: all in one process.

Seen to fail when: a repeated generation stores another version; a member's key depends on how many there are; an
activated version is not stored, or not told to the pool; a repeated evaluation computes a shard; the tag of an ensemble
leaves out what is being generated; the partial report claims to be complete.
"""

import csv
import io
from collections.abc import Iterator

import pytest
import torch

from service.jobs.progress import Progress
from service.jobs.samples import inert
from service.store.artifacts import ArtifactStore
from tests.service.inference.models import copy_models, damage, duplicate
from tests.service.routes.workshop import Workshop, evaluation, file_of, weights, workshop

RECIPE = {"search_steps": 0, "crafting_radii": [], "max_residual": 2.0, "max_blow_up": 1e6}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """Yield an application with the ensemble `digits`, whose second version is damaged, and a base network."""
    data = tmp_path_factory.mktemp("ensembles")
    models = copy_models(tmp_path_factory, data)
    duplicate(models, "digits", "1", new_name="digits", new_version="2")
    damage(models, "digits", "2")
    with workshop(data, model_poll=0.05) as shop:
        torch.manual_seed(0)
        assert shop.upload("base", file_of(weights())).status_code == 201
        shop.until(lambda: shop.house.rooms.pool.scanned)
        yield shop


def order(**changes: object) -> dict[str, object]:
    """Return what an ensemble is generated from."""
    return {
        "name": "mine",
        "base": "base",
        "members": 2,
        "recipe": RECIPE,
        "calibration": {"dataset": "digits", "n": 64},
    } | changes


def answers(shop: Workshop, name: str, version: str) -> bool:
    """Return whether a version answers."""
    versions = shop.ask("GET", f"/api/v1/ensembles/{name}").json()["versions"]
    return any(row["version"] == version and row["ready"] for row in versions)


def test_generate_grow_and_activate(shop: Workshop) -> None:
    """202, members one by one, a stored version; more members cost only the new ones; versions change places."""
    headers = {"Idempotency-Key": "mine-1"}
    response = shop.ask("POST", "/api/v1/ensembles", json=order(), headers=headers)
    assert response.status_code == 202, response.text
    assert response.headers["Location"] == "/api/v1/ensembles/mine"
    made = response.json()
    assert (made["ready"], made["version"], made["generating"][0]["job_id"]) == (False, None, made["job_id"])
    replay = shop.ask("POST", "/api/v1/ensembles", json=order(), headers=headers)
    assert (replay.headers["Idempotency-Replayed"], replay.json()["job_id"]) == ("true", made["job_id"])
    assert shop.ask("POST", "/api/v1/ensembles", json=order(seed=1), headers=headers).status_code == 422
    assert shop.ask("DELETE", "/api/v1/models/base").status_code == 409
    job = shop.work(made["job_id"], shards=1)
    assert (job["state"], job["progress"]["shards_done"], job["progress"]["shards_total"]) == ("running", 1, 2)
    job = shop.work(made["job_id"])
    assert (job["state"], job["result"]["version"], job["result"]["members"]) == ("succeeded", "1", 2)
    assert shop.process.computed == 2
    again = shop.work(shop.create("/api/v1/ensembles", **order())["job_id"])
    assert (again["result"], shop.process.computed) == (job["result"], 2)
    seen = shop.ask("GET", "/api/v1/ensembles/mine")
    known = {"If-None-Match": seen.headers["ETag"]}
    growing = shop.create("/api/v1/ensembles", **order(members=3))["job_id"]
    changed = shop.ask("GET", "/api/v1/ensembles/mine", headers=known)
    assert [changed.status_code, *(one["job_id"] for one in changed.json()["generating"])] == [200, growing]
    grown = shop.work(growing)
    assert (grown["result"]["version"], grown["result"]["members"], shop.process.computed) == ("2", 3, 3)
    shop.until(lambda: answers(shop, "mine", "1") and answers(shop, "mine", "2"))
    found = shop.ask("GET", "/api/v1/ensembles/mine")
    shown = found.json()
    assert (shown["version"], shown["pinned"], shown["base"], shown["generating"]) == ("2", None, "base", [])
    assert len(shown["generation"]["sites"]) == 3
    path = "/api/v1/ensembles/mine/versions/1:activate"
    assert shop.ask("POST", path, headers={"If-Match": '"stale"'}).status_code == 412
    activated = shop.ask("POST", path, headers={"If-Match": found.headers["ETag"]})
    assert (activated.status_code, activated.json()["version"], activated.json()["pinned"]) == (200, "1", "1")
    assert shop.ask("POST", path, headers={"If-Match": found.headers["ETag"]}).status_code == 412
    assert shop.house.rooms.pool.resolve("mine").served.info.version == "1"
    assert shop.ask("POST", "/api/v1/ensembles/mine/versions/9:activate").status_code == 404
    assert shop.ask("DELETE", "/api/v1/models/base", headers={"If-Match": '"x"'}).status_code == 412


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"base": "nobody"}, "base"),
        ({"recipe": "nobody"}, "recipe"),
        ({"recipe": {"scale": -1}}, "recipe"),
        ({"recipe": {"__class__": 1}}, "recipe"),
        ({"calibration": {"dataset": "nobody"}}, "calibration.dataset"),
        ({"calibration": {"dataset": "digits", "n": 10**6}}, "calibration.n"),
        ({"members": 0}, "members"),
        ({"name": "a.b"}, "name"),
        ({"name": "stats"}, "name"),
        ({"type": "evaluate"}, "type"),
        ({"url": "https://example.org"}, "url"),
    ],
)
def test_generations_that_cannot_run(shop: Workshop, change: dict[str, object], field: str) -> None:
    """422 that names the field."""
    response = shop.ask("POST", "/api/v1/ensembles", json=order(**change))
    assert response.status_code == 422, response.text
    assert response.json()["errors"][0]["field"].startswith(field)


def test_judge_compare_and_judge_again_for_nothing(shop: Workshop) -> None:
    """A job says that it judges the older version; shards are found by key; files, table and comparison fit."""
    created = shop.create(**evaluation())
    assert created["spec"]["target_version"] == "1"
    assert created["notices"][0]["code"] == "older_version"
    assert shop.ask("GET", "/api/v1/ensembles/digits").json()["notices"][0]["code"] == "older_version"
    before = shop.process.computed
    partly = shop.work(created["id"], shards=4)
    partial = shop.ask("GET", partly["links"]["partial"]).json()
    assert (partial["provisional"], partial["complete"], partial["shards_done"]) == (True, False, 4)
    assert all(0 <= row["low"] <= row["value"] <= row["high"] <= 1 for row in partial["attacks"])
    first = shop.work(created["id"])
    shards = first["progress"]["shards_total"]
    assert shop.process.computed - before == shards
    second = shop.work(shop.create(**evaluation(priority=0, metadata={"again": "=1+1"}))["id"])
    assert shop.process.computed - before == shards
    reports = [shop.ask("GET", job["links"]["report"]).json() for job in (first, second)]
    assert reports[0]["report_digest"] == reports[1]["report_digest"]
    check_files(shop, first)
    check_table(shop, first, reports[0])
    path = f"/api/v1/reports/{first['report_id']}:compare?with={second['report_id']}"
    compared = shop.ask("GET", path).json()
    assert {row["gain"] for row in compared["rows"]} == {0.0}
    assert compared["same_suite"]
    other = shop.work(shop.create(**evaluation(data={"name": "digits", "split": "test", "n": 10}))["id"])
    path = f"/api/v1/reports/{first['report_id']}:compare?with={other['report_id']}"
    assert shop.ask("GET", path).status_code == 409
    assert shop.ask("GET", f"/api/v1/reports/{first['report_id']}:compare?with=nobody").status_code == 404


def check_files(shop: Workshop, job: dict[str, object]) -> None:
    """Check list, digest, whole and single range of the files of a job."""
    path = f"/api/v1/jobs/{job['id']}/artifacts"
    listed = {file["name"]: file for file in shop.ask("GET", path).json()["data"]}
    assert sorted(listed) == ["report.html", "report.json", "report.md", "samples.csv", "samples.json"]
    whole = shop.ask("GET", f"{path}/report.json")
    assert (len(whole.content), whole.headers["ETag"]) == (
        listed["report.json"]["size"],
        f'"{listed["report.json"]["sha256"]}"',
    )
    assert ArtifactStore(shop.settings.artifacts_folder).get(listed["report.json"]["sha256"]) == whole.content
    part = shop.ask("GET", f"{path}/report.json", headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, whole.content[5:10])
    assert part.headers["Content-Range"] == f"bytes 5-9/{len(whole.content)}"
    assert shop.ask("GET", f"{path}/report.json", headers={"Range": "bytes=-4"}).content == whole.content[-4:]
    assert shop.ask("GET", f"{path}/report.json", headers={"Range": f"bytes={10**9}-"}).status_code == 416
    many = ",".join(f"{start}-{start}" for start in range(10_000))
    assert shop.ask("GET", f"{path}/report.json", headers={"Range": f"bytes={many}"}).status_code in (200, 416, 431)
    assert shop.ask("GET", f"{path}/nobody").status_code == 404
    assert shop.ask("GET", f"{path}/..%2f..%2flevelset.sqlite").status_code == 404


def check_table(shop: Workshop, job: dict[str, object], report: dict[str, object]) -> None:
    """Check that the table counts what the report states."""
    table = shop.ask("GET", f"/api/v1/reports/{job['report_id']}/samples.csv")
    assert table.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert len(rows) == 12
    for model in report["threat_models"]:  # type: ignore[attr-defined]
        for result in model["results"]:
            column = f"{model['norm']} {result['epsilon']:g} {model['name']} {result['target']}"
            assert sum(row[column] == "1" for row in rows) == result["robust_accuracy"]["k"], column


def test_cells_that_spreadsheets_would_run() -> None:
    """Text that starts like a formula is quoted, other text is not."""
    assert [inert(text) for text in ("=cmd", "+1", "-1", "@x", "\tx", "a=b", "7")] == [
        "'=cmd", "'+1", "'-1", "'@x", "'\tx", "a=b", "7",
    ]  # fmt: skip


def test_retry_delete_and_wait(shop: Workshop) -> None:
    """A failed job waits again and keeps its shards; a waiting client is answered at the end; 204, then 404."""
    created = shop.create(**evaluation(seed=3))
    shop.work(created["id"], shards=2)
    path = f"/api/v1/jobs/{created['id']}"
    assert shop.ask("POST", f"{path}:retry").status_code == 409
    assert shop.ask("DELETE", path).status_code == 409
    shop.process.answers.clear()
    Progress(shop.database, worker="worker-0").failed(created["id"], code="internal", message="for the test")
    assert shop.ask("GET", path).json()["error"]["retryable"]
    retried = shop.ask("POST", f"{path}:retry")
    assert retried.status_code == 202, retried.text
    assert (retried.json()["state"], retried.json()["attempt"], retried.json()["error"]) == ("queued", 2, None)
    waited = shop.ask("GET", path, headers={"Prefer": "respond-async, wait=1"})
    assert (waited.headers["Preference-Applied"], waited.json()["state"]) == ("wait=1", "queued")
    job = shop.work(created["id"])
    assert (job["state"], job["progress"]["fraction"]) == ("succeeded", 1.0)
    assert shop.process.computed == job["progress"]["shards_total"] - 2
    done = shop.ask("GET", path, headers={"Prefer": "wait=30"})
    assert shop.ask("GET", path, headers={"If-None-Match": done.headers["ETag"]}).status_code == 304
    stream = shop.ask("GET", f"{path}/events", headers={"Accept": "text/event-stream"}).text
    states = [line for line in stream.splitlines() if '"to": "' in line]
    assert len(states) == 6  # queued, running, failed, queued, running, succeeded
    assert shop.ask("POST", f"{path}:retry").status_code == 409
    assert shop.ask("DELETE", path, headers={"If-Match": done.headers["ETag"]}).status_code == 204
    assert shop.ask("GET", path).status_code == 404
    assert shop.ask("GET", f"/api/v1/reports/{job['report_id']}").status_code == 200
    assert shop.ask("DELETE", f"/api/v1/reports/{job['report_id']}").status_code == 204
    assert shop.ask("GET", f"/api/v1/reports/{job['report_id']}").status_code == 404


def test_what_a_request_may_name(shop: Workshop) -> None:
    """Types of jobs, attacks and recipes are listed; the schema is the committed one; types filter the list."""
    found = shop.ask("GET", "/api/v1/capabilities").json()
    assert set(found["job_types"]) == {"evaluate", "generate", "figures"}
    assert found["attacks"]["pgd"]["norms"]
    assert "balanced" in found["recipes"]
    schema = shop.ask("GET", "/api/v1/schemas/report-1.json").json()
    assert schema["$id"].startswith("levelset/evaluation-report/1")
    listed = shop.ask("GET", "/api/v1/jobs?type=generate&limit=200").json()["data"]
    assert {job["type"] for job in listed} == {"generate"}
    assert shop.ask("POST", "/api/v1/jobs", json={"type": "nobody"}).status_code == 422
    assert shop.ask("POST", "/api/v1/jobs", json={"type": "figures", "figures": [8]}).status_code == 422
