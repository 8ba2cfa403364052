"""The container's health check: `python -m service.healthcheck` exits 0 when the server says it is ready.

Standard library only, so that it starts in milliseconds and needs no curl in the image.
"""

import json
import os
import sys
from http.client import HTTPConnection, HTTPException
from typing import Final

READY_PATH: Final = "/v2/health/ready"
TIMEOUT_SECONDS: Final = 4.0


def check(host: str, port: int, *, timeout: float = TIMEOUT_SECONDS) -> str | None:
    """Return None when the server at host:port is ready, otherwise one sentence that says why not.

    Args:
        host: name or address of the server; proxies of the environment are never used.
        port: TCP port of the server.
        timeout: seconds to wait for the connection and for the answer.
    """
    connection = HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", READY_PATH)
        response = connection.getresponse()
        body = json.loads(response.read(65536))
    except (OSError, HTTPException, ValueError) as error:
        return f"expected JSON from http://{host}:{port}{READY_PATH}, got {type(error).__name__}: {error}"
    finally:
        connection.close()
    if response.status == 200 and isinstance(body, dict) and body.get("ready") is True:
        return None
    return f"expected status 200 with ready true from {READY_PATH}, got status {response.status} with {body!r}"


def main() -> int:
    """Return the exit code for the server that LEVELSET_PORT names on this machine: 0 ready, 1 not."""
    problem = check("127.0.0.1", int(os.environ.get("LEVELSET_PORT", "8000")))
    if problem is None:
        return 0
    sys.stderr.write(problem + "\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
