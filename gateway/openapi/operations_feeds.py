"""The operations of updaters that exist already, each in its own format."""

from __future__ import annotations

from typing import Final

from gateway.errors import InvalidRequest, NotFound
from gateway.openapi.answers_feeds import ElectronUpdate, SquirrelMacUpdate, TauriUpdate, VelopackReleases
from gateway.openapi.headers import KEPT
from gateway.openapi.model import Answer, Operation, query
from gateway.openapi.operations_releases import FILE, FILE_ERRORS, STAGING, UNCHANGED

FEEDS: Final = "/updates/{project}/{channel}"
_TEXT: Final = {"type": "string"}
_IDS: Final = (
    STAGING,
    query("stagingId", "The same as X-User-Staging-Id.", _TEXT),
    query("client_id", "The same as X-User-Staging-Id.", _TEXT),
)
_NO_UPDATE: Final = Answer(204, "There is no update.")
_ARCHITECTURE: Final = query("architecture", "The processor, by any of its usual names.", _TEXT, example="x64")
_LOCAL: Final = query("localVersion", "The version that is installed.", _TEXT, example="1.2.2")


def _text(description: str, media_type: str, example: str) -> tuple[Answer, ...]:
    return Answer(200, description, _TEXT, media_type, KEPT, example), UNCHANGED


OPERATIONS: Final[dict[str, Operation]] = {
    f"GET {FEEDS}/electron/{{file}}": Operation(
        "Feeds",
        (Answer(200, "The update file.", ElectronUpdate, "application/yaml", ("Cache-Control", "Vary")),),
        parameters=_IDS,
        errors=(NotFound,),
    ),
    f"GET {FEEDS}/tauri/{{target}}/{{arch}}/{{current_version}}": Operation(
        "Feeds",
        (Answer(200, "The update.", TauriUpdate, headers=("Cache-Control", "Vary")), _NO_UPDATE),
        parameters=_IDS,
        errors=(InvalidRequest,),
    ),
    f"GET {FEEDS}/files/{{version}}/{{build}}/{{processor}}/{{file_name}}": Operation(
        "Feeds", (FILE,), errors=FILE_ERRORS
    ),
    f"GET {FEEDS}/velopack/releases.{{velopack_channel}}.json": Operation(
        "Feeds",
        (Answer(200, "The packages.", VelopackReleases, headers=KEPT), UNCHANGED),
        parameters=(_LOCAL, *_IDS),
        errors=(InvalidRequest,),
    ),
    f"GET {FEEDS}/velopack/{{file_name}}": Operation("Feeds", (FILE,), errors=FILE_ERRORS, name="velopack"),
    f"GET {FEEDS}/squirrel-win/RELEASES": Operation(
        "Feeds",
        _text("The packages.", "text/plain", f"{'5E' * 20} notes-1.2.3-full.nupkg 48234496\n"),
        parameters=(_LOCAL, _ARCHITECTURE, query("arch", "`x86` for 32 bits, as some clients say it.", _TEXT), *_IDS),
        errors=(InvalidRequest,),
    ),
    f"GET {FEEDS}/squirrel-win/{{file_name}}": Operation("Feeds", (FILE,), errors=FILE_ERRORS, name="squirrel"),
    f"GET {FEEDS}/squirrel-mac/{{architecture}}/{{version}}": Operation(
        "Feeds",
        (Answer(200, "The update.", SquirrelMacUpdate, headers=KEPT), UNCHANGED, _NO_UPDATE),
        parameters=_IDS,
        errors=(InvalidRequest,),
    ),
    f"GET {FEEDS}/sparkle/appcast.xml": Operation(
        "Feeds",
        _text("The appcast.", "application/rss+xml", '<rss version="2.0"><channel/></rss>'),
        parameters=(_ARCHITECTURE, *_IDS),
        errors=(InvalidRequest,),
    ),
    f"GET {FEEDS}/releases.atom": Operation(
        "Feeds",
        _text("The versions as an Atom feed.", "application/atom+xml", '<feed xmlns="http://www.w3.org/2005/Atom"/>'),
    ),
}
