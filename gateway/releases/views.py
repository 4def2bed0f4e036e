"""How the catalogue looks as JSON, as the product page shows it. Download counts come from beside the catalogue.

The `..._settings` are what the page does not show: they are for who may change them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.releases.sources import source_view

if TYPE_CHECKING:
    from gateway.releases.model import Build, Channel, Project, Version


def time_text(at_ms: int | None) -> str | None:
    """Return Unix milliseconds as UTC, ISO 8601 with `Z`, to the second; None for None."""
    return None if at_ms is None else datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def project_summary(project: Project) -> dict[str, Any]:
    """Return a project as lists show it."""
    return {
        "id": project.id,
        "name": project.name,
        "description": project.description,
        "repository": project.repository,
        "channels": [channel.id for channel in project.channels],
        "created_at": time_text(project.created_at),
        "updated_at": time_text(project.updated_at),
    }


def channel_view(channel: Channel) -> dict[str, Any]:
    """Return a channel as project details show it."""
    return {
        "id": channel.id,
        "name": channel.name,
        "description": channel.description,
        "auto_update": channel.auto_update,
    }


def project_detail(project: Project, latest_version: str | None, downloads: int) -> dict[str, Any]:
    """Return a project in detail."""
    return {
        "id": project.id,
        "name": project.name,
        "description": project.description,
        "repository": project.repository,
        "homepage": project.homepage,
        "channels": [channel_view(channel) for channel in project.channels],
        "latest_version": latest_version,
        "total_downloads": downloads,
        "created_at": time_text(project.created_at),
        "updated_at": time_text(project.updated_at),
    }


def project_settings(project: Project) -> dict[str, Any]:
    """Return how a project serves, with the names that changes of it have."""
    return {
        "default_channel": project.default_channel,
        "verification": project.verification,
        "public_updates": project.public_updates,
        "allow_rollback": project.allow_rollback,
        "arm64_runs_x64": project.arm64_runs_x64,
        "github": source_view(project.github),
        "channels": {channel.id: channel_settings(channel) for channel in project.channels},
    }


def channel_settings(channel: Channel) -> dict[str, Any]:
    """Return what else a channel shows."""
    return {"includes": channel.includes}


def version_settings(version: Version) -> dict[str, Any]:
    """Return to whom a version is offered; `breaking_changes` is the publisher's word, None without one."""
    return {
        "breaking_changes": version.breaking,
        "required": version.required,
        "min_launcher_version": version.min_launcher_version,
        "rollout_percent": version.rollout_percent,
    }


def build_settings(build: Build) -> dict[str, Any]:
    """Return what a build brings along for feeds, and what it asks for."""
    return {
        "signature": build.signature,
        "ed_signature": build.ed_signature,
        "min_os_version": build.min_os_version,
    }


def version_summary(version: Version, downloads: int, *, breaking: bool) -> dict[str, Any]:
    """Return a version as lists show it."""
    return {**_version_head(version, downloads, breaking=breaking), "build_count": len(version.builds)}


def version_detail(version: Version, downloads: int, *, breaking: bool) -> dict[str, Any]:
    """Return a version in detail; a withdrawn one says so."""
    builds = [
        {
            "id": build.id,
            "platform": build.platform,
            "architecture": build.architecture,
            "file_size": build.file_size,
            "download_url": build.download_url,
            "checksum": checksum_view(build),
        }
        for build in version.builds
    ]
    detail = {**_version_head(version, downloads, breaking=breaking), "builds": builds}
    if version.yanked_at is not None:
        detail["yanked"] = {"at": time_text(version.yanked_at), "reason": version.yank_reason}
    return detail


def build_detail(version: Version, build: Build, downloads: int) -> dict[str, Any]:
    """Return a build in detail, with what its verification found."""
    return {
        "id": build.id,
        "version": version.id,
        "platform": build.platform,
        "architecture": build.architecture,
        "file_name": build.file_name,
        "file_size": build.file_size,
        "download_url": build.download_url,
        "checksum": checksum_view(build),
        "created_at": time_text(build.created_at),
        "downloads": downloads,
        "status": build.state,
        "status_reason": build.state_reason,
        "status_at": time_text(build.state_at),
    }


def checksum_view(build: Build) -> dict[str, str]:
    """Return the checksums that are known."""
    known = {"sha256": build.sha256, "md5": build.md5, "sha512": build.sha512}
    return {name: digest for name, digest in known.items() if digest}


def _version_head(version: Version, downloads: int, *, breaking: bool) -> dict[str, Any]:
    return {
        "id": version.id,
        "name": version.name,
        "description": version.description,
        "release_notes": version.release_notes,
        "breaking_changes": breaking,
        "published_at": time_text(version.published_at),
        "downloads": downloads,
    }
