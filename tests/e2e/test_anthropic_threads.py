"""Anthropic's threads: the provider remembers the conversation, and the official package's loop over tools asks for it.

The package sends `thread` unless told not to, and goes on without it only if the refusal is worded as the vendor does.
"""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

from tests.e2e.conftest import Start
from tests.e2e.openai_sdk import _quiet_package
from tests.e2e.server import MODEL, provider
from tests.e2e.test_anthropic_sdk import HI, create, sdk
from tests.upstream import Script, Upstream, messages
from tests.upstream.frames import tool_calls

__all__ = ["_quiet_package"]

USE = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris", "unit": "celsius"}}
START: Any = {"thread": {"type": "create"}}
CONTINUE: Any = {"thread": {"type": "continue", "previous_message_id": "msg_1"}}
FORGOTTEN = messages.error(404, "not_found_error", "No such thread.", details={"error_code": "thread_not_found"})


@anthropic.beta_async_tool
async def get_weather(city: str, unit: str) -> str:
    """Tell the weather of a city."""
    return f"15 degrees {unit} in {city}"


async def run_tools(client: anthropic.AsyncAnthropic) -> Any:
    """Let the package call the tool until there is an answer."""
    runner = client.beta.messages.tool_runner(model=MODEL, max_tokens=100, messages=HI, tools=[get_weather])
    return await runner.until_done()


async def test_the_loop_goes_on_without_a_thread_where_there_is_none(start: Start, a: Upstream) -> None:
    """Else no agent of this package could use a provider of another dialect."""
    a.queue(Script.tool_call_stream())
    gateway = await start({"a": provider(a)})
    async with sdk(gateway) as client:
        final = await run_tools(client)
    assert final.content[0].text == "Hello world"
    first, second = (call.json["messages"] for call in a.chat_requests)
    assert [message["role"] for message in first] == ["user"]
    assert [message["role"] for message in second] == ["user", "assistant", *["tool"] * len(tool_calls())]


@pytest.mark.parametrize("thread", [START, CONTINUE])
async def test_the_refusal_is_worded_as_the_vendor_does(start: Start, a: Upstream, thread: Any) -> None:
    """The package has a class of its own for it."""
    gateway = await start({"a": provider(a)})
    async with sdk(gateway) as client:
        with pytest.raises(anthropic.types.ThreadUnsupportedRequestError):
            await create(client, extra_body=thread)
    assert not a.chat_requests


async def test_a_provider_that_remembers_is_sent_only_what_is_new(start: Start, a: Upstream) -> None:
    """The field passes through as it came, to the provider that has a word for it."""
    a.queue(messages.blocks(USE, stop_reason="tool_use"))
    a.default = messages.text("15 degrees")
    gateway = await start({"a": provider(a.origin, kind="anthropic")})
    async with sdk(gateway) as client:
        final = await run_tools(client)
    assert final.content[0].text == "15 degrees"
    first, second = (call.json for call in a.chat_requests)
    assert first["thread"] == START["thread"]
    assert second["thread"]["type"] == "continue"
    assert [message["role"] for message in second["messages"]] == ["user"]


async def test_a_forgotten_thread_is_the_clients_to_replay(start: Start, a: Upstream, b: Upstream) -> None:
    """Neither is the model blamed for it, nor another provider asked about a conversation that it cannot know."""
    a.default = b.default = FORGOTTEN
    gateway = await start({name: provider(up.origin, kind="anthropic") for name, up in (("a", a), ("b", b))})
    async with sdk(gateway) as client:
        with pytest.raises(anthropic.types.ThreadNotFoundError) as raised:
            await create(client, extra_body=CONTINUE)
        a.default = messages.text()
        assert (await create(client)).content[0].text == "Hello world"
    assert raised.value.response.headers["x-lunarbit-error-code"] == "NOT_FOUND"
    assert not b.chat_requests


async def test_the_loop_replays_what_the_provider_has_forgotten(start: Start, a: Upstream) -> None:
    """The package sends the whole conversation once more."""
    a.queue(messages.blocks(USE, stop_reason="tool_use"), FORGOTTEN)
    a.default = messages.text("15 degrees")
    gateway = await start({"a": provider(a.origin, kind="anthropic")})
    async with sdk(gateway) as client:
        assert (await run_tools(client)).content[0].text == "15 degrees"
    kinds = [(call.json["thread"]["type"], len(call.json["messages"])) for call in a.chat_requests]
    assert kinds == [("create", 1), ("continue", 1), ("create", 3)]
