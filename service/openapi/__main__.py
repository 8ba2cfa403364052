"""`python -m service.openapi FILE` writes the document; without a file it prints it."""

import json
import sys
from pathlib import Path

from service.app import create_app
from service.openapi.document import describe
from service.settings import Settings


def text() -> str:
    """Return the document as it is committed."""
    return json.dumps(describe(create_app(Settings())), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text(), encoding="utf-8")
    else:
        sys.stdout.write(text())
