"""A server of pages at an origin of their own, as an application that uses the gateway has one."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from tests.architecture.installation import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_CLIENT = Path(__file__).parent / "client"
_INSTALL_LIMIT_S = 100
_PAGE = "<!doctype html><title>An application</title><link rel='icon' href='data:,'>"


def install_client(folder: Path) -> Path:
    """Install @microsoft/fetch-event-source as locked into `folder`, and return where its ES modules are."""
    npm = shutil.which("npm")
    assert npm is not None, "npm is missing; `scripts/test --install` installs what the tests need"
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_CLIENT / name, folder)
    command = (npm, "ci", "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts", "--loglevel=error")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_LIMIT_S, check=False)
    assert done.returncode == 0, f"npm could not install the client: {done.stderr}"
    return folder / "node_modules/@microsoft/fetch-event-source/lib/esm"


@asynccontextmanager
async def serving_pages(modules: Path) -> AsyncIterator[str]:
    """Serve an empty page at `/` and the ES modules below `/client/`; yields the origin."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=_PAGE, content_type="text/html")

    async def module(request: web.Request) -> web.Response:
        # They import each other without the end of the file's name.
        source = modules / f"{request.match_info['name'].removesuffix('.js')}.js"
        return web.Response(text=source.read_text(), content_type="text/javascript")

    application = web.Application()
    application.add_routes([web.get("/", page), web.get("/client/{name}", module)])
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()
