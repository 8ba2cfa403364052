"""Resources of `/api/v1` as they are written out: jobs, events, reports."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from service.jobs.states import OPEN, JobState
from service.store.clock import now, rfc3339
from service.store.tables import Event, Job, JobFile, Report

if TYPE_CHECKING:
    from service.catalogue.base_models import BaseInfo
    from service.catalogue.model_info import ModelInfo

FORMATS = frozenset({"json", "html", "markdown"})  # of a report


def base_resource(info: "BaseInfo") -> dict[str, Any]:
    """Return the base network as the API shows it."""
    return {
        "object": "model",
        **info.model_dump(mode="json"),
        "links": {"self": f"/api/v1/models/{info.name}", "ensembles": "/api/v1/ensembles"},
    }


def ensemble_resource(
    name: str,
    answering: "ModelInfo | None",
    stored: Sequence[str],
    ready: Mapping[str, "ModelInfo"],
    reasons: Mapping[str, str],
    *,
    pinned: str | None,
    jobs: Sequence[Job],
) -> dict[str, Any]:
    """Return the ensemble as the API shows it: the record of the version that answers, and what else there is.

    Args:
        name: of the ensemble.
        answering: record of the version that answers where none is named.
        stored: every stored version, oldest first.
        ready: records of the versions that answer.
        reasons: version -> why it cannot be loaded.
        pinned: the version that was activated.
        jobs: unfinished generations of further versions.
    """
    wanted = pinned or (stored[-1] if stored else None)
    path = f"/api/v1/ensembles/{name}"
    versions = [
        {
            "version": version,
            "ready": version in ready,
            "reason": None if version in ready else reasons.get(version, "not loaded"),
            "digest": ready[version].digest if version in ready else None,
            "members": ready[version].members if version in ready else None,
            "base": ready[version].base if version in ready else None,
            "created_at": ready[version].model_dump(mode="json")["created_at"] if version in ready else None,
            "links": {"activate": f"{path}/versions/{version}:activate"},
        }
        for version in stored
    ]
    falls_back = answering is not None and wanted not in (None, answering.version)
    record = {} if answering is None else answering.model_dump(mode="json")
    return {
        "object": "ensemble",
        "version": None,
        **record,
        "name": name,
        "ready": answering is not None,
        "reason": None if answering is not None else reasons.get(wanted or "", "no version answers yet"),
        "pinned": pinned,
        "notices": [_fell_back(wanted, answering.version)] if falls_back and answering is not None else [],
        "versions": versions,
        "generating": [
            {"job_id": job.id, "state": job.state, "links": {"self": f"/api/v1/jobs/{job.id}"}} for job in jobs
        ],
        "links": {"self": path, "page": f"/models/{name}"},
    }


def _fell_back(wanted: str | None, version: str) -> dict[str, str]:
    message = f"version {wanted} cannot answer; version {version} answers in its place"
    return {"code": "older_version", "message": message}


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
