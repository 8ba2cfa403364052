"""`/api/v1/jobs` without a worker: creation, refusal, idempotency, lists, events, stops.

Seen to fail: a replay answered with a new job; a cursor accepted under another filter; events resumed off by one.
"""

import time
from typing import Any

import httpx
import pytest

from service.jobs.states import JobState
from service.store.tables import Job
from tests.service.routes.conftest import Web


def spec(**changes: Any) -> dict[str, Any]:
    """Return a valid job with some fields changed."""
    return {
        "type": "evaluate",
        "target": "digits",
        "data": {"name": "digits", "split": "test", "n": 20},
        "threat": {"norm": "linf", "epsilons": [0.1]},
        "suite": {"name": "quick"},
    } | changes


def problem_of(response: httpx.Response, status: int) -> dict[str, Any]:
    """Return the problem in a response of that status."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"].startswith("application/problem+json")
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert {"type", "title", "detail", "instance", "request_id"} <= problem.keys()
    assert not problem["type"].startswith("http")
    return problem


def create(client: httpx.Client, **changes: Any) -> str:
    """Return the id of a new job."""
    response = client.post("/api/v1/jobs", json=spec(**changes))
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def test_a_job_is_accepted_and_shown(client: httpx.Client) -> None:
    """202 with Location, Retry-After and the resource; what could change later is pinned in its specification."""
    response = client.post("/api/v1/jobs", json=spec(metadata={"note": "<script>{{7*7}}</script>"}))
    assert response.status_code == 202
    job = response.json()
    assert response.headers["Location"] == job["links"]["self"]
    assert int(response.headers["Retry-After"]) >= 1
    assert (job["state"], job["type"], job["report_id"], job["error"]) == ("queued", "evaluate", None, None)
    assert job["spec"]["target_version"] == "1"
    assert len(job["spec"]["target_digest"]) == 64
    assert job["spec"]["suite"]["version"]
    assert job["epsilons_255"] == ["25.5/255"]
    assert client.get(job["links"]["self"]).json() == job
    assert job["metadata"] == {"note": "<script>{{7*7}}</script>"}
    page = client.get(f"/jobs/{job['id']}")
    assert page.status_code == 200
    assert "<script>{{7*7}}" not in page.text


REFUSED = {
    "unknown target": spec(target="nobody"),
    "a view as target": spec(target="digits.base"),
    "unknown data set": spec(data={"name": "nobody"}),
    "data set that is not installed": spec(data={"name": "mnist"}),
    "a path as data set": spec(data={"name": "npz:/etc/passwd"}),
    "unknown suite": spec(suite={"name": "nobody"}),
    "another version of the suite": spec(suite={"name": "quick", "version": "0"}),
    "more samples than there are": spec(data={"name": "digits", "n": 10**6}),
    "negative radius": spec(threat={"epsilons": [-1]}),
    "unknown field": spec(attack="import os"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_run_is_refused_before_it_is_stored(client: httpx.Client, case: str) -> None:
    """Each is a 422 problem that names the field, and no job appears."""
    before = len(client.get("/api/v1/jobs?limit=200").json()["data"])
    problem = problem_of(client.post("/api/v1/jobs", json=REFUSED[case]), 422)
    assert problem["errors"][0]["field"]
    assert "/tmp" not in problem["detail"]
    assert len(client.get("/api/v1/jobs?limit=200").json()["data"]) == before


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000])
def test_what_is_not_json_is_malformed(client: httpx.Client, body: bytes) -> None:
    """Unreadable bodies are 400 problems."""
    problem_of(client.post("/api/v1/jobs", content=body, headers={"Content-Type": "application/json"}), 400)


def test_nan_is_refused(client: httpx.Client) -> None:
    """A NaN radius is 422, and the answer itself is valid JSON."""
    body = b'{"type":"evaluate","target":"digits","data":{"name":"digits"},"threat":{"epsilons":[NaN]}}'
    problem_of(client.post("/api/v1/jobs", content=body, headers={"Content-Type": "application/json"}), 422)


def test_idempotency_key(client: httpx.Client) -> None:
    """Same key and body replay, another body conflicts, an unusable key is malformed."""
    headers = {"Idempotency-Key": "one"}
    first = client.post("/api/v1/jobs", json=spec(), headers=headers)
    again = client.post("/api/v1/jobs", json=spec(), headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    problem_of(client.post("/api/v1/jobs", json=spec(seed=1), headers=headers), 422)
    problem_of(client.post("/api/v1/jobs", json=spec(), headers={"Idempotency-Key": "a b"}), 400)


def test_lists_are_paged_by_signed_cursors(client: httpx.Client) -> None:
    """Pages cover every job once; a cursor of another filter or a forged one is malformed."""
    made = [create(client) for _ in range(3)]
    seen: list[str] = []
    query = "/api/v1/jobs?limit=2"
    while True:
        page = client.get(query).json()
        seen += [job["id"] for job in page["data"]]
        if not page["has_more"]:
            assert page["next_cursor"] is None
            break
        cursor = page["next_cursor"]
        query = f"/api/v1/jobs?limit=2&cursor={cursor}"
    assert seen[:3] == made[::-1]
    assert len(seen) == len(set(seen))
    for forged in ("x", cursor[:-2] + "AA", "%00", "A" * 5000):
        problem_of(client.get(f"/api/v1/jobs?cursor={forged}"), 400)
    problem_of(client.get(f"/api/v1/jobs?state=queued&cursor={cursor}"), 400)
    for limit in ("0", "201", "x"):
        problem_of(client.get(f"/api/v1/jobs?limit={limit}"), 422)


def wait_for(client: httpx.Client, job_id: str, state: str) -> None:
    """Wait for a state of a job."""
    deadline = time.monotonic() + 30
    while (found := client.get(f"/api/v1/jobs/{job_id}").json()["state"]) != state:
        assert time.monotonic() < deadline, f"expected {state}, got {found}"
        time.sleep(0.01)


def test_cancel_twice(client: httpx.Client) -> None:
    """A queued job is cancelled; the second cancel is 200, a cancelled job cannot be paused or resumed."""
    job_id = create(client)
    response = client.post(f"/api/v1/jobs/{job_id}:cancel")
    assert response.status_code == 202
    wait_for(client, job_id, "cancelled")
    assert client.post(f"/api/v1/jobs/{job_id}:cancel").status_code == 200
    for move in ("pause", "resume"):
        problem_of(client.post(f"/api/v1/jobs/{job_id}:{move}"), 409)


def test_pause_resume_cancel(client: httpx.Client) -> None:
    """A paused job waits, can be resumed, and can be cancelled from its rest."""
    job_id = create(client)
    assert client.post(f"/api/v1/jobs/{job_id}:pause").status_code == 202
    wait_for(client, job_id, "paused")
    assert client.post(f"/api/v1/jobs/{job_id}:resume").status_code == 202
    wait_for(client, job_id, "queued")
    client.post(f"/api/v1/jobs/{job_id}:pause")
    wait_for(client, job_id, "paused")
    client.post(f"/api/v1/jobs/{job_id}:cancel")
    wait_for(client, job_id, "cancelled")


def test_a_finished_job_cannot_be_cancelled(web: Web) -> None:
    """Cancel after the end is 409 naming the state."""
    job_id = create(web.client)
    web.rooms.ledger.move(job_id, JobState.FAILED, error={"code": "x", "message": "m", "retryable": False})
    problem = problem_of(web.client.post(f"/api/v1/jobs/{job_id}:cancel"), 409)
    assert "failed" in problem["detail"]
    assert web.client.get(f"/api/v1/jobs/{job_id}").json()["error"]["code"] == "x"


def test_unknown_and_foreign_jobs_are_404(web: Web) -> None:
    """An id nobody has and an id of another owner look the same."""
    job_id = create(web.client)
    with web.rooms.ledger._database.write() as session:
        session.get_one(Job, job_id).owner = "another"
    for path in ("", "/events", ":cancel", ":pause"):
        method = "POST" if path.startswith(":") else "GET"
        foreign = problem_of(web.client.request(method, f"/api/v1/jobs/{job_id}{path}"), 404)
        unknown = problem_of(web.client.request(method, f"/api/v1/jobs/job-none{path}"), 404)
        assert foreign["detail"].replace(job_id, "") == unknown["detail"].replace("job-none", "")
    with web.rooms.ledger._database.write() as session:
        session.get_one(Job, job_id).owner = "local"


def test_events_as_pages_and_as_a_stream(client: httpx.Client) -> None:
    """Both tell the same story; a stream resumes after Last-Event-ID and ends with the terminal state."""
    job_id = create(client)
    client.post(f"/api/v1/jobs/{job_id}:cancel")
    path = f"/api/v1/jobs/{job_id}/events"
    stream = {"Accept": "text/event-stream"}
    with client.stream("GET", path, headers=stream) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert response.headers["Cache-Control"] == "no-store"
        lines = list(response.iter_lines())
    listed = client.get(path).json()["data"]
    assert [event["data"]["state"] for event in listed] == ["queued", "cancelling", "cancelled"]
    assert [line for line in lines if line.startswith("id: ")] == [f"id: {event['seq']}" for event in listed]
    assert client.get(f"{path}?after=1&limit=1").json()["data"] == listed[1:2]
    with client.stream("GET", path, headers={**stream, "Last-Event-ID": "1"}) as response:
        rest = [line for line in response.iter_lines() if line.startswith("id: ")]
    assert rest == ["id: 2", "id: 3"]
    assert client.get(path, headers={**stream, "Last-Event-ID": "3"}).status_code == 204
    problem_of(client.get(path, headers={**stream, "Last-Event-ID": "x"}), 400)
    problem_of(client.get(path, headers={**stream, "Last-Event-ID": "99"}), 409)


def test_ten_thousand_jobs_are_not_taken(web: Web) -> None:
    """Beyond the limit of open jobs, 429 with Retry-After."""
    made = []
    while (response := web.client.post("/api/v1/jobs", json=spec())).status_code == 202:
        made.append(response.json()["id"])
        assert len(made) <= web.rooms.settings.max_open_jobs
    problem_of(response, 429)
    assert response.headers["Retry-After"]
    for job_id in made:
        web.client.post(f"/api/v1/jobs/{job_id}:cancel")
