"""`GET /admin/audit`: what administrators see of the log, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.app import create_app
from gateway.storage.audit import AuditTable
from tests.audit.logs import KEYS, entry
from tests.gateway.edge import KEY, asgi_client, settings_for

AT = ["2026-02-07T10:00:00.001Z", "2026-02-07T10:00:00.002Z", "2026-02-08T00:00:00.000Z", "2026-02-08T23:59:59.999Z"]
TIMES_MS = [1_770_458_400_001, 1_770_458_400_002, 1_770_508_800_000, 1_770_595_199_999]


@pytest.fixture
async def client(tmp_path: Path, log: BytesIO) -> AsyncIterator[httpx.AsyncClient]:
    """Call a gateway whose audit log has one row for each of the times."""
    app = create_app(settings_for(tmp_path))
    async with asgi_client(app) as running:
        table = app.state.audit
        assert isinstance(table, AuditTable)
        for number, at in enumerate(TIMES_MS, 1):
            await table.record(entry(number, f"key {number}")._replace(at=at), KEYS)
        running.headers.update(KEY)
        yield running


async def events(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    """Return the answer to a good question."""
    response = await client.get("/admin/audit", params=query)
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    answer: dict[str, Any] = response.json()
    return answer


async def test_events_come_newest_first_with_the_head_of_the_log(client: httpx.AsyncClient) -> None:
    """The head is there to be kept elsewhere."""
    answer = await events(client)
    assert [event["seq"] for event in answer["events"]] == [4, 3, 2, 1]
    assert [event["at"] for event in answer["events"]] == AT[::-1]
    assert (answer["total"], answer["page"], answer["per_page"]) == (4, 1, 20)
    assert answer["head"]["count"] == 4
    assert len(answer["head"]["mac"]) == 64
    assert answer["events"][0] == {
        "seq": 4,
        "at": AT[3],
        "actor": "ada",
        "actorId": "key_1",
        "action": "key.create",
        "target": "key 4",
        "before": None,
        "after": {"name": "key 4", "tags": ["tag-4"]},
        "clientIp": "192.0.2.7",
        "requestId": "req_000000000004",
    }


async def test_an_act_of_the_api_is_an_event(client: httpx.AsyncClient) -> None:
    """Who, what, from where, with the request id of the answer; the state before and after, and no secret."""
    made = await client.post("/admin/keys", json={"name": "mobile", "permissions": {"canUseAI": True}})
    assert made.status_code == 201
    (event,) = (await events(client, target="mobile"))["events"]
    assert event["actor"] == "bootstrap-admin"
    assert event["action"] == "key.create"
    assert event["clientIp"] == "127.0.0.1"
    assert event["requestId"] == made.headers["x-request-id"]
    assert event["before"] is None
    assert event["after"]["permissions"]["canUseAI"] is True
    assert made.json()["key"] not in str(event)


@pytest.mark.parametrize(
    ("query", "seqs"),
    [
        ({"target": "key 2"}, [2]),
        ({"actor": "ada", "per_page": "1"}, [4]),
        ({"action": "key.create", "per_page": "3", "page": "2"}, [1]),
        ({"actor": "nobody"}, []),
        ({"page": "1000000000", "per_page": "100"}, []),
        ({"from": "2026-02-08"}, [4, 3]),
        ({"to": "2026-02-07"}, [2, 1]),
        ({"from": "2026-02-07", "to": "2026-02-08"}, [4, 3, 2, 1]),
        ({"from": AT[1]}, [4, 3, 2]),
        ({"to": AT[1]}, [1]),
        ({"from": AT[1], "to": AT[3]}, [3, 2]),
        ({"from": "2026-02-08T01:00:00+01:00"}, [4, 3]),
        ({"from": "2026-02-08T01:00:00 01:00"}, [4, 3]),
    ],
)
async def test_parameters_choose_events(client: httpx.AsyncClient, query: dict[str, str], seqs: list[int]) -> None:
    """A date is its whole day, a time is exact, and a + that arrives as a space is still one."""
    assert [event["seq"] for event in (await events(client, **query))["events"]] == seqs


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("page=0", ["page"]),
        ("page=-1&per_page=101", ["page", "per_page"]),
        ("per_page=ten&page=%C2%B2", ["page", "per_page"]),
        ("page=99999999999999999999", ["page"]),
        ("actor=", ["actor"]),
        ("actor=a%00b&target=" + "x" * 201, ["actor", "target"]),
        ("from=yesterday&to=2026-02-30", ["from", "to"]),
        ("from=2026-02-07T10:00:00", ["from"]),
        ("to=9999-12-31", ["to"]),
        ("colour=red&ACTOR=ada", ["colour", "ACTOR"]),
        ("actor=a&actor=b", ["actor"]),
    ],
)
async def test_every_parameter_that_is_not_understood_is_named(
    client: httpx.AsyncClient, query: str, fields: list[str]
) -> None:
    """A filter that is silently ignored would show too much, or too little."""
    response = await client.get(f"/admin/audit?{query}")
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["code"] == "INVALID_REQUEST"
    assert [wrong["field"] for wrong in error["details"]["errors"]] == fields


async def test_the_log_needs_its_own_permission(client: httpx.AsyncClient) -> None:
    """Whoever may make keys may not therefore read what the others did."""
    rest = {"canCreateKeys": True, "canRevokeKeys": True, "canReadUsage": True, "canReadMetrics": True}
    for name, permissions, status in (("without", rest, 403), ("with", {"canReadAudit": True}, 200)):
        made = await client.post("/admin/keys", json={"name": name, "permissions": permissions})
        key = {"authorization": f"Bearer {made.json()['key']}"}
        assert (await client.get("/admin/audit", headers=key)).status_code == status
