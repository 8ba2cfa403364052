"""`/docs`: the OpenAPI document as a page, offline."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.routes.html import page_response
from service.security.identity import csrf_of
from service.web.docs_page import docs_page
from service.web.pages import render_docs

router = APIRouter(include_in_schema=False)


@router.get("/docs")
def docs(request: Request) -> Response:
    """Return the page."""
    return page_response(render_docs(docs_page(request.app.openapi()), csrf=csrf_of(request)))
