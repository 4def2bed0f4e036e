"""The operations of the release module: the catalogue, and what launchers ask."""

from __future__ import annotations

from typing import Final

from gateway.endpoints import github, projects
from gateway.errors import (
    BuildNotVerified,
    ChannelExists,
    InvalidRequest,
    NotFound,
    ProjectExists,
    VersionExists,
    VersionYanked,
)
from gateway.openapi.answers_releases import (
    Build,
    ChannelDetail,
    GithubStatus,
    NoUpdate,
    Project,
    ProjectPage,
    UpdateAvailable,
    UpdateList,
    VersionDetail,
    VersionPage,
)
from gateway.openapi.headers import KEPT
from gateway.openapi.model import Answer, Body, Operation, header, paging, query
from gateway.releases.model import Architecture, Platform
from gateway.releases.versions import VERSION_SCHEMA

CHANNEL: Final = "/projects/{project}/channels/{channel}"
VERSION: Final = CHANNEL + "/versions/{version}"
BUILD: Final = VERSION + "/builds/{build}"
_TEXT: Final = {"type": "string", "minLength": 1, "maxLength": 200}
_BUILD: Final = {
    "platform": "windows",
    "architecture": "x64",
    "file_size": 48_234_496,
    "download_url": "https://cdn.example.com/notes-1.2.3-setup.exe",
    "checksum": {"sha256": "5e" * 32},
}
_PAGES: Final = paging(projects.PER_PAGE, projects.MAX_PER_PAGE, projects.MAX_PAGE)
_PLATFORM: Final = _TEXT | {"examples": list(Platform)}
_ARCHITECTURE: Final = _TEXT | {"examples": list(Architecture)}
UNCHANGED: Final = Answer(304, "It has not changed.", headers=KEPT)
STAGING: Final = header(
    "X-User-Staging-Id", "What the installation calls itself, for staged rollouts.", {"type": "string"}
)
FILE: Final = Answer(302, "The address of the file.", headers=("Location",))
FILE_ERRORS: Final = (VersionYanked, BuildNotVerified)


def _kept(description: str, body: object, *headers: str) -> tuple[Answer, ...]:
    return (Answer(200, description, body, headers=(*KEPT, *headers)), UNCHANGED)


def _made(description: str, body: object) -> tuple[Answer, ...]:
    return (Answer(201, description, body),)


def _changed(description: str, body: object) -> tuple[Answer, ...]:
    return (Answer(200, description, body),)


_GONE: Final = (Answer(204, "It is no more."),)

OPERATIONS: Final[dict[str, Operation]] = {
    "GET /projects": Operation(
        "Releases", _kept("A page of projects.", ProjectPage, "Link"), parameters=_PAGES, errors=(InvalidRequest,)
    ),
    "POST /projects": Operation(
        "Catalogue",
        _made("The project.", Project),
        body=Body("NewProject", {"id": "notes", "name": "Notes", "channels": [{"id": "stable"}, {"id": "beta"}]}),
        errors=(ProjectExists,),
    ),
    "GET /projects/{project}": Operation("Releases", _kept("The project.", Project)),
    "PATCH /projects/{project}": Operation(
        "Catalogue", _changed("The project.", Project), body=Body("ProjectChanges", {"description": "Takes notes."})
    ),
    "DELETE /projects/{project}": Operation("Catalogue", _GONE),
    "POST /projects/{project}/channels": Operation(
        "Catalogue",
        _made("The channel.", ChannelDetail),
        body=Body("NewChannel", {"id": "nightly", "includes": ["beta"]}),
        errors=(ChannelExists,),
    ),
    f"PATCH {CHANNEL}": Operation(
        "Catalogue", _changed("The channel.", ChannelDetail), body=Body("ChannelChanges", {"auto_update": True})
    ),
    f"DELETE {CHANNEL}": Operation("Catalogue", _GONE, errors=(InvalidRequest,)),
    f"GET {CHANNEL}/latest": Operation(
        "Releases",
        _kept("The version.", VersionDetail),
        parameters=(
            query("platform", "The operating system, with `architecture`.", _PLATFORM),
            query("architecture", "The processor, with `platform`.", _ARCHITECTURE),
        ),
        errors=(InvalidRequest,),
    ),
    f"GET {CHANNEL}/update": Operation(
        "Updates",
        _kept("Whether there is an update, and which.", (UpdateAvailable, NoUpdate)),
        parameters=(
            query("current_version", "The version that is installed.", VERSION_SCHEMA, required=True, example="1.2.2"),
            query("platform", "The operating system.", _PLATFORM, required=True, example="windows"),
            query("architecture", "The processor.", _ARCHITECTURE, required=True, example="x64"),
            query("os_version", "The version of the operating system.", _TEXT, example="10.0.19045"),
            query("launcher_version", "The version of the launcher.", VERSION_SCHEMA),
            query("client_id", "What the installation calls itself, for staged rollouts.", _TEXT),
            query("stagingId", "The same, as electron-updater writes it.", _TEXT),
            query("explain", "`1` tells of every version why it is offered or is not.", _TEXT),
            STAGING,
        ),
        errors=(InvalidRequest,),
    ),
    f"GET {CHANNEL}/versions": Operation(
        "Releases",
        _kept("A page of versions.", VersionPage, "Link"),
        parameters=(*_PAGES, query("sort", "The order, by precedence.", {"type": "string", "enum": ["asc", "desc"]})),
        errors=(InvalidRequest,),
    ),
    f"POST {CHANNEL}/versions": Operation(
        "Catalogue",
        _made("The version.", VersionDetail),
        body=Body("NewVersion", {"id": "1.2.3", "release_notes": "Faster.", "builds": [_BUILD]}),
        errors=(VersionExists,),
    ),
    f"GET {VERSION}": Operation("Releases", _kept("The version.", VersionDetail), errors=(InvalidRequest,)),
    f"PATCH {VERSION}": Operation(
        "Catalogue", _changed("The version.", VersionDetail), body=Body("VersionChanges", {"rollout_percent": 25})
    ),
    f"POST {VERSION}/yank": Operation(
        "Catalogue",
        _changed("The version.", VersionDetail),
        body=Body("Withdrawing", {"reason": "It loses files."}, required=False),
    ),
    f"POST {VERSION}/restore": Operation(
        "Catalogue", _changed("The version.", VersionDetail), errors=(InvalidRequest,)
    ),
    f"POST {VERSION}/builds": Operation("Catalogue", _made("The build.", Build), body=Body("NewBuild", _BUILD)),
    f"GET {BUILD}": Operation("Releases", _kept("The build.", Build), errors=(InvalidRequest,)),
    f"POST {BUILD}/verify": Operation(
        "Catalogue", (Answer(202, "The build, which waits to be verified.", Build),), errors=(InvalidRequest,)
    ),
    f"GET {BUILD}/download": Operation("Releases", (FILE,), errors=(InvalidRequest, *FILE_ERRORS)),
    "GET /projects/{project}/github": Operation(
        "Catalogue",
        (Answer(200, "What was last seen.", GithubStatus),),
        parameters=paging(github.PER_PAGE, github.MAX_PER_PAGE, github.MAX_PAGE),
        errors=(InvalidRequest, NotFound),
    ),
    "POST /update/check": Operation(
        "Updates",
        _changed("The answers, in the order of the list.", UpdateList),
        body=Body(
            "InstalledList",
            {
                "client": {"launcher_version": "2.0.0", "os": "windows", "architecture": "x64"},
                "installed": [{"project_id": "notes", "version": "1.2.2"}],
            },
        ),
        description="One bad entry never fails the others.",
    ),
}
