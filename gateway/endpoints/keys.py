"""The administration of API keys, as on the product page and beyond."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from gateway.auth.service import MAX_PER_PAGE, Origin
from gateway.context import context_of
from gateway.endpoints.query import Query
from gateway.endpoints.responses import json_response
from gateway.json_body import check_media_type, parse_object, read_body, refuse_duplicate_keys
from gateway.state import state_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.auth.principal import Principal

PER_PAGE = 20
MAX_PAGE = 1_000_000_000


async def create(request: Request) -> Response:
    """Make a key: 201 with its secret, which is never shown again; 200 without it for a repeated Idempotency-Key."""
    fields = await read_object(request)
    caller, origin = _who(request)
    idempotency_key = request.headers.get("idempotency-key")
    created = await state_of(request).keys.create(fields, caller, origin, idempotency_key)
    return json_response(created.body, status=201 if created.is_new else 200)


async def page(request: Request) -> Response:
    """List keys, masked, also those that are expired or revoked; `tag`, `page` and `per_page` choose which."""
    query = Query(request)
    tag = query.text("tag")
    page_number = query.number("page", 1, MAX_PAGE)
    per_page = query.number("per_page", PER_PAGE, MAX_PER_PAGE)
    query.refuse_if_wrong()
    await state_of(request).accounts.written()
    found = await state_of(request).keys.page(tag, page_number, per_page)
    return json_response(found)


async def stats(request: Request) -> Response:
    """Answer what every key came to."""
    await state_of(request).accounts.written()
    return json_response(await state_of(request).keys.stats())


async def change(request: Request) -> Response:
    """Change what a key may do; a field that is absent stays as it is."""
    fields = await read_object(request)
    return json_response(await state_of(request).keys.change(_name(request), fields, *_who(request)))


async def rotate(request: Request) -> Response:
    """Give a key a new secret: 201 with it. The body may name the `overlap` for which the old one stays valid."""
    fields = await read_object(request, may_be_empty=True)
    return json_response(await state_of(request).keys.rotate(_name(request), fields, *_who(request)), status=201)


async def revoke(request: Request) -> Response:
    """End a key at once: 204."""
    await state_of(request).keys.revoke(_name(request), *_who(request))
    return Response(status_code=204, headers={"cache-control": "no-store"})


async def read_object(request: Request, *, may_be_empty: bool = False) -> dict[str, Any]:
    """Read a JSON object strictly. Raises `InvalidRequest`, `UnsupportedMediaType`, `PayloadTooLarge`."""
    check_media_type(context_of(request.scope).headers)
    body = await read_body(request.receive, state_of(request).settings.server.max_body_bytes)
    if may_be_empty and not body:
        return {}
    fields = parse_object(body)
    refuse_duplicate_keys(body)
    return fields


def _who(request: Request) -> tuple[Principal, Origin]:
    context = context_of(request.scope)
    assert context.principal is not None  # noqa: S101 - the guard lets nobody here without one.
    return context.principal, Origin(context.client_ip, context.request_id)


def _name(request: Request) -> str:
    name: str = request.path_params["name"]
    return name
