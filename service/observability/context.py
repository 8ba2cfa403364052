"""What a log line belongs to: the request and its trace, as W3C trace context names them."""

import re
import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

_PARENT: Final = re.compile(r"00-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})")
_ZEROS: Final = frozenset({"0" * 32, "0" * 16})


@dataclass(frozen=True, slots=True)
class Trace:
    """One span of a trace: this server's part of a request.

    Attributes:
        trace: 32 hexadecimal digits, the client's own where it sent some.
        span: 16 hexadecimal digits, new here.
        flags: two hexadecimal digits, as they came.
    """

    trace: str
    span: str
    flags: str

    @property
    def header(self) -> str:
        """Return the `traceparent` of this span."""
        return f"00-{self.trace}-{self.span}-{self.flags}"


# The scope of the request that this task or thread works for; set by the middleware, read by the log's formatters.
CURRENT: ContextVar[Mapping[str, Any] | None] = ContextVar("levelset_request", default=None)
IDENTITY: Final = "levelset_request_id"  # of a scope: the request's id, which the gate sets
TRACE: Final = "levelset_trace"  # of a scope: its `Trace`


def current_names() -> Mapping[str, str]:
    """Return request, trace and span of the work at hand; empty outside of every request."""
    scope = CURRENT.get()
    if scope is None:
        return {}
    trace: Trace = scope[TRACE]
    return {"request_id": scope.get(IDENTITY, "unknown"), "trace_id": trace.trace, "span_id": trace.span}


def continue_trace(header: str | None) -> Trace:
    """Return this server's span of the trace that `traceparent` names, or of a new one where it names none.

    Source: W3C Trace Context, level 1, section 3.2.
    """
    match = _PARENT.fullmatch(header or "")
    span = secrets.token_hex(8)
    if match is None or {match["trace"], match["span"]} & _ZEROS:
        return Trace(secrets.token_hex(16), span, "00")
    return Trace(match["trace"], span, match["flags"])
