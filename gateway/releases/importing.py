"""Taking over a whole catalogue from a file: what is new is added, what is there already stays as it is."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.errors import ChannelExists, InvalidRequest, ProjectExists, VersionExists
from gateway.field_rules import Rule, Wrong, try_fields
from gateway.releases.fields import MAX_CHANNELS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.releases.service import CatalogService, Publisher

MAX_PROJECTS = 1_000
MAX_VERSIONS = 20_000


class Imported(NamedTuple):
    """How much was added, and how much was there already."""

    projects: int = 0
    channels: int = 0
    versions: int = 0
    builds: int = 0
    skipped: int = 0


def read_catalogue(path: Path) -> list[dict[str, Any]]:
    """Return the projects in a TOML or JSON file. Raises `InvalidRequest` that names the file and what is wrong."""
    fields = read_document(path)
    found, errors = try_fields(fields, {"projects": _objects(MAX_PROJECTS)}, required=("projects",))
    projects: list[dict[str, Any]] = found.get("projects", [])
    for number, project in enumerate(projects):
        errors += _wrong_inside(project, f"projects[{number}].")
    if errors:
        raise InvalidRequest(f"{path}: {errors[0][0]}: {errors[0][1]}", errors=errors)
    return projects


def _wrong_inside(project: dict[str, Any], prefix: str) -> list[tuple[str, str]]:
    """Return what cannot be gone through; all else is checked when it is added."""
    try:
        channels = _objects(MAX_CHANNELS)(project.get("channels", []))
    except Wrong as wrong:
        return [(f"{prefix}channels", str(wrong))]
    errors = []
    for number, channel in enumerate(channels):
        try:
            _objects(MAX_VERSIONS)(channel.get("versions", []))
        except Wrong as wrong:
            errors.append((f"{prefix}channels[{number}].versions", str(wrong)))
    return errors


def read_document(path: Path) -> dict[str, Any]:
    """Return what a TOML or JSON file says. Raises `InvalidRequest` that names the file and what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as exc:
        raise InvalidRequest(f"{path}: {exc}", errors=[(str(path), str(exc))]) from exc
    if not isinstance(document, dict):
        raise InvalidRequest(f"{path}: must hold one object", errors=[(str(path), "must hold one object")])
    return document


def count_versions(projects: list[dict[str, Any]]) -> int:
    """Return how many versions a file has, as far as it can be read."""
    return sum(len(channel.get("versions", ())) for project in projects for channel in project.get("channels", ()))


async def import_catalogue(
    service: CatalogService, projects: list[dict[str, Any]], who: Publisher, advance: Callable[[], None]
) -> Imported:
    """Add what is not there yet; `advance` is called after each version.

    Every version is one transaction, so an import that was interrupted is simply run again. Raises `InvalidRequest` for
    the first entry that breaks a rule.
    """
    done = Imported()
    for project in projects:
        fields = dict(project)
        channels = [dict(channel) for channel in fields.pop("channels", [])]
        releases = [(channel.get("id", ""), channel.pop("versions", [])) for channel in channels]
        done = await _add_project(service, fields, channels, who, done)
        for channel_id, versions in releases:
            for version in versions:
                try:
                    await service.publish(fields.get("id", ""), channel_id, version, who)
                    done = done._replace(
                        versions=done.versions + 1, builds=done.builds + len(version.get("builds", ()))
                    )
                except VersionExists:
                    done = done._replace(skipped=done.skipped + 1)
                advance()
    return done


async def _add_project(
    service: CatalogService, fields: dict[str, Any], channels: list[dict[str, Any]], who: Publisher, done: Imported
) -> Imported:
    try:
        await service.create_project({**fields, "channels": channels} if channels else fields, who)
    except ProjectExists:
        done = done._replace(skipped=done.skipped + 1)
    else:
        return done._replace(projects=done.projects + 1, channels=done.channels + len(channels))
    for channel in channels:
        try:
            await service.create_channel(fields["id"], channel, who)
            done = done._replace(channels=done.channels + 1)
        except ChannelExists:
            done = done._replace(skipped=done.skipped + 1)
    return done


def _objects(most: int) -> Rule:
    def rule(value: Any) -> list[dict[str, Any]]:
        if not isinstance(value, list) or len(value) > most or not all(isinstance(item, dict) for item in value):
            raise Wrong(f"must be a list of at most {most} tables")
        return value

    return rule
