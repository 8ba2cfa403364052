"""The log's form: text for a person, one JSON object a line for a machine; each line names its request and trace."""

import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from service.observability.context import current_names

FIELDS: Final = "levelset_fields"  # of a record: a mapping that a JSON line carries along
_TEXT: Final = "%(asctime)s %(name)s %(levelname)s %(message)s"


class TextFormatter(logging.Formatter):
    """One readable line; control characters of what a client sent cannot steer a terminal."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line, with the request's id where there is one."""
        fields = {**getattr(record, FIELDS, {}), **current_names()}
        return printable(super().formatMessage(record) + "".join(f" {name}={fields[name]}" for name in fields))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request, trace, span, and the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {**current_names(), **getattr(record, FIELDS, {})}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


FORMATTERS: Final[Mapping[str, Callable[[], logging.Formatter]]] = MappingProxyType(
    {"text": TextFormatter, "json": JsonFormatter}
)


def configure(form: str, level: str) -> None:
    """Send the log of this process to standard error.

    Args:
        form: "text" or "json".
        level: "debug", "info", "warning" or "error"; requests are logged at "info".
    """
    handler = logging.StreamHandler()
    handler.setFormatter(FORMATTERS[form]())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def printable(line: str) -> str:
    """Return a line with control characters written as escapes, tabs and line ends left."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else repr(sign)[1:-1] for sign in line)
