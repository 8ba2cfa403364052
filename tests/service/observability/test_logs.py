"""Log lines: one form for people, one for machines; each names its request; a client cannot steer a terminal.

Seen to fail: an escape sequence written as it came; the trace of a foreign version continued; a trace of zeros
continued; the client's span used as our own.
"""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from service.observability.context import CURRENT, IDENTITY, TRACE, continue_trace
from service.observability.logs import FIELDS, FORMATTERS

TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-01"


def record(message: str, **fields: Any) -> logging.LogRecord:
    """Return a record of the service's log."""
    made = logging.LogRecord("levelset.test", logging.INFO, __file__, 1, message, None, None)
    setattr(made, FIELDS, fields)
    return made


@pytest.fixture
def request_at_hand() -> Iterator[str]:
    """Work for a request; yields its span."""
    trace = continue_trace(TRACEPARENT)
    token = CURRENT.set({IDENTITY: "r-1", TRACE: trace})
    yield trace.span
    CURRENT.reset(token)


def test_a_json_line(request_at_hand: str) -> None:
    """Everything a machine needs, on one line, escaped."""
    line = FORMATTERS["json"]().format(record("two\nlines \x1b[31m", status=200))
    assert "\n" not in line
    assert "\x1b" not in line
    entry = json.loads(line)
    assert entry["message"] == "two\nlines \x1b[31m"
    assert (entry["level"], entry["logger"], entry["status"]) == ("info", "levelset.test", 200)
    assert (entry["request_id"], entry["trace_id"], entry["span_id"]) == ("r-1", "a" * 32, request_at_hand)


def test_a_text_line(request_at_hand: str) -> None:
    """Readable, with the request's id and the record's fields, without control characters."""
    line = FORMATTERS["text"]().format(record("hello \x1b[31m\r", status=200))
    assert "levelset.test INFO hello \\x1b[31m\\r" in line
    assert "status=200" in line
    assert "request_id=r-1" in line
    assert "\x1b" not in line


def test_outside_of_requests_nothing_is_named() -> None:
    """A line of the background names no request, and an error carries its traceback."""
    try:
        raise ValueError("deep")
    except ValueError as error:
        made = record("failed")
        made.exc_info = (type(error), error, error.__traceback__)
    entry = json.loads(FORMATTERS["json"]().format(made))
    assert "request_id" not in entry
    assert "ValueError: deep" in entry["exception"]


def test_a_trace_is_continued() -> None:
    """The client's trace and flags, a span of our own."""
    trace = continue_trace(TRACEPARENT)
    assert (trace.trace, trace.flags) == ("a" * 32, "01")
    assert trace.span != "b" * 16
    assert trace.header == f"00-{'a' * 32}-{trace.span}-01"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "ff" + TRACEPARENT[2:],
        TRACEPARENT.upper(),
        TRACEPARENT + "-x",
        TRACEPARENT + "\n",
        f"00-{'0' * 32}-{'b' * 16}-01",
        f"00-{'a' * 32}-{'0' * 16}-01",
    ],
)
def test_what_is_no_trace_begins_one(header: str | None) -> None:
    """Malformed, of another version, or all zeros: a new trace."""
    trace = continue_trace(header)
    assert trace.trace != "a" * 32
    assert len(trace.trace) == 32
    assert trace.flags == "00"
