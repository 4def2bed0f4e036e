"""Nobody can make, change, rotate or revoke a key that may do more than they may themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from gateway.auth.escalation import Defaults, check_not_wider
from gateway.auth.keys import ApiKey
from gateway.auth.principal import Budget, KeyLimits, Permission, Principal
from gateway.errors import Forbidden
from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import ECHO, asgi_client
from tests.gateway.keyring import (
    KEYS,
    PERMISSIONS,
    Clock,
    bearer,
    clocked_app,
    create,
    granted,
    listed,
    make_key,
    path_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

BUDGET = {"amount": 5, "currency": "USD", "period": "month"}
HELD = ("canCreateKeys", "canRevokeKeys", "canUseAI", "canReadProjects")
# What the caller of these tests has, who is no root.
OWN: dict[str, Any] = {
    "permissions": granted(*HELD),
    "allowedProjects": ["a", "b"],
    "allowedModels": ["echo", "up/gpt-4"],
    "rateLimit": 100,
    "aiRateLimit": 50,
    "maxTokensPerRequest": 500,
    "tokensPerDay": 1000,
    "maxParallel": 2,
    "budget": BUDGET,
    "expiresIn": "30d",
}
WIDER: list[tuple[str, dict[str, Any]]] = [
    *((f"permissions.{name}", {"permissions": granted(name)}) for name in PERMISSIONS if name not in HELD),
    ("permissions.canReadUsage", {"permissions": granted(*HELD, "canReadUsage")}),
    ("allowedProjects", {"allowedProjects": None}),
    ("allowedProjects", {"allowedProjects": ["a", "c"]}),
    ("allowedProjects", {"allowedProjects": ["A"]}),
    ("allowedModels", {"allowedModels": None}),
    ("allowedModels", {"allowedModels": ["echo", "gpt-4"]}),
    ("rateLimit", {"rateLimit": 101}),
    ("rateLimit", {"rateLimit": None}),
    ("aiRateLimit", {"aiRateLimit": 51}),
    ("aiRateLimit", {"aiRateLimit": None}),
    ("maxTokensPerRequest", {"maxTokensPerRequest": 501}),
    ("maxTokensPerRequest", {"maxTokensPerRequest": None}),
    ("tokensPerDay", {"tokensPerDay": 1001}),
    ("tokensPerDay", {"tokensPerDay": None}),
    ("maxParallel", {"maxParallel": 3}),
    ("maxParallel", {"maxParallel": None}),
    ("budget", {"budget": None}),
    ("budget", {"budget": {**BUDGET, "amount": 5.000000001}}),
    ("budget", {"budget": {**BUDGET, "period": "day", "amount": 0.01}}),
    ("budget", {"budget": {**BUDGET, "period": "total"}}),
    ("expiresAt", {"expiresIn": None}),
    ("expiresAt", {"expiresIn": "43201m"}),
]
NOT_WIDER: list[dict[str, Any]] = [
    {},
    {"permissions": {}},
    {"permissions": granted("canUseAI")},
    {"allowedProjects": ["b"]},
    {"allowedModels": ["up/gpt-4"]},
    {"rateLimit": 1, "aiRateLimit": 1, "maxTokensPerRequest": 1, "tokensPerDay": 1, "maxParallel": 1},
    {"budget": {**BUDGET, "amount": 0.01}},
    {"expiresIn": "1m"},
    {"description": "any", "tags": ["any"]},
]


class Rig(NamedTuple):
    """A gateway, a caller who is no root, and what that caller may send."""

    client: httpx.AsyncClient
    caller: dict[str, str]

    async def act(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """Do something as the caller."""
        return await self.client.request(method, path, json=body, headers=self.caller)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """Make the caller."""
    prices = tmp_path / "prices.toml"
    prices.write_text("currency = 'USD'\n", encoding="utf-8")
    async with asgi_client(clocked_app(tmp_path, Clock(), ECHO + f"[usage]\nprices = '{prices}'\n")) as client:
        yield Rig(client, bearer((await create(client, "caller", **OWN))["key"]))


def assert_wider(response: httpx.Response, field: str) -> None:
    """Assert the 403 that names what the key would have more."""
    error = assert_canonical_error(response, "FORBIDDEN", 403)
    permission = field.partition(".")[2] or "canCreateKeys"
    assert error["details"] == {"wider": [field], "required_permission": permission}
    assert field in error["message"]


@pytest.mark.parametrize(("field", "more"), WIDER, ids=lambda value: value if isinstance(value, str) else "")
async def test_a_wider_key_is_out_of_reach(rig: Rig, field: str, more: dict[str, Any]) -> None:
    """To make it, to turn a key into it, and, when somebody else has made it, to turn it into less, or to take over."""
    wide = OWN | more
    assert_wider(await rig.act("POST", KEYS, {"name": "wide", **wide}), field)
    assert (await rig.act("POST", KEYS, {"name": "child", **OWN})).status_code == 201
    child = (await listed(rig.client))["child"]
    assert_wider(await rig.act("PATCH", path_of("child"), more), field)
    assert (await listed(rig.client))["child"] == child
    await create(rig.client, "wide", **wide)
    before = (await listed(rig.client))["wide"]
    lost = dict.fromkeys(PERMISSIONS, False)
    for method, path, body in (
        ("PATCH", path_of("wide"), {**OWN, "permissions": {**lost, **granted(*HELD)}}),
        ("PATCH", path_of("wide"), {"description": "harmless"}),
        ("POST", path_of("wide", "/rotate"), None),
        ("DELETE", path_of("wide"), None),
    ):
        assert_wider(await rig.act(method, path, body), field)
    after = (await listed(rig.client))["wide"]
    assert after == before


@pytest.mark.parametrize("less", NOT_WIDER, ids=str)
async def test_a_key_that_is_not_wider_is_within_reach(rig: Rig, less: dict[str, Any]) -> None:
    """As wide as the caller's, or less."""
    made = await rig.act("POST", KEYS, {"name": "child", **OWN, **less})
    assert made.status_code == 201, made.text
    assert (await rig.act("PATCH", path_of("child"), less)).status_code == 200
    assert (await rig.act("POST", path_of("child", "/rotate"))).status_code == 201
    assert (await rig.act("DELETE", path_of("child"))).status_code == 204


async def test_everything_that_is_wider_is_told_at_once(rig: Rig) -> None:
    """In the 403 as in a 400."""
    error = assert_canonical_error(await rig.act("POST", KEYS, {"name": "wide"}), "FORBIDDEN", 403)
    assert error["details"]["wider"] == [
        *("allowedProjects", "allowedModels", "rateLimit", "aiRateLimit"),
        *("maxTokensPerRequest", "tokensPerDay", "maxParallel", "budget", "expiresAt"),
    ]


async def test_a_caller_cannot_widen_itself(rig: Rig) -> None:
    """But it may make itself less, rotate and even revoke itself."""
    assert_wider(
        await rig.act("PATCH", path_of("caller"), {"permissions": granted("canReadAudit")}), "permissions.canReadAudit"
    )
    assert_wider(await rig.act("PATCH", path_of("caller"), {"rateLimit": 101}), "rateLimit")
    assert (await rig.act("PATCH", path_of("caller"), {"rateLimit": 99})).status_code == 200
    assert_wider(await rig.act("PATCH", path_of("caller"), {"rateLimit": 100}), "rateLimit")
    anew = bearer((await rig.act("POST", path_of("caller", "/rotate"))).json()["key"])
    assert (await rig.client.delete(path_of("caller"), headers=anew)).status_code == 204
    assert_canonical_error(await rig.act("GET", KEYS), "KEY_REVOKED", 401)


async def test_a_name_that_is_taken_says_nothing_of_a_key_that_is_wider(rig: Rig) -> None:
    """Whether it may be made is asked first."""
    assert_wider(await rig.act("POST", KEYS, {"name": "caller", **OWN, "rateLimit": 101}), "rateLimit")
    taken = await rig.act("POST", KEYS, {"name": "caller", **OWN})
    assert_canonical_error(taken, "KEY_NAME_EXISTS", 409)


@pytest.mark.parametrize("permission", PERMISSIONS)
async def test_each_permission_is_only_handed_on_by_who_has_it(tmp_path: Path, permission: str) -> None:
    """Whatever else the caller may do."""
    others = [name for name in PERMISSIONS if name != permission]
    async with asgi_client(clocked_app(tmp_path, Clock())) as client:
        body = {"name": "child", "permissions": granted(permission)}
        has_all = await make_key(client, "all", *PERMISSIONS)
        assert (await client.post(KEYS, json=body, headers=has_all)).status_code == 201
        if permission != "canCreateKeys":
            lacks = await make_key(client, "lacks", *others)
            refused = await client.post(KEYS, json={**body, "name": "second"}, headers=lacks)
            assert_wider(refused, f"permissions.{permission}")
            assert (await client.post(path_of("child", "/rotate"), headers=lacks)).status_code == 403
            assert (await client.patch(path_of("child"), json={}, headers=lacks)).status_code == 403
            assert (await client.delete(path_of("child"), headers=lacks)).status_code == 403
        assert (await listed(client))["child"]["status"] == "active"


async def test_who_may_only_create_makes_only_such_keys(tmp_path: Path) -> None:
    """A key with canCreateKeys alone: its children may do no more than make children, and it revokes nobody."""
    async with asgi_client(clocked_app(tmp_path, Clock())) as client:
        maker = await make_key(client, "maker", "canCreateKeys")
        for name, permissions, status in (
            ("none", [], 201),
            ("same", ["canCreateKeys"], 201),
            *((name, [name], 403) for name in PERMISSIONS if name != "canCreateKeys"),
        ):
            body = {"name": name, "permissions": granted(*permissions)}
            assert (await client.post(KEYS, json=body, headers=maker)).status_code == status, name
        child = bearer((await client.post(path_of("same", "/rotate"), headers=maker)).json()["key"])
        assert (await client.post(KEYS, json={"name": "grandchild"}, headers=child)).status_code == 201
        assert (await client.patch(path_of("none"), json={"tags": ["x"]}, headers=maker)).status_code == 200
        refused = assert_canonical_error(await client.delete(path_of("none"), headers=maker), "FORBIDDEN", 403)
        assert refused["details"] == {"required_permission": "canRevokeKeys"}
        for path in ("/v1/models", "/admin/usage", "/admin/audit"):
            assert (await client.get(path, headers=child)).status_code == 403


async def test_who_may_only_revoke_changes_nothing(tmp_path: Path) -> None:
    """And revokes what may do no more than itself."""
    async with asgi_client(clocked_app(tmp_path, Clock())) as client:
        revoker = await make_key(client, "revoker", "canRevokeKeys")
        await create(client, "less")
        await create(client, "other", "canUseAI")
        for response in (
            await client.post(KEYS, json={"name": "x"}, headers=revoker),
            await client.patch(path_of("less"), json={}, headers=revoker),
            await client.post(path_of("less", "/rotate"), headers=revoker),
        ):
            error = assert_canonical_error(response, "FORBIDDEN", 403)
            assert error["details"] == {"required_permission": "canCreateKeys"}
        assert_wider(await client.delete(path_of("other"), headers=revoker), "permissions.canUseAI")
        assert (await client.delete(path_of("less"), headers=revoker)).status_code == 204


async def test_a_default_is_a_limit_as_well(tmp_path: Path) -> None:
    """A key without a rateLimit has the configured one, and cannot hand out more; root can."""
    environ = {"GATEWAY_LIMITS__PER_KEY": "1000", "GATEWAY_LIMITS__AI": "100"}
    async with asgi_client(clocked_app(tmp_path, Clock(), **environ)) as client:
        maker = await make_key(client, "maker", "canCreateKeys")
        cases: list[tuple[dict[str, Any], int]] = [
            ({"rateLimit": 1000, "aiRateLimit": 100}, 201),
            ({"rateLimit": None, "aiRateLimit": None}, 201),
            ({"rateLimit": 1001}, 403),
            ({"aiRateLimit": 101}, 403),
        ]
        for number, (fields, status) in enumerate(cases):
            response = await client.post(KEYS, json={"name": f"k{number}", **fields}, headers=maker)
            assert response.status_code == status, fields
        await create(client, "by-root", rateLimit=10**9)


def key(**fields: Any) -> ApiKey:
    """Return a key that has nothing but this."""
    return ApiKey("k", "k", 0, **fields)


def caller(**fields: Any) -> Principal:
    """Return a caller that may create keys, and is no root."""
    return Principal("c", "c", frozenset({Permission.CREATE_KEYS}), **fields)


NANO_BUDGET = Budget(5, "USD", "month")
CASES: list[tuple[Principal, ApiKey, Defaults, list[str]]] = [
    (caller(), key(limits=KeyLimits(rate_limit=10**9)), Defaults(0, 0), []),
    (caller(), key(), Defaults(0, 0), []),
    (caller(limits=KeyLimits(rate_limit=5)), key(), Defaults(0, 0), ["rateLimit"]),
    (caller(limits=KeyLimits(rate_limit=5)), key(), Defaults(5, 0), []),
    (caller(limits=KeyLimits(rate_limit=5000)), key(), Defaults(1000, 0), []),
    (caller(limits=KeyLimits(ai_rate_limit=5)), key(), Defaults(0, 6), ["aiRateLimit"]),
    (caller(limits=KeyLimits(budget=NANO_BUDGET)), key(limits=KeyLimits(budget=NANO_BUDGET)), Defaults(0, 0), []),
    (
        caller(limits=KeyLimits(budget=NANO_BUDGET)),
        key(limits=KeyLimits(budget=Budget(1, "EUR", "month"))),
        Defaults(0, 0),
        ["budget"],
    ),
    (caller(expires_at=10), key(expires_at=10), Defaults(0, 0), []),
    (caller(expires_at=10), key(expires_at=11), Defaults(0, 0), ["expiresAt"]),
    (caller(allowed_models=frozenset({"a"})), key(allowed_models=("a", "a")), Defaults(0, 0), []),
    (caller(allowed_projects=frozenset()), key(allowed_projects=("a",)), Defaults(0, 0), ["allowedProjects"]),
]


@pytest.mark.parametrize(("who", "asked", "defaults", "wider"), CASES)
def test_what_is_wider(who: Principal, asked: ApiKey, defaults: Defaults, wider: list[str]) -> None:
    """Nothing is unlimited but what has no limit; budgets that cannot be compared count as wider."""
    if not wider:
        check_not_wider(who, asked, defaults)
        return
    with pytest.raises(Forbidden) as caught:
        check_not_wider(who, asked, defaults)
    assert caught.value.details["wider"] == wider


def test_root_hands_out_what_it_has_not() -> None:
    """The bootstrap admin stands for the operator."""
    root = Principal("r", "r", frozenset(), allowed_projects=frozenset(), expires_at=0, is_root=True)
    check_not_wider(root, key(permissions=frozenset(Permission)), Defaults(1, 1))
