"""Random catalogues and clients, small enough that every edge comes up often."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.releases.decision import Client
from gateway.releases.model import Architecture, Build, BuildState, Channel, Platform, Project, Verification, Version
from gateway.releases.versions import parse_version

if TYPE_CHECKING:
    import random

Needs = tuple[tuple[str | None, ...], tuple[str | None, ...]]

CHANNELS = ("stable", "beta", "dev", "old")
VERSIONS = (
    *("0.1.0", "0.2.0", "0.2.1", "0.3.0-rc.1", "1.0.0-alpha", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0"),
    *("1.0.1", "1.1.0", "1.1.0+1", "1.1.0+2", "1.1.0+10", "1.1.0+a", "1.2.0-rc.1", "1.2.0", "1.3.0", "2.0.0-alpha"),
    *("2.0.0-1", "2.0.0", "2.0.1", "2.1.0", "2.2.0+build.7", "3.0.0", "12.0.0"),
)
UNPUBLISHED = ("0.0.1", "1.0.5", "1.1.0+3", "1.1.0+dirty", "2.0.5", "4.0.0", "1.2.0-dev", "1.2.0-rc.1+5")
NOTES = ("", "", "", "Fixes", "BREAKING CHANGE: no more XML", "- Breaking: paths", "feat!: new", "Removed Win7 support")
PLATFORMS = (Platform.LINUX, Platform.MACOS, Platform.MACOS, Platform.WINDOWS)
ARCHITECTURES = (Architecture.X64, Architecture.ARM64, Architecture.UNIVERSAL)
STATES = (BuildState.VERIFIED,) * 5 + (BuildState.PENDING, BuildState.FAILED, BuildState.UNREACHABLE)
SYSTEMS = (None, None, "10", "10.0", "10.0.19045", "11", "9.9.9", "12.0.1")
LAUNCHERS = (None, None, None, "1.0.0", "2.0.0-rc.1", "2.0.0", "2.1.0+1")
PERCENTS = (100.0,) * 6 + (0.0, 0.01, 20.0, 50.0, 80.0, 99.99)


def a_build(rng: random.Random, number: int, systems: tuple[str | None, ...]) -> Build:
    """Make a build of any kind."""
    platform, architecture = rng.choice(PLATFORMS), rng.choice(ARCHITECTURES)
    state, min_os = rng.choice(STATES), rng.choice(systems)
    return Build(f"b{number}", platform, architecture, "f", 1, "u", "s", state=state, min_os_version=min_os)


def a_version(rng: random.Random, name: str, strict: float, needs: Needs) -> Version:
    """Make a version; `strict` is how likely it is required, `needs` are the launchers and systems it may ask for."""
    if rng.random() < strict:
        # Some that everybody can take, so that there are long ways.
        builds = tuple(Build(platform, platform, Architecture.X64, "f", 1, "u", "s") for platform in Platform)
        return Version(name, required=True, builds=tuple(replace(each, state=BuildState.VERIFIED) for each in builds))
    return Version(
        name,
        release_notes=rng.choice(NOTES),
        published_at=rng.randrange(10),
        breaking=rng.choice((None, None, None, None, False, False, True)),
        required=rng.random() < strict,
        min_launcher_version=rng.choice(needs[0]),
        rollout_percent=rng.choice(PERCENTS),
        rollout_salt=rng.choice(("", "salt", name)),
        yanked_at=rng.choice((None, None, None, 0, 5)) if rng.random() < 0.5 else None,
        builds=tuple(a_build(rng, number, needs[1]) for number in range(rng.randrange(7))),
    )


def a_project(rng: random.Random) -> Project:
    """Make a catalogue that is small enough to have every edge often."""
    strict = rng.choice((0.0, 0.1, 0.4))
    # Where there are few kinds of needs, many versions share each of them.
    needs = rng.choice(((LAUNCHERS, SYSTEMS), ((None, rng.choice(LAUNCHERS)), (None, rng.choice(SYSTEMS)))))
    names = CHANNELS[: rng.randint(1, 4)]
    channels = []
    for name in names:
        ids = rng.sample(VERSIONS, rng.choice((0, 1, 3, 5, 8, 12)))
        includes = tuple(rng.choice((*CHANNELS, "gone")) for _ in range(rng.choice((0, 1, 1, 2))))
        versions = tuple(a_version(rng, each, strict, needs) for each in ids)
        channels.append(Channel(name, includes=includes, versions=versions))
    return Project(
        f"p{rng.randrange(9)}",
        verification=rng.choice(tuple(Verification)),
        allow_rollback=rng.random() < 0.5,
        arm64_runs_x64=rng.random() < 0.5,
        channels=tuple(channels),
    )


def a_client(rng: random.Random) -> Client:
    """Make a client that may run anything, on anything."""
    current = rng.choice((None, *VERSIONS, *VERSIONS, *UNPUBLISHED))
    launcher = rng.choice(LAUNCHERS)
    return Client(
        rng.choice(PLATFORMS),
        rng.choice(ARCHITECTURES),
        parse_version(current) if current else None,
        rng.choice((*SYSTEMS, "", "Ubuntu 22.04", "10.0-45-generic")),
        parse_version(launcher) if launcher else None,
        rng.choice((None, "", *(f"machine {number}" for number in range(20)))),
    )
