"""Clients that keep a gateway busy until it is gone, and remember everything that it has answered."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tests.durability.writer import Ack
from tests.e2e.client import LUNARBIT, OPENAI, bearer
from tests.e2e.process import Process
from tests.e2e.server import ADMIN_KEY
from tests.upstream.raw_client import RawClient, Reply

ADMINISTRATORS = 3
USERS = 4
PAUSE_S = 0.01


@dataclass
class Answered:
    """What was answered to the end: acts, and AI requests by their id with when that was (monotonic seconds).

    `slowest_s` is how long the slowest act took.
    """

    acts: list[Ack] = field(default_factory=list)
    chats: dict[str, float] = field(default_factory=dict)
    slowest_s: float = 0.0


async def keep_busy(process: Process, name: str, key: str, answered: Answered) -> None:
    """Administer keys and chat with `key` until the gateway does not answer any more; `name` is part of every id."""
    work: list[Coroutine[Any, Any, None]] = [
        _administer(process, f"{name}-{number}", answered) for number in range(ADMINISTRATORS)
    ]
    work += [_chat(process, f"{name}-u{number}", key, answered.chats) for number in range(USERS)]
    await asyncio.gather(*work)


async def _administer(process: Process, prefix: str, answered: Answered) -> None:
    for number in itertools.count():
        name = f"{prefix}-{number}"
        created = await _act(process, answered, "POST", "/admin/keys", f"{name}.create", {"name": name})
        if created is None:
            return
        answered.acts.append(Ack("key.create", name, f"{name}.create", json.loads(created.body)["key"]))
        path = f"/admin/keys/{quote(name)}"
        rotated = await _act(process, answered, "POST", f"{path}/rotate", f"{name}.rotate", {})
        if rotated is None:
            return
        answered.acts.append(Ack("key.rotate", name, f"{name}.rotate", json.loads(rotated.body)["key"]))
        if number % 2:
            if await _act(process, answered, "DELETE", path, f"{name}.revoke") is None:
                return
            answered.acts.append(Ack("key.revoke", name, f"{name}.revoke"))


async def _act(
    process: Process, answered: Answered, method: str, path: str, request_id: str, body: object = None
) -> Reply | None:
    """Return the answer to an act that succeeded, None when the gateway is gone."""
    data = b"" if body is None else json.dumps(body).encode()
    headers = {**bearer(ADMIN_KEY), "content-type": "application/json", "x-request-id": request_id}
    began = time.monotonic()
    reply = await _answer(process, method, path, data, headers)
    if reply is not None:
        answered.slowest_s = max(answered.slowest_s, time.monotonic() - began)
        assert reply.status in {200, 201, 204}, reply.body
    return reply


async def _chat(process: Process, prefix: str, key: str, answered: dict[str, float]) -> None:
    for number in itertools.count():
        path, stream = (LUNARBIT, OPENAI)[number % 2], number % 4 < 2
        body = {"model": "gpt-4", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
        headers = {**bearer(key), "content-type": "application/json", "x-request-id": f"{prefix}-{number}"}
        reply = await _answer(process, "POST", path, json.dumps(body).encode(), headers)
        if reply is None:
            return
        answered[f"{prefix}-{number}"] = time.monotonic()
        await asyncio.sleep(PAUSE_S)


async def _answer(process: Process, method: str, path: str, body: bytes, headers: dict[str, str]) -> Reply | None:
    """Return an answer that came to its end, None when the gateway is gone."""
    with suppress(OSError):
        async with RawClient(process.port) as client:
            await client.send(method, path, body, headers)
            reply = await client.reply(timeout_s=30)
        if reply.ending == "complete":
            return reply
    return None
