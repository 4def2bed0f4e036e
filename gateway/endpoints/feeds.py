"""Feeds for launchers that exist already: electron-updater and Tauri, and what all feeds share."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.responses import Response

from gateway.endpoints.projects import allowed_of, lead_to_file, read_target
from gateway.endpoints.responses import json_response
from gateway.errors import BuildNotFound, InternalError, InvalidRequest, NotFound, VersionNotFound
from gateway.releases.decision import Client
from gateway.releases.feeds import electron as electron_file
from gateway.releases.feeds import tauri as tauri_update
from gateway.releases.feeds.kinds import Kind, compiled_for, electron_architecture
from gateway.releases.versions import InvalidVersion, parse_query_version
from gateway.state import state_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from gateway.releases.decision import Offer
    from gateway.releases.snapshot import ProjectSnapshot

# No validator: none of these clients sends one, and to some a 304 is an error. Rollouts differ by installation.
FEED_HEADERS = {"cache-control": "private, no-cache", "vary": "Authorization, X-User-Staging-Id"}


def project_of(request: Request) -> ProjectSnapshot:
    """Return the project of the path. Raises `ProjectNotFound`, also for one that the caller may not see."""
    return state_of(request).catalogue.now.project(request.path_params["project"], allowed_of(request))


def public_base(request: Request) -> str:
    """Return what every absolute address of this gateway begins with, without a slash at its end.

    It never comes from the request, which could name any host. Raises `InternalError` when it is not configured; in
    development it is this machine.
    """
    settings = state_of(request).settings
    server = settings.server
    if server.public_url:
        return server.public_url
    if settings.app_env == "development":
        return f"{'https' if server.tls_cert else 'http'}://localhost:{server.port}"
    raise InternalError("Addresses of downloads have to be absolute: set server.public_url")


def address_of(request: Request, found: ProjectSnapshot) -> Callable[[Offer], str]:
    """Return what says at which absolute address the file of an offer is to be had, by way of this gateway.

    So it is counted, and a client's key goes no further: clients drop it when they are led to another host. Raises
    `InternalError` like `public_base`.
    """
    base = public_base(request)

    def address(offer: Offer) -> str:
        place = f"/projects/{found.project.id}/channels/{offer.channel_id}/versions/{quote(offer.version.id, safe='')}"
        return f"{base}{place}/builds/{quote(offer.build.id, safe='')}/download"

    return address


def staging_id(request: Request) -> str | None:
    """Return what an installation calls itself for staged rollouts, however its launcher says it."""
    query = request.query_params
    found = request.headers.get("x-user-staging-id") or query.get("stagingId") or query.get("client_id")
    return found or None


async def electron(request: Request) -> Response:
    """Answer the update file of electron-updater's generic provider.

    The client does not say what it runs, and compares by itself. So the file is there for everybody, and shows the
    highest version that this installation may take.
    """
    found, channel_id = project_of(request), request.path_params["channel"]
    asked = electron_file.read_file_name(request.path_params["file"])
    if asked is None:
        raise NotFound("There is no such update file; they are called latest.yml, latest-mac.yml, latest-linux.yml")
    base = public_base(request)
    compiled = await compiled_for(found, channel_id, Kind.ELECTRON)
    target = (asked.platform, electron_architecture(asked.platform, asked.architecture))
    offered = compiled.decide(Client(*target, staging_id=staging_id(request))).offered
    if offered is not None:
        version = found.version(offered.channel_id, offered.version.id).version
        place = f"{base}/updates/{found.project.id}/{offered.channel_id}/files/{quote(version.id, safe='')}"
        builds = electron_file.builds_for(version, offered)
        return _yaml(electron_file.update_file(offered, builds, place))
    if target not in compiled.targets:
        # The client reports this as ERR_UPDATER_CHANNEL_FILE_NOT_FOUND, which is what it is.
        msg = f"Channel {channel_id!r} of {found.project.id!r} has nothing for electron-updater on {asked.platform}"
        raise VersionNotFound(msg, details={"channel": channel_id})
    return _yaml(electron_file.no_update())


async def tauri(request: Request) -> Response:
    """Answer Tauri's updater: 200 with the update, or 204 if there is none.

    A platform, processor or version that nobody can read is 400. The client itself never sends such a thing, so the
    developer has made a mistake in the address, and 204 would hide it for ever.
    """
    found, channel_id = project_of(request), request.path_params["channel"]
    platform, architecture = read_target(request.path_params["target"], request.path_params["arch"])
    try:
        current = parse_query_version(request.path_params["current_version"])
    except InvalidVersion as exc:
        rule = "must be a version such as 1.2.3 (https://semver.org)"
        raise InvalidRequest(f"current_version: {rule}", errors=[("current_version", rule)]) from exc
    address = address_of(request, found)
    compiled = await compiled_for(found, channel_id, Kind.TAURI)
    decision = compiled.decide(Client(platform, architecture, current, staging_id=staging_id(request)))
    offered = decision.offered
    signature = None if offered is None else tauri_update.signature_of(offered.build)
    if offered is None or signature is None:
        return Response(status_code=204, headers=FEED_HEADERS)
    answer = tauri_update.update(decision, offered, signature, address(offered))
    return json_response(answer, headers=FEED_HEADERS)


async def file(request: Request) -> Response:
    """Lead to the file of a build like `projects.download`, at an address that ends in the file's own name."""
    found, params = project_of(request), request.path_params
    entry, chosen = found.build(params["channel"], params["version"], params["build"])
    if params["file_name"] != chosen.file_name:
        # So clients that look for a block map beside the file find none, and download the whole.
        raise BuildNotFound(f"Build {chosen.id!r} has no such file", details={"build": chosen.id})
    return lead_to_file(request, found, params["channel"], entry, chosen)


def _yaml(body: bytes) -> Response:
    return Response(body, headers={**FEED_HEADERS, "content-type": "application/yaml"})
