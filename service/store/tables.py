"""Our own tables; the job engine keeps its tables beside them in the same database."""

from typing import Any

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Index, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Root of the mappings; its metadata is what the migrations build."""

    type_annotation_map = {int: BigInteger, dict[str, Any]: JSON}  # noqa: RUF012


class Job(Base):
    """One job; this row owns its state, the engine's status only feeds it."""

    __tablename__ = "jobs"
    __table_args__ = (Index("jobs_by_age", "created_at", "id"), Index("jobs_by_state", "state"))

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(String(64))
    type: Mapped[str] = mapped_column(String(32))
    state: Mapped[str] = mapped_column(String(16))
    mark: Mapped[str | None] = mapped_column(String(16))  # cancel | pause | timeout: why we stopped it
    spec: Mapped[dict[str, Any]]
    spec_digest: Mapped[str] = mapped_column(String(64))
    details: Mapped[dict[str, Any]]  # the client's metadata, returned as it came
    priority: Mapped[int]
    max_seconds: Mapped[int | None]
    shards_total: Mapped[int | None]
    samples_total: Mapped[int | None]
    worker: Mapped[str | None] = mapped_column(String(96))  # slot of the worker that took it last
    attempt: Mapped[int] = mapped_column(default=1)
    in_flight: Mapped[str | None] = mapped_column(String(64))  # key of the shard a worker is running
    deaths: Mapped[int] = mapped_column(default=0)  # worker deaths in a row with a shard in flight and none committed
    last_seq: Mapped[int] = mapped_column(default=0)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    report_id: Mapped[str | None] = mapped_column(String(64))
    run: Mapped[int] = mapped_column(default=1)  # how often it was handed to the engine: one more with every retry
    plan: Mapped[str | None] = mapped_column(String(64))  # SHA-256 of the list of its shards
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # what it made besides a report
    notices: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # what its maker must know, by code
    created_at: Mapped[int]
    enqueued_at: Mapped[int | None]
    started_at: Mapped[int | None]
    marked_at: Mapped[int | None]
    finished_at: Mapped[int | None]


class Shard(Base):
    """One committed shard of a job; its result is the artifact of the same key."""

    __tablename__ = "shards"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    samples: Mapped[int]
    cached: Mapped[bool]
    finished_at: Mapped[int]


class Event(Base):
    """One thing that happened to a job; `seq` grows by one per job."""

    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    t: Mapped[int]
    level: Mapped[str] = mapped_column(String(8))
    kind: Mapped[str] = mapped_column(String(16))  # state | progress | metric | log
    data: Mapped[dict[str, Any]]


class JobFile(Base):
    """One file that a job left behind; its bytes are the artifact of that digest."""

    __tablename__ = "job_files"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(96), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int]
    media_type: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[int]


class Report(Base):
    """One finished report; its files are artifacts named by digest."""

    __tablename__ = "reports"
    __table_args__ = (Index("reports_by_age", "created_at", "id"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64))  # report_digest: without seconds and run
    status: Mapped[str] = mapped_column(String(32))
    summary: Mapped[dict[str, Any]]
    files: Mapped[dict[str, Any]]  # format -> SHA-256 of the artifact
    created_at: Mapped[int]


class Idempotency(Base):
    """One remembered creating POST."""

    __tablename__ = "idempotency"

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    route: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_digest: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[int]


class Worker(Base):
    """One worker's newest sign of life."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(96), primary_key=True)  # of its slot
    beat_at: Mapped[int]
    started_at: Mapped[int]


class Tally(Base):
    """One number that workers count up, for the web process to show among its metrics."""

    __tablename__ = "tallies"

    metric: Mapped[str] = mapped_column(String(64), primary_key=True)
    label: Mapped[str] = mapped_column(String(96), primary_key=True)
    part: Mapped[str] = mapped_column(String(24), primary_key=True)  # of a histogram: upper bound or sum; else empty
    value: Mapped[float] = mapped_column(Float)


class ApiKey(Base):
    """One key of the API; the key itself is not here, only what it hashes to."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    owner: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[str] = mapped_column(String(64))  # words separated by spaces
    digest: Mapped[str] = mapped_column(String(64))  # SHA-256 of the key
    rate: Mapped[float | None] = mapped_column(Float)  # requests per second; NULL: the service's own
    created_at: Mapped[int]
    revoked_at: Mapped[int | None]
