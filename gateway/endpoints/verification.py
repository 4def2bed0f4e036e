"""Having a build verified again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.context import context_of
from gateway.endpoints.responses import json_response
from gateway.releases import views
from gateway.releases.batch import version_of
from gateway.releases.service import Publisher
from gateway.state import state_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


async def verify(request: Request) -> Response:
    """Put a build back to pending, so that it is verified from the beginning: 202 with the build."""
    state, context, path = state_of(request), context_of(request.scope), request.path_params
    assert context.principal is not None  # noqa: S101 - the guard lets nobody here without one.
    who = Publisher(context.principal, context.client_ip, context.request_id)
    where = path["project"], path["channel"], version_of("version", path["version"]).text
    version, build = await state.releases.verify_again(*where, path["build"], who)
    return json_response(views.build_detail(version, build, state.downloads.of(*where, build.id)), status=202)
