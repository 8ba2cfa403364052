"""Jobs of a worker that gives no sign of life go to the others; a lone worker's jobs wait until it is back."""

import logging
from collections.abc import Mapping
from typing import Final

from service.jobs.engine import JobEngine
from service.jobs.heartbeat import Watch
from service.jobs.ledger import add_event, locked
from service.jobs.states import TERMINAL, JobState
from service.jobs.tallies import ShardOutcome, count_shard
from service.store.database import Database

LOG = logging.getLogger("levelset.jobs")
WORDS: Final = "its worker gave no sign of life; another one takes it over"


class Takeover:
    """Looks after workers that stopped.

    Args:
        database: where the job rows lie.
        engine: what runs the workflows.
        watch: sees who stopped.
    """

    def __init__(self, database: Database, engine: JobEngine, watch: Watch) -> None:
        self._database = database
        self._engine = engine
        self._watch = watch

    def sweep(self, jobs: Mapping[str, str]) -> None:
        """Queue the jobs of lost workers again, if another worker is there to take them.

        Args:
            jobs: workflow -> id of every job that is not over.
        """
        with self._database.alone("takeover") as may:  # two web processes would both find the job theirs to hand on
            if may:
                self._hand_on(jobs)

    def _hand_on(self, jobs: Mapping[str, str]) -> None:
        seen = self._watch.look()
        if not seen.alive:
            return
        for worker in sorted(seen.lost):
            for workflow in self._engine.held_by(worker):
                if workflow in jobs and self._take(jobs[workflow], worker):
                    self._engine.resume(workflow)
            self._watch.forget(worker)

    def _take(self, job_id: str, worker: str) -> bool:
        """Return whether the job was taken from the worker, which may write nothing of it from now on."""
        with self._database.write() as session:
            job = locked(session, job_id)
            if JobState(job.state) in TERMINAL or job.worker not in (worker, None):
                return False
            LOG.warning("job %s is taken from %s, which gives no sign of life", job_id, worker)
            if job.in_flight is not None:
                count_shard(session, ShardOutcome.RETRIED)
            job.attempt += 1
            job.deaths += job.in_flight is not None
            job.in_flight = job.worker = None
            add_event(session, job, "log", {"message": WORDS, "attempt": job.attempt}, level="warning")
            return True
