"""What became of the requests of one window, in the words of the report."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

UNANSWERED = 0  # in place of a status: nothing came while anybody waited
BROKEN = -1  # the connection failed
ANSWERED = 200
REFUSED = frozenset({429, 503})
EXPIRED = 504


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request.

    Attributes:
        scheduled: when it was due to leave.
        sent: when it left.
        done: when the whole answer was there, or nobody waited any longer.
        status: of HTTP, `UNANSWERED` or `BROKEN`.
    """

    scheduled: float
    sent: float
    done: float
    status: int

    @property
    def latency(self) -> float:
        """Return the seconds since it was due: a sender held up by the server makes nothing look faster."""
        return self.done - self.scheduled


@dataclass(frozen=True, slots=True)
class Summary:
    """The requests of one window.

    Attributes:
        offered: rows per second that were due.
        goodput: rows per second answered in the window, and within the deadline.
        p50: seconds, of the answered requests; None without one.
        p99: the same, 99th percentile.
        sent: requests.
        in_time: of them, answered within the deadline.
        late: answered after it.
        refused: 429 or 503.
        expired: 504.
        unanswered: no answer while anybody waited.
        errors: any other status, or a broken connection.
        lag: 99th percentile of the seconds by which requests left late; the load generator's own fault.
    """

    offered: float
    goodput: float
    p50: float | None
    p99: float | None
    sent: int
    in_time: int
    late: int
    refused: int
    expired: int
    unanswered: int
    errors: int
    lag: float

    def to_dict(self) -> dict[str, float | int | None]:
        """Return the fields as JSON values."""
        return asdict(self)


def summarise(outcomes: Sequence[Outcome], *, rows: int, warm_up: float, seconds: float, deadline: float) -> Summary:
    """Return the summary of one window: of the requests that were due in it, and for the goodput, of the answers in it.

    A long queue is answered after the window's end; counting those answers would reward it.

    Args:
        outcomes: one for each request, times from the begin of the load.
        rows: of each request.
        warm_up: seconds before the window.
        seconds: length of the window.
        deadline: seconds after which an answer is of no use.
    """
    end = warm_up + seconds
    useful = [o for o in outcomes if o.status == ANSWERED and o.latency <= deadline and warm_up <= o.done < end]
    outcomes = [outcome for outcome in outcomes if warm_up <= outcome.scheduled < end]
    latencies = [outcome.latency for outcome in outcomes if outcome.status == ANSWERED]
    in_time = sum(latency <= deadline for latency in latencies)
    counts = [outcome.status for outcome in outcomes]
    refused, expired = sum(map(counts.count, REFUSED)), counts.count(EXPIRED)
    unanswered = counts.count(UNANSWERED)
    return Summary(
        offered=len(outcomes) * rows / seconds,
        goodput=len(useful) * rows / seconds,
        p50=percentile(latencies, 0.50),
        p99=percentile(latencies, 0.99),
        sent=len(outcomes),
        in_time=in_time,
        late=len(latencies) - in_time,
        refused=refused,
        expired=expired,
        unanswered=unanswered,
        errors=len(outcomes) - len(latencies) - refused - expired - unanswered,
        lag=percentile([outcome.sent - outcome.scheduled for outcome in outcomes], 0.99) or 0.0,
    )


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least `share` of the values do not exceed; None without values."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
