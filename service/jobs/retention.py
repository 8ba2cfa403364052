"""What may be forgotten: jobs that ended long ago, and files that nothing names any more.

A file is collected when no report, no list of files, no plan, no committed shard and no other result names it, and it
is older than a grace: what is being written has no row yet. Results of shards stay as long as a job of theirs does.
"""

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import delete, select

from service.jobs.states import TERMINAL
from service.store.clock import now
from service.store.database import Database
from service.store.tables import Idempotency, Job, JobFile, Report, Shard

DAY: Final = 24 * 3600
GRACE: Final = DAY  # seconds for which a file that nothing names may still get its row
DRAFTS: Final = ".new-"
EXAMPLES: Final = "examples"


@dataclass(frozen=True, slots=True)
class Collected:
    """What was forgotten.

    Attributes:
        jobs: rows of jobs.
        files: files of artifacts, and drafts that nobody finished.
        bytes: their size.
    """

    jobs: int
    files: int
    bytes: int


class Keeper:
    """Forgets what may be forgotten; safe beside a running worker.

    Args:
        database: where the rows lie.
        artifacts: folder of the artifacts.
        bases: folder of the base networks, whose unfinished uploads are collected too.
        keep_days: days after which ended jobs are forgotten; 0 keeps them.
        grace: seconds for which a file that nothing names is left alone.
    """

    def __init__(
        self, database: Database, artifacts: Path, bases: Path, *, keep_days: float, grace: float = GRACE
    ) -> None:
        self._database = database
        self._artifacts = artifacts
        self._bases = bases
        self._keep = keep_days
        self._grace = grace

    def collect(self) -> Collected:
        """Return what was forgotten just now."""
        jobs = self._forget_jobs()
        before = time.time() - self._grace
        count = size = 0
        for path in self._orphans(before):
            with suppress(FileNotFoundError):
                seen = path.stat()
                if seen.st_mtime < before:  # whoever found it meanwhile has touched it, and names it soon
                    path.unlink()
                    count, size = count + 1, size + seen.st_size
        drafts = [path for path in self._bases.glob(f"{DRAFTS}*") if path.stat().st_mtime < before]
        for draft in drafts:
            shutil.rmtree(draft, ignore_errors=True)
        return Collected(jobs, count + len(drafts), size)

    def survey(self) -> Collected:
        """Return which files nothing names, young ones too, and collect nothing."""
        sizes = []
        for path in self._orphans(float("inf")):
            with suppress(FileNotFoundError):
                sizes.append(path.stat().st_size)
        return Collected(0, len(sizes), sum(sizes))

    def _orphans(self, before: float) -> list[Path]:
        blobs, shards = self._named()
        found = [*self._unnamed("blobs", blobs, before), *self._unnamed("shards", shards, before)]
        examples = list((self._artifacts / EXAMPLES).glob("*.safetensors"))
        promised = self._promised() if examples else set()
        for path in examples:
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before and path.stem not in promised:
                    found.append(path)
        return found

    def _promised(self) -> set[str]:
        """Return what any stored result names, one without a row yet included: its job may be about to write it."""
        keys = [path.name for path in (self._artifacts / "shards").glob("*/*")]
        return {name for key in keys for name in _digests(self._result(key))}

    def _forget_jobs(self) -> int:
        if not self._keep:
            return 0
        limit = now() - int(self._keep * DAY * 1_000_000)
        with self._database.write() as session:
            query = select(Job).where(Job.state.in_(sorted(TERMINAL)), Job.finished_at < limit)
            old = session.scalars(query).all()
            for job in old:
                session.execute(delete(Idempotency).where(Idempotency.job_id == job.id))
                session.delete(job)
            return len(old)

    def _named(self) -> tuple[set[str], set[str]]:
        """Return the digests of files, and the keys of results, that something names."""
        with self._database.read() as session:
            blobs = set(session.scalars(select(JobFile.sha256)))
            blobs |= {name for name in session.scalars(select(Job.plan)) if name is not None}
            for files in session.scalars(select(Report.files)):
                blobs |= set(files.values())
            shards = set(session.scalars(select(Shard.key)))
        for key in shards:
            blobs |= set(_digests(self._result(key)))
        return blobs, shards

    def _result(self, key: str) -> Any:
        try:
            _, _, data = (self._artifacts / "shards" / key[:2] / key).read_bytes().partition(b"\n")
            return json.loads(data)
        except (OSError, ValueError):
            return None

    def _unnamed(self, kind: str, named: set[str], before: float) -> Iterator[Path]:
        for path in (self._artifacts / kind).glob("*/*"):
            try:
                is_old = path.stat().st_mtime < before
            except FileNotFoundError:
                continue
            if is_old and path.name not in named:
                yield path


def _digests(value: Any) -> Iterator[str]:
    """Yield every text in a result that may be the name of a file."""
    if isinstance(value, str):
        if len(value) == 64:
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _digests(item)
    elif isinstance(value, list):
        for item in value:
            yield from _digests(item)
