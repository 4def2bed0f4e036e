"""Changing the catalogue of releases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from gateway.context import context_of
from gateway.endpoints.keys import read_object
from gateway.endpoints.responses import json_response
from gateway.releases import views
from gateway.releases.batch import version_of
from gateway.releases.service import Publisher
from gateway.state import state_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.releases.model import Channel, Project, Version


async def create_project(request: Request) -> Response:
    """Make a project with its channels: 201."""
    made = await state_of(request).releases.create_project(await read_object(request), _who(request))
    return json_response(_project(made, None, 0), status=201)


async def change_project(request: Request) -> Response:
    """Change a project; a field that is absent stays."""
    project_id, body = request.path_params["project"], await read_object(request)
    changed = await state_of(request).releases.change_project(project_id, body, _who(request))
    found = state_of(request).catalogue.now.projects.get(project_id)
    latest = found.latest_version if found is not None else None
    return json_response(_project(changed, latest, state_of(request).downloads.of(project_id)))


async def delete_project(request: Request) -> Response:
    """Remove a project with all that is in it: 204."""
    await state_of(request).releases.delete_project(request.path_params["project"], _who(request))
    return _gone()


async def create_channel(request: Request) -> Response:
    """Add a channel: 201."""
    body = await read_object(request)
    made = await state_of(request).releases.create_channel(request.path_params["project"], body, _who(request))
    return json_response(_channel(made), status=201)


async def change_channel(request: Request) -> Response:
    """Change a channel; a field that is absent stays."""
    project_id, channel_id = request.path_params["project"], request.path_params["channel"]
    body = await read_object(request)
    changed = await state_of(request).releases.change_channel(project_id, channel_id, body, _who(request))
    return json_response(_channel(changed))


async def delete_channel(request: Request) -> Response:
    """Remove a channel with all its versions: 204."""
    project_id, channel_id = request.path_params["project"], request.path_params["channel"]
    await state_of(request).releases.delete_channel(project_id, channel_id, _who(request))
    return _gone()


async def publish(request: Request) -> Response:
    """Publish a version with its builds: 201."""
    project_id, channel_id = request.path_params["project"], request.path_params["channel"]
    body = await read_object(request)
    made = await state_of(request).releases.publish(project_id, channel_id, body, _who(request))
    return json_response(_shown(request, made), status=201)


async def change_version(request: Request) -> Response:
    """Change a version; a field that is absent stays."""
    body = await read_object(request)
    changed = await state_of(request).releases.change_version(*_version(request), body, _who(request))
    return json_response(_shown(request, changed))


async def yank(request: Request) -> Response:
    """Withdraw a version; the body may say the `reason`."""
    body = await read_object(request, may_be_empty=True)
    changed = await state_of(request).releases.yank(*_version(request), body, _who(request))
    return json_response(_shown(request, changed))


async def restore(request: Request) -> Response:
    """Take the withdrawal of a version back."""
    changed = await state_of(request).releases.restore(*_version(request), _who(request))
    return json_response(_shown(request, changed))


async def add_build(request: Request) -> Response:
    """Add a build to a version, or replace the one of its id: 201."""
    body = await read_object(request)
    version, build = await state_of(request).releases.add_build(*_version(request), body, _who(request))
    shown = views.build_detail(version, build, 0) | {"settings": views.build_settings(build)}
    return json_response(shown, status=201)


def _who(request: Request) -> Publisher:
    context = context_of(request.scope)
    assert context.principal is not None  # noqa: S101 - the guard lets nobody here without one.
    return Publisher(context.principal, context.client_ip, context.request_id)


def _version(request: Request) -> tuple[str, str, str]:
    """Return the version that the path names. Raises `InvalidRequest` for one that is no version at all."""
    path: dict[str, Any] = request.path_params
    return path["project"], path["channel"], version_of("version", path["version"]).text


def _shown(request: Request, version: Version) -> dict[str, Any]:
    """Return a version as reads show it; what it breaks is worked out with the catalogue."""
    project_id, channel_id = request.path_params["project"], request.path_params["channel"]
    state = state_of(request)
    found = state.catalogue.now.projects.get(project_id)
    channel = found.channels.get(channel_id) if found is not None else None
    entry = channel.by_id.get(version.id) if channel is not None else None
    breaking = entry.breaking if entry is not None else bool(version.breaking)
    downloads = state.downloads.of(project_id, channel_id, version.id)
    shown = views.version_detail(version, downloads, breaking=breaking)
    return shown | {"settings": views.version_settings(version)}


def _project(project: Project, latest: str | None, downloads: int) -> dict[str, Any]:
    return views.project_detail(project, latest, downloads) | {"settings": views.project_settings(project)}


def _channel(channel: Channel) -> dict[str, Any]:
    return views.channel_view(channel) | {"settings": views.channel_settings(channel)}


def _gone() -> Response:
    return Response(status_code=204, headers={"cache-control": "no-store"})
