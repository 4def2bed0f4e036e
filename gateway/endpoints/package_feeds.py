"""What launchers of packages and archives ask for, in their own formats: Velopack, both Squirrels, Sparkle; and Atom.

What is offered is what `updates.check` offers. The clients know no parameters of ours, and parameters that are not
known here are theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.responses import Response

from gateway.endpoints.conditional import cached_body, cached_json
from gateway.endpoints.feeds import address_of, project_of, public_base, staging_id
from gateway.endpoints.projects import lead_to_file, read_target
from gateway.endpoints.updates import UPDATE_MAX_AGE_S
from gateway.errors import BuildNotFound, InvalidRequest
from gateway.releases.batch import version_of
from gateway.releases.decision import Client
from gateway.releases.feeds import atom, sparkle, squirrel, velopack
from gateway.releases.feeds.kinds import Kind, compiled_for
from gateway.releases.feeds.packages import (
    AmbiguousPlatform,
    choose_target,
    deltas_to,
    read_package,
    squirrel_reads,
    velopack_reads,
)
from gateway.releases.model import Architecture, Platform
from gateway.releases.updates import shown_channels
from gateway.releases.versions import InvalidVersion, parse_query_version
from gateway.state import state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.requests import Request

    from gateway.releases.model import Build, Channel
    from gateway.releases.offers import Target
    from gateway.releases.snapshot import Entry, ProjectSnapshot
    from gateway.releases.updates import CompiledChannel
    from gateway.releases.versions import VersionKey

_ATOM_MAX_AGE_S = 300
_VARY = "Authorization, X-User-Staging-Id"


class _Feed(NamedTuple):
    """The channel that a request names, and which installation asks."""

    found: ProjectSnapshot
    channel: Channel
    staging_id: str | None
    public_url: str

    def validator(self, *more: object) -> str:
        """Say which state of the catalogue an answer shows, with which addresses, and to whom."""
        return repr(
            (self.found.project.id, self.channel.id, self.found.revision, self.staging_id, self.public_url, *more)
        )

    def serving(self, reads: Callable[[Build], bool]) -> Callable[[Build], bool]:
        """Return what says whether a build may be handed to a client that can read it."""
        serves = self.found.project.verification.serves
        return lambda build: reads(build) and serves(build.state)


async def velopack_releases(request: Request) -> Response:
    """Answer Velopack: the full package of the version to take, and the deltas that lead to it."""
    asked = _feed(request)
    name = request.path_params["velopack_channel"]
    text = request.query_params.get("localVersion")
    current = version_of("localVersion", text) if text else None
    compiled = await compiled_for(asked.found, asked.channel.id, Kind.PACKAGE)
    target = _velopack_target(compiled, name)

    def make() -> dict[str, Any]:
        if target is None:
            return velopack.feed(None, ())
        decision = compiled.decide(Client(*target, current, staging_id=asked.staging_id))
        offer = velopack.offered_package(decision)
        is_update = offer is not None and offer is decision.offered
        steps = deltas_to(asked.found, offer, current, asked.serving(velopack_reads)) if offer and is_update else ()
        return velopack.feed(offer, steps)

    validator = asked.validator("velopack", name, text)
    return cached_json(request, validator, UPDATE_MAX_AGE_S, make, vary=_VARY)


async def package_file(request: Request) -> Response:
    """Lead to a package that a list of Velopack or of Squirrel.Windows has, by its bare name; counted as a download."""
    found, channel = _feed(request)[:2]
    name = request.path_params["file_name"]
    held_back: tuple[str, Entry, Build] | None = None
    for shown, entry, build in _packages(found, channel, name):
        if entry.version.yanked_at is None and found.project.verification.serves(build.state):
            return lead_to_file(request, found, shown, entry, build)
        held_back = held_back or (shown, entry, build)
    if held_back is None:
        raise BuildNotFound(f"Channel {channel.id!r} has no package {name[:100]!r}", details={"file": name[:100]})
    # This says why not.
    return lead_to_file(request, found, *held_back)


async def squirrel_windows(request: Request) -> Response:
    """Answer Squirrel.Windows with the file `RELEASES`.

    There is the highest version that the client may take even if it runs a higher one, since it compares by itself and
    takes an empty list for a broken one.
    """
    asked = _feed(request)
    compiled = await compiled_for(asked.found, asked.channel.id, Kind.SQUIRREL_WINDOWS)
    architecture = _architecture(request)
    if architecture is None and request.query_params.get("arch") == "x86":
        architecture = Architecture.X86
    target = choose_target(compiled.targets, Platform.WINDOWS, architecture)
    current = _readable(request.query_params.get("localVersion", ""))

    def make() -> bytes:
        if target is None:
            return b""
        decision = compiled.decide(Client(*target, current, staging_id=asked.staging_id))
        offer = decision.latest
        if offer is None:
            return b""
        usable = [build for _, build in deltas_to(asked.found, offer, current, asked.serving(squirrel_reads))]
        return squirrel.releases_text([*usable, offer.build]).encode()

    validator = asked.validator("squirrel-win", target, current and current.text)
    media_type = "text/plain; charset=utf-8"
    return cached_body(request, validator, UPDATE_MAX_AGE_S, make, media_type, vary=_VARY)


async def squirrel_mac(request: Request) -> Response:
    """Answer Squirrel.Mac: the update, or 204 where there is none."""
    asked = _feed(request)
    platform, architecture = read_target(Platform.MACOS, request.path_params["architecture"])
    current = version_of("version", request.path_params["version"])
    address = address_of(request, asked.found)
    compiled = await compiled_for(asked.found, asked.channel.id, Kind.SQUIRREL_MAC)
    decision = compiled.decide(Client(platform, architecture, current, staging_id=asked.staging_id))
    offer = squirrel.mac_offer(decision)
    if offer is None:
        headers = {"cache-control": f"private, max-age={UPDATE_MAX_AGE_S}", "vary": _VARY}
        return Response(status_code=204, headers=headers)
    validator = asked.validator("squirrel-mac", architecture, current.text)
    answer = squirrel.mac_answer(offer, address(offer))
    return cached_json(request, validator, UPDATE_MAX_AGE_S, lambda: answer, vary=_VARY)


async def sparkle_appcast(request: Request) -> Response:
    """Answer Sparkle with its appcast; `architecture` chooses where there is no universal build."""
    asked = _feed(request)
    address = address_of(request, asked.found)
    compiled = await compiled_for(asked.found, asked.channel.id, Kind.SPARKLE)
    target = choose_target(compiled.targets, Platform.MACOS, _architecture(request))

    def make() -> bytes:
        client = Client(*target, staging_id=asked.staging_id) if target else None
        items = sparkle.appcast_items(compiled, client) if client else ()
        return sparkle.appcast(asked.found.project, asked.channel, items, address)

    validator = asked.validator("sparkle", target)
    return cached_body(request, validator, UPDATE_MAX_AGE_S, make, "application/rss+xml; charset=utf-8", vary=_VARY)


async def atom_feed(request: Request) -> Response:
    """Answer feed readers with the versions of the channel that were published last."""
    asked = _feed(request)
    own = f"{public_base(request)}/updates/{asked.found.project.id}/{asked.channel.id}/releases.atom"

    def make() -> bytes:
        return atom.atom_feed(asked.found.project, asked.channel, atom.newest(asked.channel), own)

    validator = repr((own, asked.found.revision, "atom"))
    return cached_body(request, validator, _ATOM_MAX_AGE_S, make, "application/atom+xml; charset=utf-8")


def _feed(request: Request) -> _Feed:
    found = project_of(request)
    channel = found.channel(request.path_params["channel"]).channel
    return _Feed(found, channel, staging_id(request), state_of(request).settings.server.public_url)


def _velopack_target(compiled: CompiledChannel, name: str) -> Target | None:
    try:
        return choose_target(compiled.targets, *velopack.read_channel(name))
    except AmbiguousPlatform as exc:
        rule = f"has to name a platform, since there are packages for {' and '.join(exc.platforms)}: win, osx or linux"
        msg = f"Velopack's channel {name[:64]!r} {rule}, such as win-x64"
        raise InvalidRequest(msg, errors=[("channel", rule)]) from exc


def _architecture(request: Request) -> Architecture | None:
    """Return the processor that the query names. Raises `InvalidRequest` for one that nobody knows."""
    text = request.query_params.get("architecture")
    found: Architecture | None = None if text is None else read_target(Platform.WINDOWS, text)[1]
    return found


def _readable(text: str) -> VersionKey | None:
    """Return the version, or None for one that is none here, such as those of four numbers."""
    try:
        return parse_query_version(text) if text else None
    except InvalidVersion:
        return None


def _packages(found: ProjectSnapshot, channel: Channel, name: str) -> Iterator[tuple[str, Entry, Build]]:
    """Return the packages of this name, those of the channel before those of the ones that it includes."""
    if read_package(name) is None:
        return
    for shown in shown_channels(found.project, channel):
        for entry in reversed(found.channels[shown].entries):
            for build in entry.version.builds:
                if build.file_name == name:
                    yield shown, entry, build
