"""Short ways to write down a catalogue and a client in a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.releases.decision import Candidate, Client, Verdict
from gateway.releases.model import Architecture, Build, BuildState, Channel, Platform, Project, Version
from gateway.releases.updates import compile_project
from gateway.releases.versions import parse_version

if TYPE_CHECKING:
    from gateway.releases.decision import Decision

LINUX = (Platform.LINUX, Architecture.X64)


def build(
    platform: Platform = Platform.LINUX,
    architecture: Architecture = Architecture.X64,
    state: BuildState = BuildState.VERIFIED,
    **values: Any,
) -> Build:
    """Make a build, verified and for 64-bit Linux unless told otherwise."""
    name = f"{platform}-{architecture}"
    return Build(
        **{
            "id": name,
            "platform": platform,
            "architecture": architecture,
            "file_name": f"app-{name}",
            "file_size": 1,
            "download_url": f"https://cdn.example/app-{name}",
            "sha256": "0" * 64,
            "state": state,
            **values,
        }
    )


def version(name: str, *builds: Build, **values: Any) -> Version:
    """Make a version with these builds, or with one for 64-bit Linux."""
    return Version(name, builds=builds or (build(),), **values)


def stable(*versions: Version, **values: Any) -> Project:
    """Make a project with one channel."""
    return Project("app", channels=(Channel("stable", versions=versions),), **values)


def plain(*names: str, **values: Any) -> Project:
    """Make a project with one channel of plain versions."""
    return stable(*(version(name) for name in names), **values)


def client(current: str | None, target: tuple[Platform, Architecture] = LINUX, **values: Any) -> Client:
    """Make a client that runs a version."""
    launcher = values.pop("launcher_version", None)
    return Client(
        *target,
        parse_version(current) if current is not None else None,
        launcher_version=parse_version(launcher) if launcher else None,
        **values,
    )


def ask(project: Project, who: Client, channel: str = "stable") -> Decision:
    """Answer one client."""
    return compile_project(project)[channel].decide(who)


def reasons(project: Project, who: Client, channel: str = "stable") -> dict[str, str]:
    """Return the reason of every version, the highest first."""
    return {verdict.version.id: str(verdict.reason) for verdict in compile_project(project)[channel].explain(who)}


def name_of(candidate: Candidate | Verdict | None) -> str | None:
    """Return the version that is meant."""
    return candidate.version.id if candidate else None
