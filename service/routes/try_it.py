"""`/try` and `/api/v1/try`: one attack on one image, run by a worker; uploads of images; samples to choose from."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import JSONResponse, Response

from service.errors import ServiceError, UnsupportedMedia, to_http
from service.json_body import load_json
from service.openapi import catalogue
from service.openapi.answers import also
from service.routes.bodies import read_body
from service.routes.creating import check_media, inlined
from service.routes.html import page_response, read_form
from service.routes.rooms import rooms_of
from service.routes.wording import sentence
from service.security.identity import csrf_of, owner_of
from service.trying.orders import SampleImage, TryOrder
from service.trying.uploads import MAX_BYTES
from service.web.pages import render_try
from service.web.try_page import order_of, try_form

router = APIRouter(tags=["try"])
MEDIA = ("image/png", "image/jpeg", "image/webp")
LARGEST = 16 << 10  # bytes of an order


def _schema() -> dict[str, Any]:
    schema = TryOrder.model_json_schema()
    definitions = schema.pop("$defs", {})
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": inlined(schema, definitions)}}}
    }


_IMAGE = {
    "requestBody": {
        "required": True,
        "content": {media: {"schema": {"type": "string", "format": "binary"}} for media in MEDIA},
    }
}
_PNG: dict[int | str, dict[str, Any]] = {
    200: {"description": "the image", "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
}


@router.post(
    "/api/v1/try",
    operation_id="try",
    response_model=catalogue.Try,
    summary="Attack one image",
    responses=also(404, 503, 504),
    openapi_extra=_schema(),
)
async def run(request: Request) -> JSONResponse:
    """Return everybody's answer before and after one attack; it takes ten seconds at most, and proves nothing."""
    check_media(request.headers.get("content-type", "application/json"))
    body = load_json(await read_body(request, limit=LARGEST))
    try:
        order = TryOrder.model_validate(body)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None
    return JSONResponse(await rooms_of(request).tries.run(order, owner=owner_of(request)))


@router.post(
    "/api/v1/try/images",
    status_code=201,
    operation_id="upload_try_image",
    response_model=catalogue.Image,
    summary="Keep an image for an hour",
    openapi_extra=_IMAGE,
)
async def upload(request: Request) -> JSONResponse:
    """Return the name under which the image in the raw body may be tried."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in MEDIA:
        raise UnsupportedMedia(
            f"Content-Type: expected one of {list(MEDIA)}, got {media[:40]!r}; send the file as it is"
        )
    tries = rooms_of(request).tries
    name = await asyncio.to_thread(tries.keep, await read_body(request, limit=MAX_BYTES), owner=owner_of(request))
    path = f"/api/v1/try/images/{name}"
    return JSONResponse({"object": "image", "sha256": name, "links": {"self": path}}, 201, headers={"Location": path})


@router.get(
    "/api/v1/try/images/{sha256}",
    operation_id="get_try_image",
    summary="An uploaded image",
    response_class=Response,
    responses=_PNG,
)
def image(request: Request, sha256: str) -> Response:
    """Return an uploaded image as the service keeps it: a PNG."""
    return _png(rooms_of(request).tries.image(sha256, owner=owner_of(request)))


@router.get(
    "/api/v1/try/samples/{dataset}/{index}",
    operation_id="get_try_sample",
    summary="An image to choose",
    response_class=Response,
    responses=_PNG,
)
def sample(request: Request, dataset: str, index: Annotated[int, Path(ge=0, le=10_000)]) -> Response:
    """Return one of the first test images of a data set as a PNG."""
    try:
        chosen = SampleImage(dataset=dataset, index=index)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None
    return _png(rooms_of(request).tries.sample(chosen))


@router.get("/try", include_in_schema=False)
def form(request: Request) -> Response:
    """Return the page; the worker begins to load what tries need."""
    rooms_of(request).tries.wake()
    values = dict(request.query_params)
    return _page(request, {**values, "target": values.get("target") or values.get("model", "")})


@router.post("/try", include_in_schema=False)
async def submit(request: Request) -> Response:
    """Return the page with the answer, for browsers without script and for the script alike."""
    fields = await read_form(request)
    try:
        order = TryOrder.model_validate(order_of(fields))
        answer = await rooms_of(request).tries.run(order, owner=owner_of(request))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"] if part not in ("SampleImage", "UploadedImage"))
        return _page(request, fields, problem=f"{place or 'request'}: {sentence(dict(first))}", status=422)
    except ServiceError as error:
        mapped = to_http(error)
        return _page(request, fields, problem=mapped.detail, status=mapped.status, headers=mapped.headers)
    return _page(request, fields, answer=answer)


def _page(
    request: Request,
    values: Mapping[str, str],
    *,
    problem: str = "",
    answer: Mapping[str, Any] | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    rooms = rooms_of(request)
    offers = {"datasets": rooms.capabilities.datasets, "radii": rooms.capabilities.radii}
    shown = try_form(rooms.pool.loaded(), offers, values=values, problem=problem, answer=answer)
    return page_response(render_try(shown, csrf=csrf_of(request)), status, headers)


def _png(data: bytes) -> Response:
    return Response(data, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})
