"""`lunarbit releases verify`: builds checked by hand, and what the command says of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from tests.cli.program import lunarbit
from tests.releases import fileserver as fs
from tests.releases.checking import GOOD
from tests.releases.fileserver import FileServer
from tests.releases.verifying import declare

if TYPE_CHECKING:
    from pathlib import Path

TOML: Final = '[verification]\nallow_networks = ["127.0.0.0/8"]\n'
WRONG: Final = bytes(len(GOOD))
MISMATCH: Final = "The SHA-256 checksum of the file is not the declared one."


async def _run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    environ = {"GATEWAY_DATA_DIR": str(folder / "data"), "API_KEY_ADMIN": "x" * 20, "KEY_PEPPER": "y" * 20}
    return await lunarbit(folder, "releases", *arguments, toml=TOML, **environ)


async def _publish(folder: Path, server: FileServer, **files: str) -> None:
    """Import the project `app` with a version for each file: 1.0.0 and so on."""
    versions: list[dict[str, Any]] = [
        {"id": number.replace("_", ".").removeprefix("v"), "builds": [declare(GOOD, server.url(path))]}
        for number, path in files.items()
    ]
    project = {"id": "app", "name": "App", "channels": [{"id": "stable", "versions": versions}]}
    (folder / "catalogue.json").write_text(json.dumps({"projects": [project]}))
    code, _, errors = await _run(folder, "import", "catalogue.json")
    assert code == 0, errors


async def test_builds_are_checked_by_hand(tmp_path: Path) -> None:
    """One line for each with its state and reason, 1 if any is not right, and the results are recorded."""
    routes = {"/good": fs.file(GOOD), "/wrong": fs.file(WRONG), "/missing": fs.answer(404)}
    async with FileServer(routes) as server:
        await _publish(tmp_path, server, v1_0_0="/good", v1_1_0="/wrong", v1_2_0="/missing")
        code, out, errors = await _run(tmp_path, "verify")
        assert (code, errors.count("Traceback")) == (1, 0)
        assert out.splitlines() == [
            "app stable 1.0.0 linux-x64: verified",
            "app stable 1.1.0 linux-x64: failed (sha256_mismatch): " + MISMATCH,
            "app stable 1.2.0 linux-x64: unreachable (status): The server answered with status 404.",
        ]
        code, out, _ = await _run(tmp_path, "verify", "app", "stable", "1.0.0", "--json")
        place = {"project": "app", "channel": "stable", "version": "1.0.0", "build": "linux-x64"}
        assert json.loads(out) == [{**place, "status": "verified", "reason": "", "message": "", "recorded": True}]
        assert code == 0
        server.routes["/wrong"] = fs.file(GOOD)
        assert (await _run(tmp_path, "verify", "app", "stable", "1.1.0"))[0] == 0
        code, out, errors = await _run(tmp_path, "verify", "app", "nightly")
        assert (code, out) == (1, "")
        assert "CHANNEL_NOT_FOUND" in errors
