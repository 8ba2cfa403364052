"""A real supervisor, web process, worker and shard process: jobs end in the same report whatever is killed.

Seen to fail: results of shards not stored; the seed of a job drawn at run time; the datatype not handed from the
job to the evaluation.
"""

import os
import signal

from service.jobs.dbos_engine import VERSION, DbosEngine
from service.jobs.states import EngineStatus
from tests.service.integration.service_process import Service, children, is_alive


def test_a_job_ends_in_a_report(service: Service) -> None:
    """The whole way over HTTP: job, progress, report as JSON, HTML and Markdown, pages."""
    job = service.wait_for_end(service.submit(block=32))
    progress = job["progress"]
    assert progress["shards_done"] == progress["shards_total"] > 5
    assert (progress["fraction"], progress["eta_seconds"], job["attempt"]) == (1.0, None, 1)
    report = service.report(job)
    assert report["schema"] == "levelset/evaluation-report"
    listed = service.client.get("/api/v1/reports").json()["data"][0]
    assert (listed["id"], listed["report_digest"]) == (job["report_id"], report["report_digest"])
    page = service.client.get(f"/reports/{job['report_id']}")
    assert page.headers["Content-Type"].startswith("text/html")
    assert "sha256-" in page.headers["Content-Security-Policy"]
    assert "<script" not in page.text
    html = service.client.get(f"/api/v1/reports/{job['report_id']}", headers={"Accept": "text/html"})
    assert html.content == page.content
    markdown = service.client.get(f"/api/v1/reports/{job['report_id']}?format=markdown")
    assert markdown.headers["Content-Type"].startswith("text/markdown")
    assert service.client.get(f"/api/v1/reports/{job['report_id']}?format=pdf").status_code == 406
    assert job["id"] in service.client.get("/").text


def test_a_job_attacks_what_clients_send(service: Service) -> None:
    """A job for UINT8 is another one than for FP32, computed anew, and its report says what was rounded."""
    plain, rounded = (service.wait_for_end(service.submit(block=32, datatype=name)) for name in ("FP32", "UINT8"))
    reports = [service.report(job) for job in (plain, rounded)]
    assert [report["subject"].get("datatype", "FP32") for report in reports] == ["FP32", "UINT8"]
    sentences = [" ".join(model["sentence"] for model in report["threat_models"]) for report in reports]
    assert ["sent as UINT8 and rounded" in text for text in sentences] == [False, True]
    assert reports[0]["report_digest"] != reports[1]["report_digest"]


def test_the_steps_of_the_workflow_are_those_of_its_version(service: Service) -> None:
    """Whoever changes the order of steps has to raise VERSION, else jobs in flight are stranded by an upgrade."""
    job = service.wait_for_end(service.submit(block=32))
    engine = DbosEngine(service.settings.database_url)
    service.until(lambda: engine.list([job["id"]])[job["id"]].status is EngineStatus.SUCCEEDED)
    names = [step["name"] for step in engine.events(job["id"])]
    engine.close()
    shards = job["progress"]["shards_total"]
    assert (VERSION, names) == ("jobs-1", ["plan", *["shard"] * shards, "finish"])


def test_kill_the_worker_in_the_middle(service: Service) -> None:
    """Kill -9 of the worker: its shard process dies with it, another worker resumes, the report has the same digest."""
    job_id = service.submit(seed=11)
    service.wait_for_shards(job_id, 15)
    worker = service.child("worker")
    orphans = children(worker)
    os.kill(worker, signal.SIGKILL)
    done = service.job(job_id)["progress"]["shards_done"]
    assert done < service.job(job_id)["progress"]["shards_total"]
    service.until(lambda: not any(map(is_alive, orphans)))
    job = service.wait_for_end(job_id)
    assert job["attempt"] == 2
    assert service.report(job)["report_digest"] == service.undisturbed_digest(job_id)


def test_equal_jobs_reuse_their_shards(service: Service) -> None:
    """The same specification again computes nothing and gives the same report."""
    first = service.wait_for_end(service.submit(block=32))
    again = service.wait_for_end(service.submit(block=32))
    events = service.client.get(f"/api/v1/jobs/{again['id']}/events").json()["data"]
    assert {event["data"]["cached"] for event in events if event["kind"] == "progress"} == {True}
    assert service.report(first)["report_digest"] == service.report(again)["report_digest"]


def test_cancel_in_the_middle(service: Service) -> None:
    """A running job stops for good, keeps what it had, and the worker takes the next one."""
    job_id = service.submit(seed=12)
    service.wait_for_shards(job_id, 3)
    assert service.client.post(f"/api/v1/jobs/{job_id}:cancel").status_code == 202
    job = service.wait_for_end(job_id, "cancelled")
    assert job["progress"]["shards_done"] < job["progress"]["shards_total"]
    service.wait_for_end(service.submit(block=32))
    assert service.job(job_id)["progress"] == job["progress"]


def test_pause_and_resume_in_the_middle(service: Service) -> None:
    """A paused job rests with its shards and ends in the report of an undisturbed run."""
    job_id = service.submit(seed=13)
    service.wait_for_shards(job_id, 10)
    service.client.post(f"/api/v1/jobs/{job_id}:pause")
    service.until(lambda: service.job(job_id)["state"] == "paused")
    assert service.job(job_id)["progress"]["shards_done"] >= 10
    service.client.post(f"/api/v1/jobs/{job_id}:resume")
    job = service.wait_for_end(job_id)
    assert service.report(job)["report_digest"] == service.undisturbed_digest(job_id)


def test_kill_the_web_process_and_the_shard_process(service: Service) -> None:
    """The job goes on without the web process; a killed shard process costs its shard only."""
    job_id = service.submit(seed=14)
    service.wait_for_shards(job_id, 5)
    os.kill(service.child("web"), signal.SIGKILL)
    for pid in children(service.child("worker")):
        os.kill(pid, signal.SIGKILL)
    service.until(service.is_ready)
    job = service.wait_for_end(job_id)
    assert job["attempt"] == 1
    assert service.report(job)["report_digest"] == service.undisturbed_digest(job_id)
