"""The metrics of jobs on a real service: what a job does is counted once, whoever asks, whoever dies."""

import os
import signal

from tests.service.integration.service_process import Service, children
from tests.service.integration.shown import metrics

OUTCOMES = ("computed", "cached", "retried", "failed")


def shards(service: Service) -> dict[str, float]:
    """Return the counter of shards by outcome."""
    shown = metrics(service)
    return {outcome: shown["levelset_job_shards_total", f'outcome="{outcome}"'] for outcome in OUTCOMES}


def jobs(service: Service) -> dict[str, float]:
    """Return the gauge of jobs by state."""
    return {
        labels.partition('"')[2].rstrip('"'): value
        for (name, labels), value in metrics(service).items()
        if name == "levelset_jobs"
    }


def attacks(service: Service) -> float:
    """Return how many shards were timed, all attacks together."""
    return sum(value for (name, _), value in metrics(service).items() if name == "levelset_attack_seconds_count")


def grown(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Return what changed."""
    return {name: value - before[name] for name, value in after.items() if value != before[name]}


def test_a_job_and_its_repetition(service: Service) -> None:
    """Every shard is computed once and timed, the second time found and not timed; states move along."""
    states, counted, timed = jobs(service), shards(service), attacks(service)
    assert len(states) == 8
    done = service.wait_for_end(service.submit(seed=31, block=32))["progress"]["shards_total"]
    assert grown(states, jobs(service)) == {"succeeded": 1}
    assert grown(counted, shards(service)) == {"computed": done}
    assert attacks(service) - timed == done
    service.wait_for_end(service.submit(seed=31, block=32))
    assert grown(states, jobs(service)) == {"succeeded": 2}
    assert grown(counted, shards(service)) == {"computed": done, "cached": done}
    assert attacks(service) - timed == done
    assert metrics(service)["levelset_attack_seconds_count", 'attack="clean"'] >= 2


def test_a_running_job_and_a_killed_shard_process(service: Service) -> None:
    """While it runs it is counted as running and its stream is open; a shard that is tried again is counted."""
    counted = shards(service)
    assert metrics(service)["levelset_event_streams", ""] == 0
    job_id = service.submit(seed=32)
    service.wait_for_shards(job_id, 3)
    headers = {"Accept": "text/event-stream"}
    with service.client.stream("GET", f"/api/v1/jobs/{job_id}/events", headers=headers):
        shown = metrics(service)
        assert shown["levelset_event_streams", ""] == 1
        assert shown["levelset_jobs", 'state="running"'] == 1
        for pid in children(service.child("worker")):
            os.kill(pid, signal.SIGKILL)
    done = service.wait_for_end(job_id)["progress"]["shards_total"]
    service.until(lambda: metrics(service)["levelset_event_streams", ""] == 0)
    found = grown(counted, shards(service))
    assert found["computed"] + found.get("cached", 0) == done
    assert found["retried"] == 1
    assert metrics(service)["levelset_jobs", 'state="running"'] == 0
