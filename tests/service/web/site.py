"""A small real server for the pages: the page functions behind HTTP with the service's policy, and a job that moves."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from service.web.pages import render_dashboard, render_error, render_job
from service.web.policy import PAGE_POLICY
from service.web.rendering import static_folder
from tests.service.web import samples

MEDIA = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@dataclass(slots=True)
class Site:
    """What the server shows, and what it was asked."""

    url: str = ""
    job: dict[str, Any] = field(default_factory=samples.job)
    events: list[dict[str, Any]] = field(default_factory=samples.events)
    posted: list[str] = field(default_factory=list)

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Return status, media type and body of a GET."""
        if path.startswith("/static/"):
            file = static_folder() / path.removeprefix("/static/")
            return 200, MEDIA[file.suffix[1:]], file.read_bytes()
        if path.startswith("/api/v1/jobs/") and path.endswith("/events"):  # a stream that breaks: the page polls
            return 200, "text/event-stream", b"retry: 600000\n\n"
        if path == "/":
            page = render_dashboard([samples.model()], [self.job], [samples.report()], {"ready": True}, origin=self.url)
        elif path == f"/jobs/{self.job['id']}":
            page = render_job(self.job, self.events)
        else:
            return 404, "text/html", render_error(404, "Not found", path).encode()
        return 200, "text/html", page.encode()


@contextmanager
def serving() -> Iterator[Site]:
    """Return a site that answers on a free port of this machine until the block ends."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, media, body = site.answer(self.path.partition("?")[0])
            self.send_response(status)
            self.send_header("Content-Type", f"{media}; charset=utf-8")
            self.send_header("Content-Security-Policy", PAGE_POLICY)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            site.posted.append(self.path)
            site.job = samples.job("cancelled", id=site.job["id"])
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
