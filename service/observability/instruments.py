"""Every metric of the service, by name: what `/metrics` shows and alert rules may rely on."""

from collections.abc import Iterator

from service.observability.metrics import ROWS, SECONDS, SHARD_SECONDS, SHARES, Counter, Family, Gauge, Histogram

UNKNOWN = "_unknown"  # the model of requests that name none we know: label values come from closed sets
OUTCOMES = ("ok", "invalid", "rejected", "timeout", "cancelled", "error")


class Instruments:
    """The metrics of one application; made once, handed to whoever counts."""

    def __init__(self) -> None:
        self.requests = Counter(
            "levelset_requests_total", "inference requests by outcome", ("model", "view", "outcome")
        )
        self.request_seconds = Histogram(
            "levelset_request_seconds", "seconds from the request's head to its answer", ("model",), SECONDS
        )
        self.queue_seconds = Histogram(
            "levelset_queue_seconds", "seconds an answered request waited before it ran", ("model",), SECONDS
        )
        self.compute_seconds = Histogram("levelset_compute_seconds", "seconds of one execution", ("model",), SECONDS)
        self.batch_rows = Histogram("levelset_batch_rows", "rows of one execution", ("model",), ROWS)
        self.dispatches = Counter("levelset_dispatch_total", "executions by why they began", ("reason",))
        self.queue_rows = Gauge("levelset_queue_rows", "rows that wait or run", ("model",))
        self.queue_bytes = Gauge("levelset_queue_bytes", "bytes that wait or run", ("model",))
        self.max_rows = Gauge(
            "levelset_max_rows", "rows one execution may hold; falls when memory runs out", ("model",)
        )
        self.rejected = Counter("levelset_rejected_total", "refused inference requests by reason", ("reason",))
        self.members_active = Gauge("levelset_members_active", "members of the newest loaded version", ("model",))
        self.disagreement = Histogram(
            "levelset_disagreement",
            "share of member pairs with different labels, per row of live traffic",
            ("model",),
            SHARES,
        )
        self.http_requests = Counter(
            "levelset_http_requests_total", "HTTP requests by route template", ("route", "method", "code")
        )
        self.jobs = Gauge("levelset_jobs", "jobs by state", ("state",))
        self.job_shards = Counter(
            "levelset_job_shards_total",
            "shards by what became of them: computed, cached (found), retried, failed",
            ("outcome",),
        )
        self.lease_lost = Counter(
            "levelset_job_lease_lost_total", "results dropped since another worker had taken the job over"
        )
        self.attack_seconds = Histogram(
            "levelset_attack_seconds", "seconds of one computed shard of an evaluation", ("attack",), SHARD_SECONDS
        )
        self.event_streams = Gauge("levelset_event_streams", "open event streams")

    def families(self) -> Iterator[Family]:
        """Yield every metric, in the order of this class."""
        yield from vars(self).values()
