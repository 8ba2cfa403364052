"""Results on disk by content: what is there is not computed again, whatever was interrupted."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attacks.canonical import content_digest
from attacks.examples import write_whole


@dataclass(frozen=True, slots=True)
class Ledger:
    """A folder of JSON values.

    Attributes:
        folder: where they lie.
    """

    folder: Path

    def get(self, context: Any, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the value of a context, read or made and written.

        Args:
            context: JSON values that the result depends on.
            make: called at most once.
        """
        path = self.folder / f"{content_digest(context)}.json"
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return found
        made = make()
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(made).encode())
        return made
