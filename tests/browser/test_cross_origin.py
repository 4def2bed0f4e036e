"""Pages of another origin that use the gateway, in a real browser: with leave all works, without it nothing does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.browser.pages import install_client, serving_pages
from tests.e2e.server import ADMIN_KEY
from tests.upstream import Script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.browser.conftest import Start
    from tests.browser.devtools import Page
    from tests.e2e.server import Running
    from tests.upstream import Upstream

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

BEARER = {"authorization": f"Bearer {ADMIN_KEY}", "content-type": "application/json"}
# What the vendors' SDKs send from browsers.
STAINLESS = {f"x-stainless-{name}": "1" for name in ("lang", "os", "arch", "runtime", "retry-count", "timeout")}
ANTHROPIC = {
    "x-api-key": ADMIN_KEY,
    "content-type": "application/json",
    "anthropic-version": "2023-06-01",
    "anthropic-dangerous-direct-browser-access": "true",
    **STAINLESS,
}
PROMPT: dict[str, Any] = {
    "model": "gpt-4",
    "stream": True,
    "messages": [{"role": "user", "content": "Hello!"}],
}
SURFACES = {
    "/ai/chat": (BEARER, PROMPT),
    "/v1/chat/completions": (BEARER | STAINLESS, PROMPT),
    "/v1/messages": (ANTHROPIC, PROMPT | {"max_tokens": 100}),
}
CLIENTS = ["fetch", "fetch-event-source"]
# Both collect what came in `window.told`, and promise how it ended; `window.leave()` aborts.
FETCH = """async (url, headers, body) => {
  const controller = new AbortController();
  window.told = {text: ''};
  window.leave = () => controller.abort();
  const request = {method: 'POST', headers, body: JSON.stringify(body), signal: controller.signal};
  const read = async () => {
    const answer = await fetch(url, request);
    window.told.status = answer.status;
    window.told.headers = Object.fromEntries(answer.headers);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const {value, done} = await reader.read();
      if (done) break;
      window.told.text += value;
    }
  };
  read().then(() => window.told.end = 'end', error => window.told.end = error.name);
}"""
FETCH_EVENT_SOURCE = """async (url, headers, body) => {
  const {fetchEventSource} = await import('/client/index.js');
  const controller = new AbortController();
  window.told = {text: ''};
  window.leave = () => controller.abort();
  fetchEventSource(url, {
    method: 'POST', headers, body: JSON.stringify(body), signal: controller.signal,
    async onopen(answer) {
      window.told.status = answer.status;
      window.told.headers = Object.fromEntries(answer.headers);
      if (!answer.ok) throw new Error(await answer.text());
    },
    onmessage(message) { window.told.text += message.data; },
    onerror(error) { throw error; },
  }).then(() => window.told.end = controller.signal.aborted ? 'AbortError' : 'end', error => {
    window.told.text += error.message;
    window.told.end = error.name;
  });
}"""
READ = {"fetch": FETCH, "fetch-event-source": FETCH_EVENT_SOURCE}


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Install the client."""
    return install_client(tmp_path_factory.mktemp("client"))


@pytest_asyncio.fixture(loop_scope="module")
async def origin(modules: Any) -> AsyncIterator[str]:
    """Serve the application's page."""
    async with serving_pages(modules) as served:
        yield served


async def ask(page: Page, client: str, gateway: Running, path: str, body: dict[str, Any] | None = None) -> None:
    """Let the page send a request; what comes of it is in `window.told`."""
    headers, prompt = SURFACES[path]
    await page.call(READ[client], f"http://127.0.0.1:{gateway.port}{path}", headers, body or prompt)


@pytest.mark.parametrize("path", SURFACES)
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_stream_arrives_while_it_is_written(
    start: Start, up: Upstream, page: Page, origin: str, client: str, path: str
) -> None:
    """With a preflight for the key's header; the page reads the first word while the model has not said the last."""
    up.default = Script.text("alpha omega", pieces=2, hold_after=1)
    gateway = await start(cors_origins=[origin])
    await page.open(f"{origin}/")
    await ask(page, client, gateway, path)
    await page.until("window.told.text.includes('alpha')")
    told = await page.run("window.told")
    assert "omega" not in told["text"]
    assert (told["status"], "end" in told) == (200, False)
    up.release.set()
    await page.until("window.told.end")
    told = await page.run("window.told")
    assert told["end"] == "end"
    assert "omega" in told["text"]
    readable = {"x-request-id", "x-ratelimit-remaining", "ratelimit", "ratelimit-policy", "x-lunarbit-provider"}
    assert told["headers"].keys() >= readable
    assert page.problems == []


@pytest.mark.parametrize("client", CLIENTS)
async def test_an_abort_in_the_page_ends_the_upstreams_work(
    start: Start, up: Upstream, page: Page, origin: str, client: str
) -> None:
    """Someone who presses Stop pays for no further token."""
    up.default = Script.endless(64, 0.005)
    gateway = await start(cors_origins=[origin])
    await page.open(f"{origin}/")
    await ask(page, client, gateway, "/v1/chat/completions")
    await page.until("window.told.text.includes('xxx')")
    await page.run("window.leave()")
    await page.until("window.told.end === 'AbortError'")
    call = up.chat_requests[0]
    await up.wait_for(call.disconnected.is_set)
    (line,) = await gateway.logged()
    assert line["status"] == 499


@pytest.mark.parametrize("client", CLIENTS)
async def test_an_error_can_be_read(start: Start, up: Upstream, page: Page, origin: str, client: str) -> None:
    """Its status, its code, its request id, and when it is worth to ask again."""
    up.default = Script.status(429, headers=[("retry-after", "120")])
    gateway = await start(cors_origins=[origin])
    await page.open(f"{origin}/")
    await ask(page, client, gateway, "/ai/chat")
    await page.until("window.told.end")
    told = await page.run("window.told")
    assert told["status"] == 429
    assert "PROVIDER_RATE_LIMITED" in told["text"]
    assert int(told["headers"]["retry-after"]) > 0
    assert told["headers"]["x-request-id"] in told["text"]


@pytest.mark.parametrize(
    ("client", "path"), [*(("fetch", path) for path in SURFACES), ("fetch-event-source", "/ai/chat")]
)
async def test_without_leave_the_browser_refuses_and_says_why(
    start: Start, up: Upstream, page: Page, origin: str, client: str, path: str
) -> None:
    """Nobody is asked, the promise is rejected, and the console names CORS."""
    gateway = await start()
    await page.open(f"{origin}/")
    await ask(page, client, gateway, path)
    await page.until("window.told.end")
    assert await page.run("window.told.end") == "TypeError"
    assert await page.run("window.told.status ?? null") is None
    assert any("blocked by CORS policy" in problem for problem in page.problems), page.problems
    assert up.chat_requests == []


async def test_another_origin_than_the_configured_one_is_refused(
    start: Start, up: Upstream, page: Page, origin: str
) -> None:
    """Leave for one application is none for another."""
    gateway = await start(cors_origins=["https://console.example"])
    await page.open(f"{origin}/")
    await ask(page, "fetch", gateway, "/ai/chat")
    await page.until("window.told.end")
    assert await page.run("window.told.end") == "TypeError"
    assert any("blocked by CORS policy" in problem for problem in page.problems), page.problems
    assert up.chat_requests == []
