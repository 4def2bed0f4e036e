"""`POST /admin/keys`: the answer of the product page, every field by its rule, and names."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from gateway.app import create_app
from gateway.auth.secret import is_well_formed
from tests.gateway.canonical import assert_canonical_error, assert_security_headers
from tests.gateway.edge import ECHO, HELLO, KEY, asgi_client, edge_client, served, settings_for
from tests.gateway.keyring import (
    DAY_S,
    KEYS,
    PERMISSIONS,
    Clock,
    bearer,
    clocked_app,
    create,
    granted,
    listed,
    path_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

PAGE_EXAMPLE = {
    "name": "My App Key",
    "description": "API key for my application",
    "permissions": granted("canReadProjects", "canReadVersions", "canCheckUpdates", "canUseAI"),
    "rateLimit": 1000,
    "expiresIn": "90d",
    "allowedProjects": ["trackly"],
    "tags": ["mobile-app", "production"],
}


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Call a gateway as the bootstrap admin, at the time of the product page's example."""
    prices = tmp_path / "prices.toml"
    prices.write_text("currency = 'USD'\n")
    app = clocked_app(tmp_path, Clock(), ECHO + f"[usage]\nprices = '{prices}'\n")
    async with asgi_client(app) as client:
        client.headers.update(KEY)
        yield client


async def test_the_example_of_the_page(admin: httpx.AsyncClient) -> None:
    """Exactly its fields, times and texts; every permission is named, the absent ones as false."""
    response = await admin.post(KEYS, json=PAGE_EXAMPLE)
    assert response.status_code == 201
    assert_security_headers(response)
    assert response.headers["cache-control"] == "no-store"
    answer = response.json()
    secret = answer.pop("key")
    assert re.fullmatch(r"lbapi_[0-9A-Za-z]{46}", secret)
    assert is_well_formed(secret)
    assert answer == {
        "message": "API key created successfully",
        "name": "My App Key",
        "permissions": {name: name in PAGE_EXAMPLE["permissions"] for name in PERMISSIONS},  # type: ignore[operator]
        "createdAt": "2026-02-07T10:00:00Z",
        "expiresAt": "2026-05-08T10:00:00Z",
        "warning": "Save this key now - it will not be shown again!",
    }
    assert (await admin.post("/ai/chat", json=HELLO, headers=bearer(secret))).status_code == 200


async def test_a_name_is_enough(admin: httpx.AsyncClient) -> None:
    """Such a key may do nothing, for ever; under the prefix of the API too."""
    answer = (await admin.post("/api/v2/admin/keys", json={"name": "n"})).json()
    assert answer["permissions"] == dict.fromkeys(PERMISSIONS, False)
    assert answer["expiresAt"] is None
    refused = await admin.get("/v1/models", headers=bearer(answer["key"]))
    assert_canonical_error(refused, "FORBIDDEN", 403)


async def test_null_is_the_same_as_absent(admin: httpx.AsyncClient) -> None:
    """Programs send every field that they have."""
    assert (await admin.post(KEYS, json={"name": "null", **dict.fromkeys(OPTIONAL)})).status_code == 201
    await admin.post(KEYS, json={"name": "absent"})
    keys = await listed(admin)
    assert {**keys["null"], "maskedKey": "", "name": ""} == {**keys["absent"], "maskedKey": "", "name": ""}


OPTIONAL = [
    *("description", "rateLimit", "aiRateLimit", "maxTokensPerRequest", "tokensPerDay", "maxParallel", "budget"),
    *("expiresIn", "allowedProjects", "allowedModels", "tags"),
]
BUDGET = {"amount": 5, "currency": "USD", "period": "month"}
NO_COUNTS = [0, -1, 1.5, 1.0, "10", True, 2**53 + 1, [1], {}]
BAD_DURATIONS = [
    *("", "90", "d", "90D", "-1d", "0d", "1.5d", " 90d", "90d ", "90d\n", "1h30m", "90 d", "1e3d", "٣d", "90s", "90mo"),
    *("11y", "3651d", "522w", "87601h", "5256001m", "9999999999d", 90, True, ["90d"], {"days": 90}),
]
BAD_VALUES: dict[str, list[Any]] = {
    "name": [
        *(None, 7, True, [], {}, "", " ", " a", "a ", "a/b", "/", ".", "..", "stats", "x" * 65),
        *("a\nb", "a\u0000", "\ta", "a\u200bb", "a\u00a0b", "\u202eabc", "a\u2028", "\x7f"),
    ],
    "description": [7, True, ["x"], {}, "x" * 1001, "a\u0000b", "a\x1b[31m", "a\tb", "a\u2028b"],
    "permissions": [
        *(None, [], "canUseAI", 7, True, {"canFly": True}, {"canuseai": True}, {"": True}),
        *({"canUseAI": 1}, {"canUseAI": "true"}, {"canUseAI": None}, {"canUseAI": True, "canRead": False}),
    ],
    "rateLimit": NO_COUNTS,
    "aiRateLimit": NO_COUNTS,
    "maxTokensPerRequest": NO_COUNTS,
    "tokensPerDay": NO_COUNTS,
    "maxParallel": NO_COUNTS,
    "budget": [
        *(5, "5 USD", [], {}, {"amount": 5}, {**BUDGET, "more": 1}),
        *({**BUDGET, "amount": amount} for amount in (0, -1, "5", True, None, 1e10, 1e-10)),
        *({**BUDGET, "currency": currency} for currency in (7, None, ["USD"])),
        *({**BUDGET, "period": period} for period in ("year", "", None, 7, "Month")),
    ],
    "budget.currency": [{**BUDGET, "currency": "EUR"}, {**BUDGET, "currency": "usd"}, {**BUDGET, "currency": ""}],
    "expiresIn": BAD_DURATIONS,
    "allowedProjects": [
        *([], "trackly", 7, {"a": 1}, [""], [7], [None], ["x" * 65], ["a\n"]),
        [f"p{number}" for number in range(201)],
    ],
    "allowedModels": [[], "gpt-4", [""], [7], ["x" * 201], ["a\u0000"], [f"m{number}" for number in range(201)]],
    "tags": ["a", 7, {}, [""], [7], [None], ["x" * 65], ["a\u001fb"], [f"t{number}" for number in range(21)]],
    "expiresAt": ["2027-01-01T00:00:00Z", None],
    "key": ["lbapi_chosen"],
    "Name": ["n"],
}


@pytest.mark.parametrize("field", BAD_VALUES)
async def test_a_bad_value_is_400_and_names_its_field(admin: httpx.AsyncClient, field: str) -> None:
    """And no key is made of it."""
    for value in BAD_VALUES[field]:
        body = {"name": "good", field.partition(".")[0]: value}
        response = await admin.post(KEYS, json=body)
        error = assert_canonical_error(response, "INVALID_REQUEST", 400)
        assert [entry["field"] for entry in error["details"]["errors"]] == [field], value
        assert error["details"]["errors"][0]["message"] in error["message"]
    assert await listed(admin) == {}


async def test_all_mistakes_are_told_at_once(admin: httpx.AsyncClient) -> None:
    """Mending one with every request is a waste of everybody's time; also that the name is missing."""
    values = {field: values[0] for field, values in BAD_VALUES.items() if "." not in field and field != "name"}
    error = assert_canonical_error(await admin.post(KEYS, json=values), "INVALID_REQUEST", 400)
    assert {entry["field"] for entry in error["details"]["errors"]} == {*values, "name"}
    unknown = [entry["message"] for entry in error["details"]["errors"] if entry["field"] == "expiresAt"]
    assert "expiresIn" in unknown[0]


BODIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "body"),
    "not json": (b"{", "body"),
    "two documents": (b'{"name":"a"}{"name":"b"}', "body"),
    "list": (b'[{"name":"a"}]', "body"),
    "text": (b'"name"', "body"),
    "null": (b"null", "body"),
    "nan": (b'{"name":"a","rateLimit":NaN}', "body"),
    "utf-16": ('{"name":"a"}'.encode("utf-16"), "body"),
    "bad utf-8": (b'{"name":"\xff"}', "body"),
    "lone surrogate": (b'{"name":"\\ud800"}', "body"),
    "huge number": (b'{"name":"a","rateLimit":' + b"9" * 400 + b"}", "body"),
    "deep": (b'{"name":' + b"[" * 100_000, "body"),
    "same key twice": (b'{"name":"a","rateLimit":1,"rateLimit":1000000}', "rateLimit"),
    "same key twice, deeper": (b'{"name":"a","permissions":{"canUseAI":false,"canUseAI":true}}', "canUseAI"),
    "same key twice, escaped": (b'{"name":"a","n\\u0061me":"b"}', "name"),
}


@pytest.mark.parametrize("case", BODIES)
async def test_a_body_that_is_not_one_plain_object_is_400(admin: httpx.AsyncClient, case: str) -> None:
    """What two readers could understand in two ways makes no key."""
    content, field = BODIES[case]
    response = await admin.post(KEYS, content=content, headers={"content-type": "application/json"})
    error = assert_canonical_error(response, "INVALID_REQUEST", 400)
    assert error["details"]["errors"][0]["field"] == field
    assert await listed(admin) == {}


async def test_other_media_types_and_large_bodies_are_refused(admin: httpx.AsyncClient) -> None:
    """As everywhere."""
    form = await admin.post(KEYS, data={"name": "a"})
    assert_canonical_error(form, "UNSUPPORTED_MEDIA_TYPE", 415)
    large = await admin.post(KEYS, json={"name": "a", "description": "x" * (1 << 20)})
    assert_canonical_error(large, "PAYLOAD_TOO_LARGE", 413)


NAMES = [
    *(
        "a",
        "x" * 64,
        "My App Key",
        "Schlüssel für Jürgen",
        "鍵",
        "🔑 key",
        "a%2Fb",
        "a%b",
        "a+b",
        "a?b=c&d",
        "a#b",
        "#",
    ),
    *(
        "a\\b",
        "...",
        "a.b",
        "Stats",
        "stats.",
        "rotate",
        "keys",
        "{name}",
        "'; DROP TABLE api_keys; --",
        '"quoted"',
        "*",
    ),
]


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_is_the_id_in_paths(admin: httpx.AsyncClient, name: str) -> None:
    """URL-encoded it leads to this key and no other, whatever is in it."""
    await create(admin, "another")
    assert (await create(admin, name))["name"] == name
    changed = await admin.patch(path_of(name), json={"description": "found"})
    assert (changed.status_code, changed.json()["name"]) == (200, name)
    assert (await admin.post(path_of(name, "/rotate"))).json()["name"] == name
    assert (await admin.delete(path_of(name))).status_code == 204
    keys = await listed(admin)
    assert (keys[name]["status"], keys["another"]["status"]) == ("revoked", "active")
    assert (keys[name]["description"], keys["another"]["description"]) == ("found", "")


async def test_names_are_found_through_a_real_server(tmp_path: Path) -> None:
    """It decodes paths by itself."""
    async with served(create_app(settings_for(tmp_path))) as running:
        for name in NAMES:
            await create(running.client, name)
            assert (await running.client.delete(path_of(name), headers=KEY)).status_code == 204, name


DURATIONS = {
    "1m": 60,
    "90m": 5_400,
    "1h": 3_600,
    "36h": 129_600,
    "1d": DAY_S,
    "007d": 7 * DAY_S,
    "2w": 14 * DAY_S,
    "1y": 365 * DAY_S,
    "10y": 3_650 * DAY_S,
    "3650d": 3_650 * DAY_S,
    "521w": 3_647 * DAY_S,
    "87600h": 3_650 * DAY_S,
    "5256000m": 3_650 * DAY_S,
}


@pytest.mark.parametrize(("text", "seconds"), DURATIONS.items())
async def test_a_key_expires_to_the_millisecond(tmp_path: Path, text: str, seconds: int) -> None:
    """A month is no unit, so every length is the same everywhere; ten years is the most."""
    clock = Clock()
    async with asgi_client(clocked_app(tmp_path, clock)) as client:
        answer = await create(client, "k", "canUseAI", expiresIn=text)
        key = bearer(answer["key"])
        clock.turn(seconds - 0.001)
        assert (await client.get("/v1/models", headers=key)).status_code == 200
        clock.turn(0.001)
        for _ in range(2):
            assert_canonical_error(await client.get("/v1/models", headers=key), "KEY_EXPIRED", 401)
        assert (await listed(client))["k"]["status"] == "expired"


async def test_a_live_name_is_taken(admin: httpx.AsyncClient) -> None:
    """409, whatever else the body says; another spelling is another name."""
    await create(admin, "Name")
    again = await admin.post(KEYS, json={"name": "Name", "tags": ["x"]})
    error = assert_canonical_error(again, "KEY_NAME_EXISTS", 409)
    assert error["details"] == {"name": "Name"}
    assert (await admin.post(KEYS, json={"name": "name"})).status_code == 201
    assert [key["tags"] for key in (await listed(admin)).values()] == [[], []]


async def test_an_expired_key_keeps_its_name_until_it_is_revoked(tmp_path: Path) -> None:
    """Its expiry can be put off, so the name is not free."""
    clock = Clock()
    async with asgi_client(clocked_app(tmp_path, clock)) as client:
        await create(client, "k", expiresIn="1m")
        clock.turn(60)
        assert_canonical_error(await client.post(KEYS, json={"name": "k"}, headers=KEY), "KEY_NAME_EXISTS", 409)
        assert (await client.delete(path_of("k"), headers=KEY)).status_code == 204
        assert (await client.post(KEYS, json={"name": "k"}, headers=KEY)).status_code == 201


async def test_secrets_differ(tmp_path: Path) -> None:
    """Two keys that were asked for in the same way have nothing in common but the form."""
    async with edge_client(tmp_path) as client:
        made = [(await create(client, f"k{number}"))["key"] for number in range(50)]
    assert len({secret[6:30] for secret in made}) == len(made)
    assert "lbapi_" not in json.dumps([secret[6:] for secret in made])


@pytest.mark.parametrize("name", ["bootstrap-admin", "bootstrap-read"])
async def test_no_key_takes_the_name_of_a_bootstrap_key(admin: httpx.AsyncClient, name: str) -> None:
    """In the log and the audit it would look like the one that may do everything."""
    response = await admin.post(KEYS, json={"name": name})
    assert_canonical_error(response, "KEY_NAME_EXISTS", 409)
