"""The audit log: who changed what and when, and who was refused, one JSON object a line; never a key.

It is a file of the data folder, readable by its owner only. When it is full it becomes `audit.log.1` and so on.
"""

import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from starlette.types import Scope as Connection

from service.observability.context import IDENTITY as REQUEST_ID
from service.security.identity import identity_in

LOG = logging.getLogger("levelset.audit")
FILE: Final = "audit.log"
KEPT: Final = 5
FULL: Final = 10 << 20  # bytes
_LONGEST: Final = 200  # characters of a path


class AuditLog:
    """Appends records to a file.

    Args:
        path: of the file, made when the first record comes.
        full: bytes at which a new file is begun.
    """

    def __init__(self, path: Path, *, full: int = FULL) -> None:
        self._path = path
        self._full = full

    def note(self, event: str, **fields: Any) -> None:
        """Write one record; a disk that takes none is reported in the service's own log and stops nobody.

        Args:
            event: what happened, in two or three words.
            fields: JSON values, none of them secret.
        """
        entry = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **fields}
        line = json.dumps(entry, default=str) + "\n"
        try:
            self._append(line.encode())
        except OSError as error:
            LOG.error("the audit log takes no records: %s", error.strerror)

    def request(self, event: str, connection: Connection, **fields: Any) -> None:
        """Write one record about a request: who, from where, what; neither query nor headers."""
        who = identity_in(connection)
        client = connection.get("client")
        self.note(
            event,
            key=who.key,
            owner=who.owner,
            via="session" if who.session is not None else "key" if who.key is not None else "open",
            address=client[0] if client else None,
            method=connection["method"],
            path=connection["path"][:_LONGEST],
            request_id=connection.get(REQUEST_ID),
            **fields,
        )

    def _append(self, line: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line)  # one call: lines of several threads and processes do not mix
            size = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        if size >= self._full:
            self._turn_over()

    def _turn_over(self) -> None:
        for number in range(KEPT - 1, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            if older.exists():
                older.replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
        self._path.replace(self._path.with_name(f"{self._path.name}.1"))
