"""Each script in Anthropic's dialect does on the wire what it says, so that the fault tests can trust it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.upstream import Script, Upstream, messages
from tests.upstream.answers import TRICKY_TEXT
from tests.upstream.raw_client import RawClient, Reply

VERSION = {"anthropic-version": "2023-06-01"}


@pytest.fixture
async def up() -> AsyncIterator[Upstream]:
    """One upstream per test."""
    async with Upstream() as upstream:
        yield upstream


async def ask(up: Upstream, script: Script, **members: Any) -> Reply:
    """One call on a connection of its own, read to its end."""
    up.queue(script)
    async with RawClient(up.port) as client:
        await client.chat(path="/v1/messages", headers=VERSION, **members)
        return await client.reply()


def said(reply: Reply) -> str:
    """Return the text of a stream as far as it came."""
    events = [event for event in reply.payloads if isinstance(event, dict)]
    return "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")


def kinds(reply: Reply) -> list[str]:
    """Return the types of a stream's events, equal neighbours once."""
    found = [event["type"] for event in reply.payloads if isinstance(event, dict)]
    return [kind for number, kind in enumerate(found) if not number or found[number - 1] != kind]


async def test_text_comes_in_the_documented_order(up: Upstream) -> None:
    """With a name for each event, as the reference has it, or as one document."""
    reply = await ask(up, messages.text(TRICKY_TEXT))
    assert kinds(reply) == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert (said(reply), reply.ending) == (TRICKY_TEXT, "complete")
    named = [line.removeprefix("event: ") for line in reply.body.decode().split("\n") if line.startswith("event: ")]
    assert named == [event["type"] for event in reply.payloads]
    whole = json.loads((await ask(up, messages.text(TRICKY_TEXT), stream=False)).body)
    assert (whole["type"], whole["content"]) == ("message", [{"type": "text", "text": TRICKY_TEXT}])


async def test_every_byte_can_come_by_itself(up: Upstream) -> None:
    """A reader must not rely on what arrives together."""
    reply = await ask(up, messages.split_every_byte("é"))
    assert {len(piece) for piece in reply.pieces} == {1}
    assert said(reply) == "é"


BROKEN = {
    "RST": (messages.reset_after(2), "reset"),
    "FIN": (messages.cut_after(2), "fin"),
    "end": (messages.eof_after(2), "complete"),
    "error": (messages.error_event(2), "complete"),
    "malformed": (messages.malformed_event(2, then_complete=False), "complete"),
}


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_broken_stream_breaks_behind_its_content(up: Upstream, fault: str) -> None:
    """And never has a reason to stop."""
    script, ending = BROKEN[fault]
    reply = await ask(up, script)
    assert (said(reply), reply.ending) == ("tok0 tok1 ", ending)
    assert "message_delta" not in kinds(reply)
    assert ("error" in kinds(reply)) == (fault == "error")
    assert any(isinstance(event, str) for event in reply.payloads) == (fault in {"malformed", "FIN"})


async def test_a_malformed_event_may_stand_in_a_complete_stream(up: Upstream) -> None:
    """The reader then has lost nothing."""
    reply = await ask(up, messages.malformed_event(1, then_complete=True))
    assert (said(reply), kinds(reply)[-1]) == ("tok0 after ", "message_stop")


@pytest.mark.parametrize("script", [messages.stall_after(1), messages.pings_after(1, 0.01), messages.endless(0.01)])
async def test_an_upstream_that_waits_sees_the_peer_leave(up: Upstream, script: Script) -> None:
    """Tests ask `disconnected` whether the gateway closed its connection."""
    up.queue(script)
    async with RawClient(up.port) as client:
        await client.chat(path="/v1/messages")
        await client.reply(until=b"tok0")
    await up.wait_for(up.chat_requests[0].disconnected.is_set)


async def test_a_refusal_has_anthropics_shape(up: Upstream) -> None:
    """With a status and headers of its own."""
    reply = await ask(up, messages.error(529, "overloaded_error", headers={"retry-after": "3"}))
    assert (reply.status, reply.headers["retry-after"]) == (529, "3")
    assert json.loads(reply.body)["error"] == {"type": "overloaded_error", "message": "No."}


async def test_models_come_in_pages_and_the_key_in_its_own_header(up: Upstream) -> None:
    """Only callers that say which version they speak get this list."""
    up.models, up.models_per_page, up.require_key = ["a", "b", "c"], 2, "sk-x"
    pages = []
    for query in ("", "?after_id=b", "?limit=1"):
        async with RawClient(up.port) as client:
            await client.send("GET", f"/v1/models{query}", headers={**VERSION, "x-api-key": "sk-x"})
            pages.append(json.loads((await client.reply()).body))
    assert [[model["id"] for model in page["data"]] for page in pages] == [["a", "b"], ["c"], ["a"]]
    assert [(page["has_more"], page["last_id"]) for page in pages] == [(True, "b"), (False, "c"), (True, "a")]
