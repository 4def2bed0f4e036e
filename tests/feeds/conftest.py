"""A shop for each test, and the real clients, which are installed once for all."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.feeds.shop import open_shop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.feeds.shop import Shop

_HARNESS = Path(__file__).parent / "electron"
_INSTALL_LIMIT_S = 100
_RUN_LIMIT_S = 60

# Runs electron-updater with these fields of `driver.js`, and returns what it prints.
RunElectron = Callable[..., Awaitable[dict[str, Any]]]


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    """Run a gateway and a file server."""
    async with open_shop(tmp_path / "data") as opened:
        yield opened


@pytest.fixture(scope="session")
def electron_updater(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install electron-updater as locked, outside the repository, and return the driver beside it."""
    npm = shutil.which("npm")
    assert npm is not None, "npm is missing; `scripts/test --install` installs what the tests need"
    folder = tmp_path_factory.mktemp("electron")
    for name in ("package.json", "package-lock.json", "driver.js"):
        shutil.copy(_HARNESS / name, folder)
    command = (npm, "ci", "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts", "--loglevel=error")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_LIMIT_S, check=False)
    assert done.returncode == 0, f"npm could not install electron-updater: {done.stderr}"
    return folder / "driver.js"


@pytest.fixture
def run_electron(electron_updater: Path, tmp_path: Path) -> RunElectron:
    """Lend the real client; every call is a new installation unless it names its `folder`."""
    node = shutil.which("node")
    assert node is not None, "node is missing; `scripts/test --install` installs what the tests need"
    number = count()

    async def run(**fields: Any) -> dict[str, Any]:
        asked = {"folder": str(tmp_path / f"installation-{next(number)}"), **_LINUX, **fields}
        process = await asyncio.create_subprocess_exec(
            node,
            electron_updater,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            printed, said = await asyncio.wait_for(process.communicate(json.dumps(asked).encode()), _RUN_LIMIT_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, said.decode()
        answer: dict[str, Any] = json.loads(printed)
        return answer

    return run


_LINUX = {"updater": "AppImageUpdater", "platform": "linux", "arch": "x64", "version": "1.0.0"}
