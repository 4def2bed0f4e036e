"""What the synchronisation with GitHub has last seen of a project, and why a release was not taken over."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.endpoints.projects import allowed_of
from gateway.endpoints.query import Query
from gateway.endpoints.responses import json_response
from gateway.errors import NotFound
from gateway.state import state_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from gateway.releases.github_store import Seen, Watched

PER_PAGE = 20
MAX_PER_PAGE = 100
MAX_PAGE = 1_000_000


async def status(request: Request) -> Response:
    """Answer `GET /projects/{project}/github?page&per_page`: the repository, and its releases, the newest first.

    Raises `ProjectNotFound`, `NotFound` for a project that follows no repository, `InvalidRequest`,
    `StorageUnavailable`.
    """
    query = Query(request)
    page = query.number("page", 1, MAX_PAGE)
    per_page = query.number("per_page", PER_PAGE, MAX_PER_PAGE)
    query.refuse_if_wrong()
    state = state_of(request)
    project = state.catalogue.now.project(request.path_params["project"], allowed_of(request)).project
    if project.github is None:
        raise NotFound(f"Project {project.id!r} follows no repository: set its field github")
    watched = await state.github.watched(project.id)
    releases, total = await state.github.page(project.id, page, per_page)
    body = {
        "project_id": project.id,
        **_repository(project.github.repository, watched),
        "releases": [release_view(seen) for seen in releases],
        "total": total,
        "page": page,
        "per_page": per_page,
    }
    return json_response(body)


def release_view(seen: Seen) -> dict[str, Any]:
    """Return a release as it is shown."""
    return {
        "id": seen.release_id,
        "tag": seen.tag,
        "state": str(seen.state),
        "reason": seen.reason,
        "channel": seen.channel_id,
        "version": seen.version_id,
    }


def _repository(configured: str, watched: Watched | None) -> dict[str, Any]:
    if watched is None:
        watched_at, next_at, held_until, name, problem = None, None, None, "", "nobody has looked yet"
    else:
        watched_at, next_at, problem = watched.polled_at, watched.next_at, watched.problem
        name, held_until = watched.repository, watched.held_until or None
    return {
        "repository": name or configured,
        "last_poll": _moment(watched_at),
        "next_poll": _moment(next_at),
        "held_until": _moment(held_until),
        "problem": problem or None,
    }


def _moment(at_ms: int | None) -> str | None:
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
