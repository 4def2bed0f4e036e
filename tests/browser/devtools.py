"""Chromium without a window, driven through its DevTools protocol.

The protocol: https://chromedevtools.github.io/devtools-protocol/ (Target, Page, Runtime, Log, Input).
"""

from __future__ import annotations

import asyncio
import json
import shutil
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

# Chromium takes seconds to start when the processor has much else to do.
START_LIMIT_S = 30
WAIT_LIMIT_S = 60
_FLAGS = (
    "--headless",
    # Chromium's sandbox refuses to work for root, as which tests run in containers.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--no-proxy-server",
    "--window-size=1400,1000",
    "--remote-debugging-port=0",
)
# Runs in every document before its own scripts do.
_WATCH_POLICY = """
window.policyViolations = [];
document.addEventListener('securitypolicyviolation', event => window.policyViolations.push(
  `${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}:${event.columnNumber}`
  + ` ${event.sample}`));
"""


class PageError(Exception):
    """An expression threw in the page, or the protocol refused a command."""


class Page:
    """One tab. `problems` are its errors and warnings so far, as the console shows them, uncaught exceptions too."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.problems: list[str] = []
        self._browser = browser
        self._session = session

    async def command(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one command and return its result. Raises `PageError`."""
        return await self._browser.command(method, self._session, **params)

    async def open(self, url: str) -> None:
        """Load a document and wait until it is complete."""
        answer = await self.command("Page.navigate", url=url)
        if "errorText" in answer:
            raise PageError(f"{url}: {answer['errorText']}")
        await self.until("document.readyState === 'complete'")

    async def run(self, expression: str) -> Any:
        """Return the value of an expression, awaited when it is a promise. Raises `PageError` when it throws."""
        answer = await self.command("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise PageError(_said(answer["exceptionDetails"]))
        return answer["result"].get("value")

    async def call(self, function: str, *arguments: Any) -> Any:
        """Return what a function of the page answers to these JSON values. Raises `PageError` when it throws."""
        return await self.run(f"({function})({', '.join(map(json.dumps, arguments))})")

    async def until(self, expression: str) -> None:
        """Wait until an expression is true."""
        try:
            async with asyncio.timeout(WAIT_LIMIT_S):
                while not await self.run(f"Boolean({expression})"):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            shown = await self.run("document.body.innerText.slice(0, 2000)")
            raise AssertionError(f"never true: {expression}\n{self.problems}\n{shown}") from None

    async def violations(self) -> list[str]:
        """Return what the Content-Security-Policy of the document has forbidden so far."""
        found: list[str] = await self.run("window.policyViolations")
        return found

    def _on_event(self, method: str, params: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.problems.append(_said(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
            entry = params["entry"]
            self.problems.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning", "assert"}:
            said = (str(one.get("value", one.get("description"))) for one in params["args"])
            self.problems.append(f"console.{params['type']}: {' '.join(said)}")


class Browser:
    """A running Chromium."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}

    async def command(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """Send one command and return its result. Raises `PageError`."""
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        addressed = {"sessionId": session} if session else {}
        await self._socket.send_json({"id": number, "method": method, "params": params, **addressed})
        async with asyncio.timeout(START_LIMIT_S):
            return await answer

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        """Open an empty tab that shares no cookies and no storage with others, for the length of the context."""
        context = (await self.command("Target.createBrowserContext"))["browserContextId"]
        target = await self.command("Target.createTarget", url="about:blank", browserContextId=context)
        attached = await self.command("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        session = attached["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log"):
            await page.command(f"{domain}.enable")
        await page.command("Page.addScriptToEvaluateOnNewDocument", source=_WATCH_POLICY)
        # A tab behind another one is not painted.
        await page.command("Page.bringToFront")
        try:
            yield page
        finally:
            del self._pages[session]
            await self.command("Target.disposeBrowserContext", browserContextId=context)

    async def listen(self) -> None:
        """Hand out answers and events until the connection ends."""
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                waiting = self._waiting.pop(told["id"])
                if waiting.done():
                    continue
                if "error" in told:
                    waiting.set_exception(PageError(told["error"]["message"]))
                else:
                    waiting.set_result(told["result"])
            elif (page := self._pages.get(told.get("sessionId", ""))) is not None:
                page._on_event(told["method"], told["params"])


def _said(details: dict[str, Any]) -> str:
    exception = details.get("exception", {})
    return str(exception.get("description", exception.get("value", details["text"])))


@asynccontextmanager
async def open_browser(profile: Path) -> AsyncIterator[Browser]:
    """Run Chromium with an empty profile in `profile`, for the length of the context."""
    chromium = shutil.which("chromium")
    assert chromium is not None, "chromium is missing; `scripts/test --install` installs what the tests need"
    process = await asyncio.create_subprocess_exec(
        chromium,
        *_FLAGS,
        f"--user-data-dir={profile}",
        "about:blank",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        address = await _address(process, profile / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
            browser = Browser(socket)
            listening = asyncio.create_task(browser.listen())
            try:
                yield browser
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _address(process: asyncio.subprocess.Process, file: Path) -> str:
    """Return where Chromium listens, which it writes into `file`: the port, and the path on the next line."""
    async with asyncio.timeout(START_LIMIT_S):
        while len(lines := _lines(file)) != 2:
            assert process.returncode is None, f"chromium ended at once with {process.returncode}"
            await asyncio.sleep(0.05)
    return f"ws://127.0.0.1:{lines[0]}{lines[1]}"


def _lines(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []
