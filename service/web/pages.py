"""The pages of the service as HTML text: data in, text out; routes decide where the data comes from."""

from collections.abc import Iterable, Mapping
from typing import Final

from service.web.compare_page import ComparePage
from service.web.docs_page import DocsPage
from service.web.forms import EvaluateForm
from service.web.model_page import model_view
from service.web.policy import PAGE_META_POLICY
from service.web.records import Badge, Record, event_row, job_row, model_row, plain, report_row, so_far_rows
from service.web.rendering import environment
from service.web.try_page import TryForm

BUSY_SECONDS: Final = 1
IDLE_SECONDS: Final = 10


def render_dashboard(
    models: Iterable[Record],
    jobs: Iterable[Record],
    reports: Iterable[Record],
    health: Record,
    *,
    origin: str = "http://127.0.0.1:8000",
    csrf: str = "",
) -> str:
    """Return the start page: health, ensembles, jobs and reports, each list in the given order.

    Args:
        models: descriptions of the model repository (`ModelInfo`).
        jobs: job resources of the API.
        reports: report resources of the API, `{id, status, summary, created_at}`.
        health: `{"ready": bool}`, further entries with text values are shown beside it.
        origin: scheme, host and port under which the service answers, for the example command.
        csrf: token that changing requests of a signed-in page carry.
    """
    rows = [job_row(job) for job in jobs]
    stored = [model_row(model) for model in models]
    state = plain(health)
    ready = bool(state.get("ready", False))
    notes = [f"{name.replace('_', ' ')} {value}" for name, value in state.items() if isinstance(value, str) and value]
    note = "; ".join(notes) or ("The service answers requests." if ready else "The service does not take requests now.")
    busy = any(row.is_open for row in rows)
    return _render(
        "dashboard",
        models=stored,
        jobs=rows,
        reports=[report_row(report) for report in reports],
        health=Badge("ready", "good") if ready else Badge("not ready", "warn"),
        health_note=note,
        origin=origin,
        example=stored[0].name if stored else "digits",
        refresh=BUSY_SECONDS if busy else IDLE_SECONDS,
        csrf=csrf,
    )


def render_job(job: Record, events: Iterable[Record], *, so_far: Record | None = None, csrf: str = "") -> str:
    """Return the page of one job: state, progress, what may be done to it, its specification and its events.

    Args:
        job: the job resource of the API.
        events: its events in any order; the page shows the newest first.
        so_far: its partial report, while it has no other.
        csrf: token that changing requests of a signed-in page carry.
    """
    row = job_row(job)
    log = sorted((event_row(event) for event in events), key=lambda event: event.seq, reverse=True)
    refresh = BUSY_SECONDS if row.is_open else None
    return _render(
        "job",
        job=row,
        events=log,
        refresh=refresh,
        csrf=csrf,
        last=log[0].seq if log else 0,
        so_far=so_far_rows(so_far) if so_far is not None else [],
        caution=str(plain(so_far).get("words", "")) if so_far is not None else "",
    )


def render_model(record: Record, *, costs: Mapping[str, float] | None = None, csrf: str = "") -> str:
    """Return the page of one ensemble: members, coordinates, agreement, cost, record.

    Args:
        record: its description in the model repository.
        costs: measured seconds, see `model_view`.
        csrf: token that changing requests of a signed-in page carry.
    """
    return _render("model", model=model_view(record, costs=costs), refresh=None, csrf=csrf)


def render_evaluate(form: EvaluateForm, *, csrf: str = "") -> str:
    """Return the page with the form of a new evaluation; `csrf` is the token that a signed-in page carries."""
    return _render("evaluate", form=form, refresh=None, csrf=csrf)


def render_try(form: TryForm, *, csrf: str = "") -> str:
    """Return the page of one attack on one image; `csrf` is the token that a signed-in page carries."""
    return _render("try", form=form, refresh=None, csrf=csrf)


def render_compare(page: ComparePage, *, csrf: str = "") -> str:
    """Return the page of two reports side by side; `csrf` is the token that a signed-in page carries."""
    return _render("compare", page=page, refresh=None, csrf=csrf)


def render_docs(docs: DocsPage, *, csrf: str = "") -> str:
    """Return the page that describes the API; `csrf` is the token that a signed-in page carries."""
    return _render("docs", docs=docs, refresh=None, csrf=csrf)


def render_login(*, needed: bool, problem: str = "") -> str:
    """Return the page that takes a key.

    Args:
        needed: whether this service asks for keys at all.
        problem: why the last key was not taken.
    """
    return _render("login", needed=needed, problem=problem, refresh=None)


def render_error(status: int, heading: str, detail: str = "") -> str:
    """Return the page of an error.

    Args:
        status: HTTP status.
        heading: the error in a few words.
        detail: what was expected, what came and what to do.
    """
    return _render("error", status=status, heading=heading, detail=detail, refresh=None)


def _render(name: str, **values: object) -> str:
    return environment().get_template(f"{name}.html.j2").render({"policy": PAGE_META_POLICY, "csrf": "", **values})
