"""The catalogue of releases as it is read: projects, versions, builds, downloads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.responses import Response

from gateway.auth.principal import Permission
from gateway.context import context_of
from gateway.endpoints.conditional import cached_json
from gateway.endpoints.query import Query
from gateway.errors import BuildNotFound, BuildNotVerified, InvalidRequest, VersionNotFound, VersionYanked
from gateway.releases import views
from gateway.releases.batch import version_of
from gateway.releases.decision import Candidate, Client
from gateway.releases.store import BuildKey, Counted
from gateway.releases.targets import UnknownTarget, architecture_of_client, platform_of_client
from gateway.state import state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request

    from gateway.releases.model import Build
    from gateway.releases.snapshot import Allowed, Entry, ProjectSnapshot
    from gateway.state import GatewayState

PER_PAGE = 20
MAX_PER_PAGE = 100
MAX_PAGE = 1_000_000_000
PROJECTS_MAX_AGE_S = 60


async def projects(request: Request) -> Response:
    """List the projects that the caller may see."""
    catalogue, allowed = state_of(request).catalogue.now, allowed_of(request)
    query = Query(request)
    page, per_page = query.number("page", 1, MAX_PAGE), query.number("per_page", PER_PAGE, MAX_PER_PAGE)
    query.refuse_if_wrong()
    visible = catalogue.visible(allowed)
    # What a caller may see is part of what it is shown.
    seen = ",".join(f"{found.project.id}:{found.revision}" for found in visible)

    def make() -> dict[str, Any]:
        shown = [views.project_summary(found.project) for found in _page_of(visible, page, per_page)]
        return {"projects": shown, "total": len(visible), "page": page, "per_page": per_page}

    links = _links(request, page, per_page, len(visible))
    return cached_json(request, f"projects {seen} {page} {per_page}", PROJECTS_MAX_AGE_S, make, **links)


async def project(request: Request) -> Response:
    """Answer one project in detail, with its settings for who may change them."""
    found, downloads, manages = _project(request), state_of(request).downloads, _manages(request)

    def make() -> dict[str, Any]:
        shown = views.project_detail(found.project, found.latest_version, downloads.of(found.project.id))
        return shown | ({"settings": views.project_settings(found.project)} if manages else {})

    validator = f"project {found.project.id} {found.revision} {manages}"
    return cached_json(request, validator, PROJECTS_MAX_AGE_S, make)


async def versions(request: Request) -> Response:
    """List the versions of a channel, by precedence, the highest first unless asked otherwise."""
    found = _project(request)
    channel = found.channel(request.path_params["channel"])
    query = Query(request)
    page, per_page = query.number("page", 1, MAX_PAGE), query.number("per_page", PER_PAGE, MAX_PER_PAGE)
    sort = query.choice("sort", "desc", ("asc", "desc"))
    query.refuse_if_wrong()
    entries = channel.entries if sort == "asc" else channel.entries[::-1]

    def make() -> dict[str, Any]:
        shown = [
            views.version_summary(
                entry.version, _downloads(request, found, channel.channel.id, entry), breaking=entry.breaking
            )
            for entry in _page_of(entries, page, per_page)
        ]
        return {"versions": shown, "total": len(entries), "page": page, "per_page": per_page}

    validator = f"versions {found.project.id} {channel.channel.id} {found.revision} {page} {per_page} {sort}"
    return cached_json(request, validator, _max_age_s(request), make, **_links(request, page, per_page, len(entries)))


async def version(request: Request) -> Response:
    """Answer one version in detail."""
    found = _project(request)
    channel_id = request.path_params["channel"]
    return _version_answer(request, found, channel_id, _entry(request, found))


async def latest(request: Request) -> Response:
    """Answer the highest version of a channel; for a `platform` and `architecture`, the highest with a build there."""
    found = _project(request)
    channel = found.channel(request.path_params["channel"])
    query = Query(request)
    platform, architecture = query.text("platform"), query.text("architecture")
    query.refuse_if_wrong()
    highest: Candidate | None = channel.compiled.latest
    if platform or architecture:
        highest = channel.compiled.decide(Client(*read_target(platform, architecture))).latest
    if highest is None:
        msg = f"Channel {channel.channel.id!r} of {found.project.id!r} has no version to offer"
        raise VersionNotFound(msg, details={"channel": channel.channel.id})
    entry = found.version(highest.channel_id, highest.version.id)
    return _version_answer(request, found, highest.channel_id, entry)


async def build(request: Request) -> Response:
    """Answer one build in detail."""
    found = _project(request)
    channel_id, build_id = request.path_params["channel"], request.path_params["build"]
    entry = _entry(request, found)
    _, chosen = found.build(channel_id, entry.version.id, build_id)
    manages = _manages(request)

    def make() -> dict[str, Any]:
        key = BuildKey(found.project.id, channel_id, entry.version.id, chosen.id)
        shown = views.build_detail(entry.version, chosen, state_of(request).downloads.of(*key))
        return shown | ({"settings": views.build_settings(chosen)} if manages else {})

    validator = f"build {found.project.id} {channel_id} {entry.version.id} {chosen.id} {found.revision} {manages}"
    return cached_json(request, validator, _max_age_s(request), make)


async def download(request: Request) -> Response:
    """Lead to the file of a build: 302; counted once for each whole download.

    Raises `VersionYanked` for a withdrawn version, `BuildNotVerified` for a build that may not be served.
    """
    found = _project(request)
    channel_id, build_id = request.path_params["channel"], request.path_params["build"]
    entry = _entry(request, found)
    _, chosen = found.build(channel_id, entry.version.id, build_id)
    return lead_to_file(request, found, channel_id, entry, chosen)


def lead_to_file(request: Request, found: ProjectSnapshot, channel_id: str, entry: Entry, chosen: Build) -> Response:
    """Lead to the file of a build of the channel, and count it. Raises as `download` does."""
    if entry.version.yanked_at is not None:
        msg = f"Version {entry.version.id} was withdrawn"
        raise VersionYanked(msg, details={"version": entry.version.id, "reason": entry.version.yank_reason})
    if not found.project.verification.serves(chosen.state):
        details = {"build": chosen.id, "status": str(chosen.state), "reason": chosen.state_reason}
        raise BuildNotVerified(f"Build {chosen.id!r} is {chosen.state} and may not be served", details=details)
    if not chosen.download_url:
        raise BuildNotFound(f"Build {chosen.id!r} has no file", details={"build": chosen.id})
    if request.method == "GET" and request.headers.get("range", "bytes=0-") == "bytes=0-":
        key = BuildKey(found.project.id, channel_id, entry.version.id, chosen.id)
        state_of(request).downloads.count(Counted(*key, entry.version.rollout_salt))
    return Response(status_code=302, headers={"location": chosen.download_url, "cache-control": "no-store"})


def has_public_updates(request: Request, state: GatewayState) -> bool:
    """Whether the project of this path hands out its updates to anybody."""
    found = state.catalogue.now.projects.get(request.path_params["project"])
    return found is not None and found.project.public_updates


def allowed_of(request: Request) -> Allowed:
    """Return the projects that the caller may see; None for all."""
    principal = context_of(request.scope).principal
    return None if principal is None else principal.allowed_projects


def read_target(platform: str | None, architecture: str | None) -> tuple[Any, Any]:
    """Return platform and architecture, None for those that there can be no build for.

    Raises `InvalidRequest` that names each which is missing or unknown.
    """
    errors = []
    found: list[Any] = []
    pairs: tuple[tuple[str, str | None, Callable[[str], Any]], ...] = (
        ("platform", platform, platform_of_client),
        ("architecture", architecture, architecture_of_client),
    )
    for name, text, parse in pairs:
        try:
            found.append(None if text is None else parse(text))
        except UnknownTarget as exc:
            errors.append((name, f"{exc}; there are {', '.join(exc.allowed)}"))
        else:
            if text is None:
                errors.append((name, "is required"))
    if errors:
        raise InvalidRequest(f"{errors[0][0]}: {errors[0][1]}", errors=errors)
    return found[0], found[1]


def _manages(request: Request) -> bool:
    """Whether the caller may change what it reads, and so is shown the settings too."""
    principal = context_of(request.scope).principal
    return principal is not None and Permission.MANAGE_RELEASES in principal.permissions


def _project(request: Request) -> ProjectSnapshot:
    return state_of(request).catalogue.now.project(request.path_params["project"], allowed_of(request))


def _entry(request: Request, found: ProjectSnapshot) -> Entry:
    """Return the version that the path names. Raises `InvalidRequest` for one that is no version at all."""
    return found.version(request.path_params["channel"], version_of("version", request.path_params["version"]).text)


def _version_answer(request: Request, found: ProjectSnapshot, channel_id: str, entry: Entry) -> Response:
    manages = _manages(request)

    def make() -> dict[str, Any]:
        downloads = _downloads(request, found, channel_id, entry)
        shown = views.version_detail(entry.version, downloads, breaking=entry.breaking)
        return shown | ({"settings": views.version_settings(entry.version)} if manages else {})

    validator = f"version {found.project.id} {channel_id} {entry.version.id} {found.revision} {manages}"
    return cached_json(request, validator, _max_age_s(request), make)


def _downloads(request: Request, found: ProjectSnapshot, channel_id: str, entry: Entry) -> int:
    return state_of(request).downloads.of(found.project.id, channel_id, entry.version.id)


def _max_age_s(request: Request) -> int:
    return state_of(request).settings.releases.cache_ttl_ms // 1000


def _page_of(items: Sequence[Any], page: int, per_page: int) -> Sequence[Any]:
    return items[(page - 1) * per_page : page * per_page]


def _links(request: Request, page: int, per_page: int, total: int) -> dict[str, str]:
    """Return the `Link` header (RFC 8288) to the pages before and after, relative to this one."""
    last = max(1, -(-total // per_page))
    wanted = {"first": 1, "prev": page - 1, "next": page + 1, "last": last}
    others = {name: value for name, value in request.query_params.items() if name not in ("page", "per_page")}
    links = [
        f'<?{urlencode({**others, "page": number, "per_page": per_page})}>; rel="{rel}"'
        for rel, number in wanted.items()
        if 1 <= number <= last and number != page
    ]
    return {"link": ", ".join(links)} if links else {}
