"""Resources of `/api/v1` as they are written out: jobs, events, reports."""

from collections.abc import Mapping
from typing import Any

from service.jobs.states import OPEN, JobState
from service.store.clock import now, rfc3339
from service.store.tables import Event, Job, JobFile, Report

FORMATS = frozenset({"json", "html", "markdown"})  # of a report


def job_resource(job: Job, counts: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """Return the job as the API shows it.

    Args:
        job: its row.
        counts: per job id, committed shards and their samples.
    """
    path = f"/api/v1/jobs/{job.id}"
    return {
        "id": job.id,
        "object": "job",
        "type": job.type,
        "state": job.state,
        "spec": job.spec,
        "spec_digest": job.spec_digest,
        "epsilons_255": [f"{255 * epsilon:g}/255" for epsilon in job.spec.get("threat", {}).get("epsilons", [])],
        "priority": job.priority,
        "max_seconds": job.max_seconds,
        "progress": _progress(job, counts.get(job.id, (0, 0))),
        "attempt": job.attempt,
        "created_at": rfc3339(job.created_at),
        "started_at": rfc3339(job.started_at),
        "finished_at": rfc3339(job.finished_at),
        "error": job.error,
        "report_id": job.report_id,
        "result": job.result,
        "notices": [{"code": code, "message": message} for code, message in (job.notices or {}).items()],
        "links": {
            "self": path,
            "events": f"{path}/events",
            "cancel": f"{path}:cancel",
            "report": f"/api/v1/reports/{job.report_id}" if job.report_id else None,
            "partial": f"{path}/partial" if job.type == "evaluate" else None,
            "artifacts": f"{path}/artifacts",
            "page": f"/jobs/{job.id}",
        },
        "metadata": job.details,
    }


def file_resource(file: JobFile) -> dict[str, Any]:
    """Return what the API says about a file of a job."""
    return {
        "name": file.name,
        "object": "file",
        "sha256": file.sha256,
        "size": file.size,
        "media_type": file.media_type,
        "created_at": rfc3339(file.created_at),
        "links": {"self": f"/api/v1/jobs/{file.job_id}/artifacts/{file.name}"},
    }


def event_resource(event: Event) -> dict[str, Any]:
    """Return the event as the API shows it."""
    return {"seq": event.seq, "t": rfc3339(event.t), "level": event.level, "kind": event.kind, "data": event.data}


def report_resource(report: Report) -> dict[str, Any]:
    """Return what the API says about a report besides the report itself."""
    path = f"/api/v1/reports/{report.id}"
    return {
        "id": report.id,
        "object": "report",
        "job_id": report.job_id,
        "status": report.status,
        "report_digest": report.digest,
        "summary": report.summary,
        "headline": report.summary.get("headline"),
        "formats": sorted(set(report.files) & FORMATS),
        "created_at": rfc3339(report.created_at),
        "has_samples": "csv" in report.files,
        "links": {"self": path, "job": f"/api/v1/jobs/{report.job_id}", "page": f"/reports/{report.id}"},
    }


def _progress(job: Job, counted: tuple[int, int]) -> dict[str, Any]:
    shards, samples = counted
    fraction = shards / job.shards_total if job.shards_total else float(job.state == JobState.SUCCEEDED)
    return {
        "shards_total": job.shards_total,
        "shards_done": shards,
        "samples_total": job.samples_total,
        "samples_done": samples,
        "fraction": round(fraction, 4),
        "eta_seconds": _eta(job, fraction),
    }


def _eta(job: Job, fraction: float) -> float | None:
    if JobState(job.state) not in OPEN or job.started_at is None or not 0 < fraction <= 1:
        return None
    elapsed = (now() - job.started_at) / 1_000_000
    return round(elapsed * (1 - fraction) / fraction, 1)
