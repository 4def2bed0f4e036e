"""The client programs of streaming.md keep what that page promises of them, against providers that misbehave."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from tests.architecture.installation import REPOSITORY
from tests.browser.devtools import open_browser
from tests.docs.blocks import blocks
from tests.docs.programs import JAVASCRIPT, file_name, filled_in, write_modules
from tests.e2e.conftest import a, start
from tests.e2e.server import ADMIN_KEY, provider
from tests.upstream import Script
from tests.upstream.answers import TRICKY_TEXT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.browser.devtools import Browser, Page
    from tests.docs.blocks import Block
    from tests.e2e.conftest import Start
    from tests.e2e.server import Running
    from tests.upstream import Upstream

__all__ = ["a", "start"]

pytestmark = pytest.mark.slow

STREAMING = REPOSITORY / "docs" / "streaming.md"
LIMIT_S = 60.0
# So that an answer whose first token is late has comments before it.
PING_S = 0.1
LATE_S = 0.5
# They say so, on standard error or output, when an answer is not whole.
PROGRAMS = [block for block in blocks(STREAMING) if "(not whole" in block.text]
ASKING_AGAIN = [block for block in PROGRAMS if block.language != "bash"]


def named(block: Block) -> str:
    """Return what a test is called in reports: the place is better than the whole text."""
    return block.name


@dataclass
class Client:
    """A program of the page that runs."""

    process: asyncio.subprocess.Process

    async def first_words(self) -> bytes:
        """Return what it prints first."""
        assert self.process.stdout is not None
        return await asyncio.wait_for(self.process.stdout.read(4), LIMIT_S)

    def interrupt(self) -> None:
        """Do what Ctrl-C in its terminal does."""
        os.killpg(self.process.pid, signal.SIGINT)

    async def end(self) -> tuple[str, str]:
        """Wait until it ends, and return what it printed (further) to standard output and error."""
        printed, complained = await asyncio.wait_for(self.process.communicate(), LIMIT_S)
        return printed.decode(), complained.decode()


@pytest.fixture
async def run(node_packages: Path, tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Client]]]:
    """Return a function that starts a program of the page; each is killed at the end if it still runs."""
    started: list[Client] = []

    async def start_one(block: Block, gateway: Running, key: str = ADMIN_KEY) -> Client:
        url = f"http://127.0.0.1:{gateway.port}"
        if block.language in JAVASCRIPT:
            # Node looks for packages in the folders above, too.
            folder = node_packages / f"port-{gateway.port}-{key}"
            folder.mkdir(exist_ok=True)
            write_modules(STREAMING, folder, url, key)
            command = [shutil.which("node") or "node", str(folder / file_name(block))]
        elif block.language == "python":
            command = [sys.executable, "-c", filled_in(block.text, url, key)]
        else:
            command = ["bash", "-c", filled_in(block.text, url, key)]
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=tmp_path,
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        started.append(Client(process))
        return started[-1]

    yield start_one
    for client in started:
        if client.process.returncode is None:
            os.killpg(client.process.pid, signal.SIGKILL)
            await client.process.wait()


@pytest.fixture
async def gateway(start: Start, a: Upstream) -> Running:
    """A gateway whose one provider serves the model that the page asks for, one request at a time."""
    entry = provider(a, models=["echo-1"], max_in_flight=1)
    return await start({"a": entry}, stream={"ping_s": PING_S})


@pytest.mark.parametrize("block", PROGRAMS, ids=named)
async def test_comments_before_a_late_answer_are_skipped(
    block: Block, gateway: Running, a: Upstream, run: Callable[..., Awaitable[Client]]
) -> None:
    """And every character arrives, those too at which careless readers of lines cut."""
    a.default = Script.text(TRICKY_TEXT, first_token_delay_s=LATE_S)
    client = await run(block, gateway)
    printed, complained = await client.end()
    assert client.process.returncode == 0, complained
    if block.language == "bash":
        assert ": ping" in printed
        assert printed.endswith("(whole)\n")
    else:
        assert (printed, complained) == (TRICKY_TEXT + "\n", "")


@pytest.mark.parametrize("block", PROGRAMS, ids=named)
async def test_a_cut_answer_is_told_and_never_repeated(
    block: Block, gateway: Running, a: Upstream, run: Callable[..., Awaitable[Client]]
) -> None:
    """Somebody has begun to read it."""
    a.default = Script.reset_after(2)
    client = await run(block, gateway)
    printed, complained = await client.end()
    assert "tok1 " in printed
    assert "(not whole" in printed + complained
    assert block.language == "bash" or client.process.returncode == 1
    assert len(a.chat_requests) == 1


@pytest.mark.parametrize("block", PROGRAMS, ids=named)
async def test_stopping_a_program_ends_the_request_at_the_provider(
    block: Block, gateway: Running, a: Upstream, run: Callable[..., Awaitable[Client]]
) -> None:
    """Otherwise the provider would go on writing, and somebody pays for it."""
    a.default = Script.endless(interval_s=0.02)
    client = await run(block, gateway)
    assert await client.first_words()
    client.interrupt()
    _, complained = await client.end()
    assert client.process.returncode != 0
    assert block.language == "bash" or "(stopped)" in complained
    await a.wait_for(lambda: a.in_flight == 0)


@pytest.mark.parametrize("block", ASKING_AGAIN, ids=named)
async def test_a_program_asks_again_when_it_is_told_when(
    block: Block, gateway: Running, a: Upstream, run: Callable[..., Awaitable[Client]]
) -> None:
    """The one place at the provider is taken: 503 with `Retry-After`, until it is free."""
    a.queue(Script.hold() + Script.text("one"))
    a.default = Script.text("two")
    first = await run(block, gateway)
    await a.wait_for(lambda: a.in_flight == 1)
    second = await run(block, gateway)
    await gateway.until(lambda: 503 in [line["status"] for line in gateway.requests_logged], LIMIT_S)
    a.release.set()
    assert (await first.end())[0] == "one\n"
    printed, complained = await second.end()
    assert printed == "two\n", complained


@pytest.mark.parametrize("block", ASKING_AGAIN, ids=named)
async def test_a_refusal_is_not_asked_about_again(
    block: Block, gateway: Running, a: Upstream, run: Callable[..., Awaitable[Client]]
) -> None:
    """A wrong key stays wrong."""
    client = await run(block, gateway, "lbapi_wrong")
    printed, complained = await client.end()
    assert client.process.returncode == 1
    assert "(not whole" in printed + complained
    assert [line["status"] for line in gateway.requests_logged] == [401]


# In a browser.


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[str]:
    """Serve a folder, from another origin than the gateway's; yields the address."""

    async def answer(request: web.Request) -> web.Response:
        path = folder / request.path.lstrip("/")
        if not path.is_file():
            # The package of fetch-event-source is for bundlers, which add the ending.
            path = path.with_name(f"{path.name}.js")
        if not path.is_file():
            return web.Response(status=404)
        kind = "text/html" if path.suffix == ".html" else "text/javascript"
        return web.Response(text=path.read_text(encoding="utf-8"), content_type=kind)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        listener = web.TCPSite(runner, "127.0.0.1", 0)
        await listener.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def page_of_the_document(
    browser: Browser, start: Start, up: Upstream, node_packages: Path, *, listed: bool = True
) -> AsyncIterator[tuple[Page, str]]:
    """Open the page of streaming.md; yields it and the address of the gateway, which lists its origin or does not."""
    folder = node_packages / f"site-of-{up.port}"
    folder.mkdir()
    async with site(folder) as origin:
        server = {"cors_origins": [origin]} if listed else {}
        running = await start({"a": provider(up)}, server=server, stream={"ping_s": PING_S})
        url = f"http://127.0.0.1:{running.port}"
        write_modules(STREAMING, folder, url, ADMIN_KEY)
        shutil.copytree(node_packages / "node_modules/@microsoft/fetch-event-source/lib/esm", folder / "esm")
        async with browser.page() as page:
            await page.open(f"{origin}/chat.html")
            yield page, url


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    """A Chromium; without one there is nothing to look at here."""
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not on this machine")
    async with open_browser(tmp_path / "profile") as opened:
        yield opened


async def shown(page: Page, state: str) -> str:
    """Wait until the page shows a state, and return the answer that it shows."""
    await page.until(f"document.querySelector('#state').textContent === {state!r}")
    text: Any = await page.run("document.querySelector('#answer').textContent")
    return str(text)


ASK = "document.querySelector('form').requestSubmit()"


async def test_the_page_shows_answers_cuts_and_stops(
    browser: Browser, start: Start, a: Upstream, node_packages: Path
) -> None:
    """From another origin, in a real browser."""
    async with page_of_the_document(browser, start, a, node_packages) as (page, _):
        a.default = Script.text(TRICKY_TEXT, first_token_delay_s=LATE_S)
        await page.run(ASK)
        assert await shown(page, "whole") == TRICKY_TEXT
        a.default = Script.reset_after(2)
        await page.run(ASK)
        assert await shown(page, "not whole: STREAM_INTERRUPTED") == "tok0 tok1 "
        a.default = Script.endless(interval_s=0.02)
        await page.run(ASK)
        await page.until("document.querySelector('#answer').textContent.length > 0")
        await page.run("document.querySelector('#stop').click()")
        await shown(page, "stopped")
        await a.wait_for(lambda: a.in_flight == 0)


async def test_a_page_of_an_origin_that_is_not_listed_learns_only_that_fetch_failed(
    browser: Browser, start: Start, a: Upstream, node_packages: Path
) -> None:
    """As troubleshooting.md says; the console says why."""
    async with page_of_the_document(browser, start, a, node_packages, listed=False) as (page, _):
        await page.run(ASK)
        assert await shown(page, "not whole: Failed to fetch") == ""
        assert any("blocked by CORS policy" in problem for problem in page.problems)


IMPORT_MAP = """
const map = document.createElement('script');
map.type = 'importmap';
map.textContent = JSON.stringify({imports: {'@microsoft/fetch-event-source': '/esm/index.js'}});
document.head.append(map);
"""
USE_THE_PACKAGE = """async (url, key) => {
  const { show } = await import('/fetch-event-source.mjs');
  const messages = [{ role: 'user', content: 'Count to three.' }];
  let text = '';
  const stop = new AbortController();
  const onPiece = (piece) => { text += piece; if (text.length > 10_000) stop.abort(); };
  try {
    const whole = await show(messages, onPiece, { url, key, signal: stop.signal });
    return [text.slice(0, 50), whole ? 'whole' : 'stopped'];
  } catch (error) {
    return [text, error.message];
  }
}"""


async def test_the_program_with_fetch_event_source_asks_once(
    browser: Browser, start: Start, a: Upstream, node_packages: Path
) -> None:
    """Whole, cut and stopped; the package by itself would ask again for ever."""
    async with page_of_the_document(browser, start, a, node_packages) as (page, url):
        await page.run(IMPORT_MAP)
        a.queue(Script.text(TRICKY_TEXT, first_token_delay_s=LATE_S), Script.reset_after(2), Script.endless())
        answers = [await page.call(USE_THE_PACKAGE, url, ADMIN_KEY) for _ in range(3)]
        assert answers[:2] == [[TRICKY_TEXT, "whole"], ["tok0 tok1 ", "STREAM_INTERRUPTED"]]
        assert answers[2][1] == "stopped"
        assert await page.call(USE_THE_PACKAGE, url, "wrong") == ["", "UNAUTHORIZED"]
        assert len(a.chat_requests) == 3
        await a.wait_for(lambda: a.in_flight == 0)
