"""The reference at `/docs` in a real browser: nothing that the gateway's own policy forbids, and everything works."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.server import ADMIN_KEY
from tests.upstream import Script

if TYPE_CHECKING:
    from tests.browser.conftest import Start
    from tests.browser.devtools import Page
    from tests.e2e.server import Running
    from tests.upstream import Upstream

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

RENDERED = "document.querySelectorAll('.opblock').length > 20"
# React takes a value only by the setter of the field itself, followed by an event.
TYPE = """(selector, text) => {
  const field = document.querySelector(selector);
  Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), 'value').set.call(field, text);
  field.dispatchEvent(new Event('input', {bubbles: true}));
}"""
CLICK = "selector => document.querySelector(selector).click()"
BACKGROUND = "getComputedStyle(document.body).backgroundColor"
PRESS = """(selector, key) => document.querySelector(selector)
  .dispatchEvent(new KeyboardEvent('keydown', {...key, bubbles: true, cancelable: true}))"""
# Operations whose parts differ: a body and a stream, choices in the query, a table, a file.
SHOWN = ("AI-ai_chat", "Updates-updates_check", "Usage-usage_report", "Service-health_metrics")


async def open_reference(page: Page, gateway: Running, path: str = "/docs") -> None:
    """Open the page and wait until the operations are there."""
    await page.open(f"http://127.0.0.1:{gateway.port}{path}")
    await page.until(RENDERED)


async def assert_nothing_complained(page: Page) -> None:
    """Hold that the policy forbade nothing and the console is empty."""
    assert await page.violations() == []
    assert page.problems == []


async def opened(page: Page, name: str) -> str:
    """Open one operation and return its selector."""
    selector = f"[id='operations-{name}']"
    await page.call(CLICK, f"{selector} .opblock-summary-control")
    await page.until(f'document.querySelector("{selector} .try-out__btn")')
    return selector


async def sent(page: Page, name: str) -> str:
    """Open one operation, send its request, and return what the page shows as the answer."""
    selector = await opened(page, name)
    await page.call(CLICK, f"{selector} .try-out__btn")
    await page.until(f'document.querySelector("{selector} .execute")')
    await page.call(CLICK, f"{selector} .execute")
    return await answer(page, selector)


async def answer(page: Page, selector: str) -> str:
    """Wait for an answer below the operation, and return it as it is shown."""
    found = f'document.querySelector("{selector} .live-responses-table tbody")'
    await page.until(found)
    shown: str = await page.run(f"{found}.innerText")
    return shown


async def begin_chat(page: Page, text: str) -> None:
    """Send a message in the chat above the reference."""
    await page.run("document.querySelector('#chat').open = true")
    await page.call(TYPE, "#prompt", text)
    await page.call(CLICK, "#chat [type=submit]")


async def test_it_renders_without_a_violation(start: Start, page: Page) -> None:
    """Each part of a renderer brings its own styles and pictures: operations, schemas, the dialogue for keys."""
    await open_reference(page, await start())
    for name in SHOWN:
        await opened(page, name)
    await page.call(CLICK, ".opblock [data-name=model]")
    await page.until("document.querySelector('.opblock .json-schema-2020-12-accordion')")
    await page.call(CLICK, ".opblock .json-schema-2020-12-accordion")
    await page.call(CLICK, ".models .models-control")
    await page.until("document.querySelectorAll('.models article').length > 3")
    await page.call(CLICK, ".models .json-schema-2020-12-accordion")
    await page.call(CLICK, ".btn.authorize")
    await page.until("document.querySelector('.dialog-ux .auth-container')")
    await page.call("async () => { await new Promise(requestAnimationFrame); }")
    await assert_nothing_complained(page)


async def test_it_is_dark_where_other_pages_are(start: Start, page: Page) -> None:
    """The renderer has a dark style, which nothing but a class switches on; it follows a change too."""
    await open_reference(page, await start())
    light = await page.run(BACKGROUND)
    await page.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    await page.until(f"{BACKGROUND} !== '{light}'")
    assert await page.run("getComputedStyle(document.querySelector('.swagger-ui')).backgroundColor") != light
    await assert_nothing_complained(page)


async def test_a_violation_would_be_noticed(start: Start, page: Page) -> None:
    """Otherwise the tests of this file would prove nothing."""
    await open_reference(page, await start())
    await page.run("document.querySelector('#status').innerHTML = '<b style=\"color: red\">red</b>'")
    await page.until("window.policyViolations.length")
    assert "style-src-attr" in (await page.violations())[0]
    assert any("Content Security Policy" in problem for problem in page.problems)


async def test_a_request_is_sent_with_the_key_that_was_entered(start: Start, page: Page) -> None:
    """First refused, then answered; the key is nowhere but in the page's memory."""
    gateway = await start()
    await open_reference(page, gateway)
    shown = await sent(page, "OpenAI-openai_models")
    assert shown.startswith("401")
    # The browser itself reports answers like this one.
    assert len(page.problems) == 1, page.problems
    page.problems.clear()
    await page.call(TYPE, "#key", ADMIN_KEY)
    selector = "[id='operations-OpenAI-openai_models']"
    await page.call(CLICK, f"{selector} .execute")
    await page.until(f'document.querySelector("{selector} .live-responses-table tbody").innerText.startsWith("200")')
    assert "gpt-4" in await answer(page, selector)
    kept = "JSON.stringify([location.href, document.cookie, localStorage, sessionStorage, history.state])"
    assert ADMIN_KEY not in await page.run(kept)
    await assert_nothing_complained(page)


async def test_requests_go_where_the_page_came_from(start: Start, page: Page) -> None:
    """Also where the page was reached below another path: only the browser knows that."""
    gateway = await start()
    await open_reference(page, gateway, "/api/v2/docs")
    shown = await sent(page, "Service-health_live")
    assert shown.startswith("200")
    address = await page.run("document.querySelector('.opblock .request-url').innerText")
    assert address.strip().endswith(f":{gateway.port}/api/v2/health/live")


async def test_a_chat_shows_an_answer_while_it_is_written(start: Start, up: Upstream, page: Page) -> None:
    """The first word stands there while the model has not said the last, and the next turn knows both."""
    up.default = Script.text("alpha omega", pieces=2, hold_after=1)
    await open_reference(page, await start())
    await page.call(TYPE, "#key", ADMIN_KEY)
    await begin_chat(page, "Hello!")
    said = "document.querySelector('#transcript .assistant').innerText"
    await page.until(f"{said}.includes('alpha')")
    assert "omega" not in await page.run(said)
    assert await page.run("document.querySelector('#status').value") == ""
    up.release.set()
    await page.until("document.querySelector('#status').value.includes('tokens')")
    assert await page.run(said) == "alpha omega"
    await begin_chat(page, "And then?")
    await page.until("document.querySelectorAll('#transcript .assistant').length === 2")
    await page.until("document.querySelector('#status').value.includes('tokens')")
    await page.call("() => document.querySelector('#model').focus()")
    await page.until("document.querySelector('#models option')?.value === 'gpt-4'")
    messages = up.chat_requests[-1].json["messages"]
    assert [message["content"] for message in messages] == ["Hello!", "alpha omega", "And then?"]
    await assert_nothing_complained(page)


async def test_enter_sends_and_shift_enter_does_not(start: Start, up: Upstream, page: Page) -> None:
    """As in every chat; an Enter that ends the choice of a character sends nothing either."""
    up.default = Script.text("alpha", pieces=1)
    await open_reference(page, await start())
    await page.call(TYPE, "#key", ADMIN_KEY)
    await page.call(TYPE, "#prompt", "Hello!")
    await page.call(PRESS, "#prompt", {"key": "Enter", "shiftKey": True})
    await page.call(PRESS, "#prompt", {"key": "Enter", "isComposing": True})
    assert await page.run("document.querySelectorAll('#transcript p').length") == 0
    await page.call(PRESS, "#prompt", {"key": "Enter"})
    await page.until("document.querySelector('#status').value.includes('tokens')")
    assert len(up.chat_requests) == 1


async def test_a_chat_says_what_went_wrong(start: Start, up: Upstream, page: Page) -> None:
    """Before the first word and after it."""
    up.default = Script.eof_after(2)
    await open_reference(page, await start())
    wrong = "document.querySelector('#transcript .error:nth-of-type(%d)')?.innerText ?? ''"
    await begin_chat(page, "Hello!")
    await page.until(f"({wrong % 3}).startsWith('401 UNAUTHORIZED')")
    await page.call(TYPE, "#key", ADMIN_KEY)
    await begin_chat(page, "Hello!")
    await page.until(f"({wrong % 6}).startsWith('STREAM_INTERRUPTED')")
    assert await page.violations() == []


async def test_stop_ends_the_models_work(start: Start, up: Upstream, page: Page) -> None:
    """What nobody reads costs money."""
    up.default = Script.endless(64, 0.005)
    await open_reference(page, await start())
    await page.call(TYPE, "#key", ADMIN_KEY)
    await begin_chat(page, "Hello!")
    await page.until("document.querySelector('#transcript .assistant')?.innerText.includes('xxx')")
    await page.call(CLICK, "#stop")
    await page.until("document.querySelector('#status').value === 'Stopped'")
    await up.wait_for(up.chat_requests[0].disconnected.is_set)
