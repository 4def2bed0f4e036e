"""What launchers ask: is there an update for one product, or for any of a whole list."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gateway.context import context_of
from gateway.endpoints.conditional import ReadyAnswer, ready_answers
from gateway.endpoints.feeds import address_of
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
    from starlette.types import ASGIApp

    from gateway.releases.decision import Offer
    from gateway.releases.snapshot import ChannelSnapshot, ProjectSnapshot
    from gateway.releases.versions import VersionKey

UPDATE_MAX_AGE_S = 60
MAX_BATCH_BYTES = 65_536
MAX_KEPT_BYTES = 8_192
MAX_KEPT_QUERY_BYTES = 1_024
# An id that may stand as it is; the general way reads all others, and refuses what is none.
_ID_IN_QUERY = re.compile(rb"(?<![^&])(client_id|stagingId)=[A-Za-z0-9._~-]{1,64}(?![^&])")
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


async def check(request: Request) -> ASGIApp:
    """Answer whether there is an update for one installed version."""
    catalogue, context = state_of(request).catalogue.now, context_of(request.scope)
    found = catalogue.project(request.path_params["project"], allowed_of(request))
    channel = found.channel(request.path_params["channel"])
    condition = context.headers.get(b"if-none-match")
    query, own_id = request.scope["query_string"], context.headers.get(b"x-user-staging-id", b"")
    if not channel.compiled.is_rolling_out:
        # Then nobody's id decides anything, and all who ask the same share an answer. That there is one stays, in a way
        # that no query is written in, since a second one is a mistake.
        own_id = b""
        found_id = _ID_IN_QUERY.search(query) if b"_id=" in query or b"gId=" in query else None
        if found_id is not None:
            query = query[: found_id.end(1)] + b"#" + query[found_id.end() :]
    asked = (found.project.id, channel.channel.id, query)
    answers = ready_answers(catalogue)
    ready = None if own_id else answers.get(asked)
    if ready is None:
        ready, is_for_many = _answer(request, found, channel, own_id.decode("latin-1"))
        if is_for_many and len(query) <= MAX_KEPT_QUERY_BYTES:
            answers.keep(asked, ready)
    return ready.for_client(condition)


def _answer(
    request: Request, found: ProjectSnapshot, channel: ChannelSnapshot, own_id: str
) -> tuple[ReadyAnswer, bool]:
    """Return the answer to an update check, and whether others who ask the same are to be expected."""
    query = Query(request)
    texts = {name: query.text(name) for name in _PARAMETERS}
    query.refuse_if_wrong()
    current = _required_version("current_version", texts["current_version"])
    platform, architecture = read_target(texts["platform"], texts["architecture"])
    ids = [own_id, texts.pop("client_id"), texts.pop("stagingId")]
    staging = next(filter(None, ids), None) if channel.compiled.is_rolling_out else None
    client = Client(
        platform,
        architecture,
        current,
        os_version=texts["os_version"],
        launcher_version=_optional_version("launcher_version", texts["launcher_version"]),
        staging_id=staging,
    )
    answer = update_answer(channel.compiled.decide(client), current.text, _addresses(request, found))
    explains = texts["explain"] in ("1", "true")
    if explains:
        answer["explain"] = explanation(channel.compiled.explain(client))
    settings = state_of(request).settings
    # Where addresses lead can change without the catalogue.
    places = (settings.releases.download_urls, settings.server.public_url)
    validator = repr((found.project.id, channel.channel.id, found.revision, texts, staging, *places))
    ready = ReadyAnswer(answer, validator, UPDATE_MAX_AGE_S, vary="Authorization, X-User-Staging-Id")
    # An explanation names every version of the channel, and some release notes are a book: too much to keep.
    return ready, not (staging or explains) and ready.size <= MAX_KEPT_BYTES


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
    if state_of(request).settings.releases.download_urls == "cdn":
        return lambda offer: offer.build.download_url
    return address_of(request, found)


def _required_version(name: str, value: str | None) -> VersionKey:
    if value is None:
        raise InvalidRequest(f"{name}: is required", errors=[(name, "is required")])
    return version_of(name, value)


def _optional_version(name: str, value: str | None) -> VersionKey | None:
    return None if value is None else version_of(name, value)
