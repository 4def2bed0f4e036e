"""What launchers ask: is there an update for one product, or for any of a whole list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gateway.context import context_of
from gateway.endpoints.conditional import cached_json
from gateway.endpoints.projects import allowed_of, read_target
from gateway.endpoints.query import Query
from gateway.endpoints.responses import json_response
from gateway.errors import ChannelNotFound, GatewayError, InvalidRequest, ProjectNotFound
from gateway.field_rules import refuse_if_wrong
from gateway.json_body import check_media_type, parse_object, read_body, refuse_duplicate_keys
from gateway.releases.answers import batch_item, explanation, update_answer
from gateway.releases.batch import Launcher, read_batch, version_of
from gateway.releases.decision import Client
from gateway.state import state_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from gateway.releases.decision import Offer
    from gateway.releases.snapshot import ProjectSnapshot
    from gateway.releases.versions import VersionKey

UPDATE_MAX_AGE_S = 60
MAX_BATCH_BYTES = 65_536
_PARAMETERS = (
    "current_version",
    "platform",
    "architecture",
    "os_version",
    "launcher_version",
    "client_id",
    "stagingId",
    "explain",
)


async def check(request: Request) -> Response:
    """Answer whether there is an update for one installed version."""
    state = state_of(request)
    found = state.catalogue.now.project(request.path_params["project"], allowed_of(request))
    channel = found.channel(request.path_params["channel"])
    query = Query(request)
    texts = {name: query.text(name) for name in _PARAMETERS}
    query.refuse_if_wrong()
    current = _required_version("current_version", texts["current_version"])
    platform, architecture = read_target(texts["platform"], texts["architecture"])
    staging = request.headers.get("x-user-staging-id") or texts["client_id"] or texts["stagingId"]
    client = Client(
        platform,
        architecture,
        current,
        os_version=texts["os_version"],
        launcher_version=_optional_version("launcher_version", texts["launcher_version"]),
        staging_id=staging,
    )
    explain = texts["explain"] == "1"

    def make() -> dict[str, Any]:
        decision = channel.compiled.decide(client)
        answer = update_answer(decision, current.text, _addresses(request, found))
        return answer | ({"explain": explanation(channel.compiled.explain(client))} if explain else {})

    validator = repr((found.project.id, channel.channel.id, found.revision, texts, staging))
    headers = {"vary": "Authorization, X-User-Staging-Id"}
    return cached_json(request, validator, UPDATE_MAX_AGE_S, make, **headers)


async def check_all(request: Request) -> Response:
    """Answer a launcher for itself and every product that it has installed, in the order that it listed them.

    One bad entry never fails the others: it is answered with its own error. Counts as one request.
    """
    context, state = context_of(request.scope), state_of(request)
    check_media_type(context.headers)
    body = await read_body(request.receive, MAX_BATCH_BYTES)
    fields = parse_object(body)
    refuse_duplicate_keys(body)
    launcher, installed = read_batch(fields)
    catalogue, allowed = state.catalogue.now, allowed_of(request)
    items = []
    for entry in installed:
        project_id, current = entry.project_id, entry.version
        try:
            refuse_if_wrong(entry.errors)
            found = catalogue.project(project_id, allowed)
            channel = found.channel(entry.channel or found.project.default_channel)
            client = launcher.client(_required_version("version", current))
        except (ProjectNotFound, ChannelNotFound, InvalidRequest) as exc:
            items.append(_failed(project_id, current, exc))
            continue
        decision = channel.compiled.decide(client)
        items.append(batch_item(decision, project_id, current, _addresses(request, found)))
    own = _launcher_update(request, launcher)
    any_update = own["available"] or any(item["update_available"] for item in items)
    answer = {"updates_available": any_update, "launcher_update": own, "project_updates": items}
    return json_response(answer)


def _launcher_update(request: Request, launcher: Launcher) -> dict[str, Any]:
    """Return what there is for the launcher itself, which is a product like others if the settings name it."""
    state = state_of(request)
    found = state.catalogue.now.projects.get(state.settings.releases.launcher_project)
    nothing = {"available": False, "current": launcher.version.text, "latest": launcher.version.text}
    channel = found.channels.get(launcher.channel) if found is not None else None
    if found is None or channel is None:
        return nothing
    decision = channel.compiled.decide(launcher.client(launcher.version))
    offered = decision.offered
    if offered is None:
        return nothing | {"latest": decision.latest.key.text if decision.latest else launcher.version.text}
    return {
        "available": True,
        "current": launcher.version.text,
        "latest": offered.key.text,
        "download_url": _addresses(request, found)(offered),
    }


def _failed(project_id: str, current: str, error: GatewayError) -> dict[str, Any]:
    told = {"code": error.code, "message": error.message}
    return {"project_id": project_id, "update_available": False, "current_version": current, "error": told}


def _addresses(request: Request, found: ProjectSnapshot) -> Callable[[Offer], str]:
    """Return what says where a build is to be had: at its own address, or by way of this gateway, which counts it."""
    settings = state_of(request).settings
    if settings.releases.download_urls == "cdn":
        return lambda offer: offer.build.download_url
    base = settings.server.public_url

    def by_way_of_here(offer: Offer) -> str:
        place = f"/projects/{found.project.id}/channels/{offer.channel_id}/versions/{quote(offer.version.id, safe='')}"
        return f"{base}{place}/builds/{offer.build.id}/download"

    return by_way_of_here


def _required_version(name: str, value: str | None) -> VersionKey:
    if value is None:
        raise InvalidRequest(f"{name}: is required", errors=[(name, "is required")])
    return version_of(name, value)


def _optional_version(name: str, value: str | None) -> VersionKey | None:
    return None if value is None else version_of(name, value)
