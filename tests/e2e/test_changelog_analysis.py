"""`POST /ai/analyze-changelog` over a socket: whole answers, clients that leave, a gateway that stops."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.admin import call
from tests.e2e.client import bearer
from tests.e2e.server import ADMIN_KEY, Running
from tests.upstream import Script, Upstream
from tests.upstream.raw_client import RawClient

PATH = "/ai/analyze-changelog"
PAGE = {"version": "1.2.0", "changelog": "- Fixed memory leak\n- Breaking: Removed Node 14 support"}
FINDING = {"analysis": "This update drops Node.js 14.", "breaking": True, "severity": "major"}


async def asked(client: RawClient) -> None:
    """Send the question and leave the answer to come."""
    headers = {"content-type": "application/json", **bearer(ADMIN_KEY)}
    await client.send("POST", PATH, json.dumps(PAGE).encode(), headers)


async def test_a_whole_analysis_over_a_socket(two: Running, a: Upstream, b: Upstream) -> None:
    """Failover, a second try and the log line are those of one request."""
    a.default = Script.status(500)
    b.queue(Script.text("Hm."), Script.text(json.dumps(FINDING)))
    answer = await call(two, "POST", PATH, PAGE)
    assert (answer.status, answer.document) == (200, {"version": "1.2.0", **FINDING, "source": "model"})
    assert answer.headers["x-lunarbit-provider"] == "b"
    (line,) = await two.logged()
    assert (line["provider"], line["status"], line["prompt_tokens"]) == ("b", 200, 14)


@pytest.mark.parametrize("before", [[], [Script.text("Hm.")]], ids=["first try", "second try"])
async def test_a_client_that_leaves_ends_the_upstreams_work(one: Running, a: Upstream, before: list[Any]) -> None:
    """Also during the second try, and nothing is asked afterwards."""
    a.queue(*before)
    a.default = Script.hang()
    async with RawClient(one.port) as client:
        await asked(client)
        await a.wait_for(lambda: len(a.chat_requests) == len(before) + 1 and a.in_flight == 1)
        client.close()
        await a.wait_for(a.chat_requests[-1].disconnected.is_set)
    (line,) = await one.logged()
    assert (line["status"], line["path"], line["prompt_tokens"]) == (499, PATH, 7 * len(before))
    assert len(a.chat_requests) == len(before) + 1
    assert one.metric("lunarbit_client_disconnects_total", route=PATH) == 1


async def test_a_gateway_that_stops_says_so(one: Running, a: Upstream) -> None:
    """Whoever asks again reaches another one, which may have a model."""
    a.default = Script.hang()
    async with RawClient(one.port) as client:
        await asked(client)
        await a.wait_for(lambda: a.in_flight == 1)
        one.app.begin_drain()
        reply = await client.reply()
    assert reply.status == 503
    assert json.loads(reply.body)["error"]["code"] == "SHUTTING_DOWN"
