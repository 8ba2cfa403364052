"""What a running service tells about itself: its metrics, and the lines of its log about shards."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from tests.service.integration.service_process import Service

LINE = re.compile(r"(?P<name>[a-z_]+)\{(?P<labels>.*)\} (?P<value>[0-9.e+Inf-]+)")


@dataclass(frozen=True, slots=True)
class Execution:
    """One line of the log: a shard began, or ended with a result that was found or computed."""

    key: str
    ended: bool
    cached: bool | None


def metrics(service: Service) -> dict[tuple[str, str], float]:
    """Return every sample of `/metrics`: (name, labels as written) -> value."""
    found = {}
    for line in service.client.get("/metrics").text.splitlines():
        if not line.startswith("#"):
            match = LINE.fullmatch(line)
            assert match, line
            found[match["name"], match["labels"]] = float(match["value"])
    return found


def executions(log: Path) -> list[Execution]:
    """Return what a log in JSON says about shards, oldest first."""
    entries = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{") and '"shard"' in line]
    return [Execution(entry["shard"], entry["message"] == "shard ended", entry.get("cached")) for entry in entries]
