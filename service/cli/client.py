"""A client of a running service: inference, evaluation jobs, reports."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from service.cli import exit_codes
from service.errors import ServiceError
from service.settings import Settings

FINISHED = ("succeeded", "failed", "cancelled")
LOCAL = ("localhost", "127.0.0.1", "::1")
MEDIA_TYPES = {"json": "application/json", "html": "text/html", "md": "text/markdown"}


class ServiceFailure(ServiceError):
    """The service did not answer, refused, or its job did not succeed."""

    exit_code = exit_codes.NO_SERVICE


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is.

    Attributes:
        done: shards finished.
        total: shards in all; 0 before the list is known.
        message: state of the job.
    """

    done: int
    total: int
    message: str


class ServiceClient:
    """Talks to one service over kept-alive HTTP; use as a context manager.

    Args:
        url: address, e.g. `http://127.0.0.1:8000`.
        timeout: seconds one answer may take.
        key: shown with every request; the one in `LEVELSET_API_KEY` unless given.
    """

    def __init__(self, url: str, *, timeout: float = 60.0, key: SecretStr | None = None) -> None:
        self.url = url.rstrip("/")
        shown = key or Settings().api_key
        headers = {"Authorization": f"Bearer {shown.get_secret_value()}"} if shown is not None else {}
        beyond = urlsplit(self.url).hostname not in LOCAL  # a proxy cannot reach this machine's own addresses
        self._http = httpx.Client(base_url=self.url, timeout=timeout, trust_env=beyond, headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def is_ready(self) -> bool:
        """Return whether the service answers and can take requests."""
        try:
            return self._http.get("/v2/health/ready", timeout=5.0).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def model(self, name: str) -> dict[str, Any]:
        """Return the metadata of a served model.

        Raises:
            ServiceFailure: there is no such model, or no answer.
        """
        return self._json("GET", f"/v2/models/{name}")

    def record(self, name: str) -> dict[str, Any]:
        """Return what the service's repository says about an ensemble: shape, data set, members, digests.

        Raises:
            ServiceFailure: there is no such ensemble, or no answer.
        """
        for found in self._json("GET", "/api/v1/ensembles")["data"]:
            if found["name"] == name:
                return dict(found)
        raise ServiceFailure(f"ensemble {name}: expected it in the repository of {self.url}, got none of that name")

    def infer(self, model: str, inputs: list[Any], *, outputs: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return the answer of an inference request, outputs by name as flat lists.

        Args:
            model: name of an ensemble or of one of its views.
            inputs: images `[n C H W]` as nested lists, values in [0, 1].
            outputs: names of the wanted outputs; all when empty.

        Raises:
            ServiceFailure: the request was refused, or no answer.
        """
        tensor = {"name": "input", "shape": shape_of(inputs), "datatype": "FP32", "data": inputs}
        body: dict[str, Any] = {"inputs": [tensor]}
        if outputs:
            body["outputs"] = [{"name": name} for name in outputs]
        answer = self._json("POST", f"/v2/models/{model}/infer", body)
        return {output["name"]: output["data"] for output in answer["outputs"]}

    def submit(self, spec: Mapping[str, Any]) -> str:
        """Return the id of a newly created job.

        Raises:
            ServiceFailure: the job was refused, or no answer.
        """
        return str(self._json("POST", "/api/v1/jobs", spec)["id"])

    def wait(
        self, job: str, *, progress: Callable[[JobProgress], None] | None = None, interval: float = 0.25
    ) -> dict[str, Any]:
        """Return a job once it has succeeded.

        Args:
            job: id of the job.
            progress: called after each look.
            interval: seconds between looks.

        Raises:
            ServiceFailure: the job failed or was cancelled, or no answer.
        """
        while True:
            found = self._json("GET", f"/api/v1/jobs/{job}")
            if progress is not None:
                counts = found.get("progress") or {}
                progress(JobProgress(counts.get("shards_done") or 0, counts.get("shards_total") or 0, found["state"]))
            if found["state"] == "succeeded":
                return found
            if found["state"] in FINISHED:
                reason = (found.get("error") or {}).get("message", "no reason given")
                raise ServiceFailure(f"job {job}: expected it to succeed, got {found['state']}: {reason}")
            time.sleep(interval)

    def report(self, report_id: str, form: str) -> str:
        """Return a finished report as text.

        Args:
            report_id: id of the report.
            form: json, html or md.

        Raises:
            ServiceFailure: there is no such report, or no answer.
        """
        return self._send("GET", f"/api/v1/reports/{report_id}", None, accept=MEDIA_TYPES[form]).text

    def _json(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        response = self._send(method, path, body, accept="application/json")
        try:
            content: dict[str, Any] = response.json()
        except ValueError as error:
            raise ServiceFailure(
                f"{method} {self.url}{path}: expected JSON, got {response.text[:200]!r}; is this a levelset service?"
            ) from error
        return content

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None, *, accept: str) -> httpx.Response:
        try:
            response = self._http.request(method, path, json=body, headers={"Accept": accept})
        except httpx.HTTPError as error:
            raise ServiceFailure(
                f"{method} {self.url}{path}: expected an answer, got {type(error).__name__}: {error}; "
                "start the service with `levelset serve` or correct --url"
            ) from error
        if response.is_success:
            return response
        raise ServiceFailure(
            f"{method} {self.url}{path}: expected success, got HTTP {response.status_code}: {_reason(response)}"
        )


def shape_of(nested: list[Any]) -> list[int]:
    """Return the shape of nested lists, taking the first element as typical."""
    shape: list[int] = []
    level: Any = nested
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
    return shape


def _reason(response: httpx.Response) -> str:
    try:
        content = response.json()
    except ValueError:
        return response.text[:500]
    if not isinstance(content, dict):
        return response.text[:500]
    return str(content.get("detail") or content.get("error") or content)[:2000]
