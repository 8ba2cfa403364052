"""A running service with two finished jobs, as a browser comes to it, and what is looked at on each of its pages."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import httpx
import pytest

from service.settings import Settings
from tests.service.inference.models import copy_models
from tests.service.integration.service_process import Service, running

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
Scheme = Literal["light", "dark"]
WIDTHS = (1280, 390)
PATIENCE = 180_000  # milliseconds: the worker loads its libraries at the first try
ORDER: dict[str, Any] = {"image": {"dataset": "digits", "index": 3}, "target": "digits", "epsilon": 0.2, "steps": 5}
SERIOUS = frozenset({"serious", "critical"})


@dataclass(frozen=True, slots=True)
class Site:
    """A running service with two finished jobs."""

    service: Service
    jobs: tuple[str, ...]
    reports: tuple[str, ...]

    @property
    def url(self) -> str:
        """Its origin."""
        return str(self.service.client.base_url).rstrip("/")

    def try_once(self, **changes: Any) -> httpx.Response:
        """Return the answer to a try, asked again while the worker still loads its libraries."""
        found: list[httpx.Response] = []

        def answered() -> bool:
            found.append(self.service.client.post("/api/v1/try", json=ORDER | changes))
            return found[-1].status_code not in (503, 504)

        self.service.until(answered)
        return found[-1]


@dataclass(slots=True)
class Watch:
    """What a page did that it should not have done, and what it asked for."""

    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @classmethod
    def on(cls, page: "Page") -> "Watch":
        """Return a watch that hears console, errors and requests of the page."""
        watch = cls()
        page.on("console", lambda message: watch.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: watch.complaints.append(str(error)))
        page.on("request", lambda request: watch.requests.append(request.url))
        return watch

    def outside(self, origin: str) -> list[str]:
        """Return the requests that left the origin; data inside the page is no request."""
        return [url for url in self.requests if not url.startswith((origin, "data:"))]


@contextmanager
def built(factory: pytest.TempPathFactory, data: Path, key: str | None = None) -> Iterator[Site]:
    """Yield a service with the ensemble `digits` and two reports of it.

    Args:
        factory: for the ensemble.
        data: an existing folder.
        key: shown with every request of its client.
    """
    copy_models(factory, data)
    with running(Settings(data=data, port=0, drain_grace=2.0)) as service:
        if key is not None:
            service.client.headers["Authorization"] = f"Bearer {key}"
        small = {"data": {"name": "digits", "split": "test", "n": 8}, "threat": {"norm": "linf", "epsilons": [0.1]}}
        jobs = tuple(service.submit(**small, seed=seed) for seed in (0, 1))
        for job in jobs * 3:  # a busy machine takes longer than the patience of one look
            with suppress(AssertionError):
                service.wait_for_end(job)
        reports = tuple(str(service.wait_for_end(job)["report_id"]) for job in jobs)
        yield Site(service, jobs, reports)


def serious_faults(page: "Page") -> list[str]:
    """Return what axe finds serious, none where it is not installed.

    It is run by the debugger, beside the page's policy, which would refuse it.
    """
    axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("async () => (await axe.run(document)).violations")
    return [
        f"{fault['id']}: {node['html'][:160]}"
        for fault in found
        if fault["impact"] in SERIOUS
        for node in fault["nodes"]
    ]


def photograph(page: "Page", name: str, width: int) -> None:
    """Keep a picture of the whole page where somebody asked for it."""
    folder = os.environ.get("LEVELSET_PHOTOGRAPHS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}-{width}.png"), full_page=True)


def pages_of(site: Site) -> dict[str, str]:
    """Return the pages by name."""
    first, second = site.reports
    return {
        "dashboard": "/",
        "model": "/models/digits",
        "evaluate": "/evaluate",
        "job": f"/jobs/{site.jobs[0]}",
        "report": f"/reports/{first}",
        "compare": f"/compare?first={first}&second={second}",
        "try": "/try",
        "login": "/login",
        "docs": "/docs",
        "missing": "/models/nobody",
    }
