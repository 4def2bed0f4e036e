"""Every route with every permission switched off one at a time, and with every kind of key that is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from starlette.responses import Response

from gateway.app import ROUTES, _routes, create_app
from gateway.auth.principal import Permission
from gateway.auth.secret import new_secret
from gateway.middleware.guard import Row
from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import ECHO, HELLO, KEY, asgi_client, settings_for
from tests.gateway.keyring import HOUR_S, ONE_KEY, PERMISSIONS, Clock, OneKey, bearer, clocked_app, make_key

if TYPE_CHECKING:
    from io import BytesIO
    from pathlib import Path

    import httpx
    from starlette.requests import Request

BASES = ["", "/api/v2"]
P = Permission


class Documented(NamedTuple):
    """What the shared pages say of a route: the permissions any one of which passes, and what who passes gets.

    Keys are changed under a name that does not exist, and releases of a project that does not, so that nothing changes.
    """

    needed: tuple[Permission, ...]
    passes: int
    body: dict[str, Any] | None = None


CHANNEL = "/projects/{project}/channels/{channel}"
VERSION = f"{CHANNEL}/versions/{{version}}"
BUILD = f"{VERSION}/builds/{{build}}"
FEEDS = "/updates/{project}/{channel}"

# Written down here once more, so that a row that changes by mistake does not change the test.
DOCUMENTED: dict[tuple[str, str], Documented] = {
    ("POST", "/v1/chat/completions"): Documented((P.USE_AI,), 200, HELLO),
    ("POST", "/v1/responses"): Documented((P.USE_AI,), 200, {"input": "hi"}),
    ("POST", "/v1/messages"): Documented((P.USE_AI,), 200, {**HELLO, "max_tokens": 5}),
    ("POST", "/v1/messages/count_tokens"): Documented((P.USE_AI,), 200, HELLO),
    ("POST", "/ai/chat"): Documented((P.USE_AI,), 200, HELLO),
    ("POST", "/ai/analyze-changelog"): Documented((P.USE_AI,), 200, {"version": "1.0.0", "changelog": "- Fixed"}),
    ("POST", "/v1/completions"): Documented((P.USE_AI,), 400, {"prompt": "hi"}),
    ("POST", "/v1/embeddings"): Documented((P.USE_AI,), 400, {"model": "echo-1", "input": "hi"}),
    ("GET", "/v1/models"): Documented((P.USE_AI,), 200),
    ("GET", "/v1/models/{model:path}"): Documented((P.USE_AI,), 404),
    ("GET", "/ai/status"): Documented((), 200),
    ("POST", "/admin/keys"): Documented((P.CREATE_KEYS,), 400, {}),
    ("GET", "/admin/keys"): Documented((P.CREATE_KEYS, P.REVOKE_KEYS), 200),
    ("GET", "/admin/keys/stats"): Documented((P.CREATE_KEYS, P.REVOKE_KEYS), 200),
    ("PATCH", "/admin/keys/{name}"): Documented((P.CREATE_KEYS,), 404, {}),
    ("DELETE", "/admin/keys/{name}"): Documented((P.REVOKE_KEYS,), 404),
    ("POST", "/admin/keys/{name}/rotate"): Documented((P.CREATE_KEYS,), 404, {}),
    ("GET", "/admin/usage"): Documented((P.READ_USAGE,), 200),
    ("GET", "/admin/audit"): Documented((P.READ_AUDIT,), 200),
    ("GET", "/projects"): Documented((P.READ_PROJECTS,), 200),
    ("POST", "/projects"): Documented((P.MANAGE_RELEASES,), 400, {}),
    ("GET", "/projects/{project}"): Documented((P.READ_PROJECTS,), 404),
    ("PATCH", "/projects/{project}"): Documented((P.MANAGE_RELEASES,), 404, {}),
    ("DELETE", "/projects/{project}"): Documented((P.MANAGE_RELEASES,), 404),
    ("POST", "/projects/{project}/channels"): Documented((P.MANAGE_RELEASES,), 400, {}),
    ("PATCH", CHANNEL): Documented((P.MANAGE_RELEASES,), 404, {}),
    ("DELETE", CHANNEL): Documented((P.MANAGE_RELEASES,), 404),
    ("GET", f"{CHANNEL}/latest"): Documented((P.READ_VERSIONS,), 404),
    ("GET", f"{CHANNEL}/update"): Documented((P.CHECK_UPDATES,), 404),
    ("GET", f"{CHANNEL}/versions"): Documented((P.READ_VERSIONS,), 404),
    ("POST", f"{CHANNEL}/versions"): Documented((P.MANAGE_RELEASES,), 400, {}),
    ("GET", VERSION): Documented((P.READ_VERSIONS,), 404),
    ("PATCH", VERSION): Documented((P.MANAGE_RELEASES,), 400, {}),
    ("POST", f"{VERSION}/yank"): Documented((P.MANAGE_RELEASES,), 400),
    ("POST", f"{VERSION}/restore"): Documented((P.MANAGE_RELEASES,), 400),
    ("POST", f"{VERSION}/builds"): Documented((P.MANAGE_RELEASES,), 400, {}),
    ("POST", f"{BUILD}/verify"): Documented((P.MANAGE_RELEASES,), 400),
    ("GET", BUILD): Documented((P.READ_VERSIONS,), 404),
    ("GET", f"{BUILD}/download"): Documented((P.READ_VERSIONS, P.CHECK_UPDATES), 404),
    ("GET", f"{FEEDS}/electron/{{file}}"): Documented((P.CHECK_UPDATES,), 404),
    ("GET", f"{FEEDS}/tauri/{{target}}/{{arch}}/{{current_version}}"): Documented((P.CHECK_UPDATES,), 404),
    ("GET", f"{FEEDS}/files/{{version}}/{{build}}/{{processor}}/{{file_name}}"): Documented(
        (P.READ_VERSIONS, P.CHECK_UPDATES), 404
    ),
    ("GET", "/projects/{project}/github"): Documented((P.MANAGE_RELEASES,), 404),
    ("POST", "/webhooks/github"): Documented((), 403, {}),
    ("POST", "/update/check"): Documented((P.CHECK_UPDATES,), 400, {}),
    ("GET", f"{FEEDS}/velopack/releases.{{velopack_channel}}.json"): Documented((P.CHECK_UPDATES,), 404),
    ("GET", f"{FEEDS}/velopack/{{file_name}}"): Documented((P.CHECK_UPDATES,), 404),
    ("GET", f"{FEEDS}/squirrel-win/RELEASES"): Documented((P.CHECK_UPDATES,), 404),
    ("GET", f"{FEEDS}/squirrel-win/{{file_name}}"): Documented((P.CHECK_UPDATES,), 404),
    ("GET", f"{FEEDS}/squirrel-mac/{{architecture}}/{{version}}"): Documented((P.CHECK_UPDATES,), 404),
    ("GET", f"{FEEDS}/sparkle/appcast.xml"): Documented((P.CHECK_UPDATES,), 404),
    ("GET", f"{FEEDS}/releases.atom"): Documented((P.CHECK_UPDATES,), 404),
    ("GET", "/health"): Documented((), 200),
    ("GET", "/health/live"): Documented((), 200),
    ("GET", "/health/ready"): Documented((), 200),
    ("GET", "/metrics"): Documented((P.READ_METRICS,), 200),
    ("GET", "/openapi.json"): Documented((), 200),
    ("GET", "/openapi.yaml"): Documented((), 200),
    ("GET", "/docs"): Documented((), 200),
    ("GET", "/docs/{asset}"): Documented((), 404),
    ("GET", "/"): Documented((), 200),
}
EACH_ROUTE = pytest.mark.parametrize("route", DOCUMENTED, ids=" ".join)
GUARDED = pytest.mark.parametrize("route", [route for route, row in DOCUMENTED.items() if row.needed], ids=" ".join)


def test_every_route_of_the_table_is_documented_here() -> None:
    """Whoever adds one has to say here what it takes."""
    assert {(row.method, row.path) for row in ROUTES} == set(DOCUMENTED)
    assert len(ROUTES) == len(DOCUMENTED)


def test_only_updates_and_downloads_may_be_open_to_anybody() -> None:
    """A project can hand out those, in every format of updates, and nothing else of it; webhooks are signed."""
    unlocked = [row.path for row in ROUTES if row.is_open is not None and not row.path.startswith(f"{FEEDS}/")]
    assert unlocked == [f"{CHANNEL}/update", f"{BUILD}/download", "/webhooks/github"]


async def ask(client: httpx.AsyncClient, route: tuple[str, str], headers: dict[str, str]) -> list[httpx.Response]:
    """Send the route's request at the root and under the prefix."""
    (method, path), body = route, DOCUMENTED[route].body
    return [await client.request(method, base + path, headers=headers, json=body) for base in BASES]


def assert_forbidden(response: httpx.Response, needed: tuple[Permission, ...]) -> None:
    """Assert the documented 403, which names the permission; OpenAI's shape has no place for it but the message."""
    error = assert_canonical_error(response, "FORBIDDEN", 403)
    assert all(permission in error["message"] for permission in needed)
    if "details" in error:
        assert error["details"] == {"required_permission": needed[0].value}


@EACH_ROUTE
async def test_each_permission_switched_off_alone(tmp_path: Path, route: tuple[str, str]) -> None:
    """Only the documented ones matter, and where any one of several passes, only all of them together."""
    needed, passes, _ = DOCUMENTED[route]
    app = create_app(settings_for(tmp_path, ECHO, APP_ENV="production"))
    async with asgi_client(app) as client:
        for off in [(permission,) for permission in Permission] + [needed]:
            app.state.authenticator = OneKey(without=off)
            for response in await ask(client, route, ONE_KEY):
                if needed and set(needed) <= set(off):
                    assert_forbidden(response, needed)
                else:
                    assert response.status_code == passes, (off, response.text)


@EACH_ROUTE
async def test_each_permission_alone(tmp_path: Path, route: tuple[str, str]) -> None:
    """A key that has nothing else passes with the documented ones, and with no other."""
    needed, passes, _ = DOCUMENTED[route]
    app = create_app(settings_for(tmp_path, ECHO, APP_ENV="production"))
    async with asgi_client(app) as client:
        for alone in Permission:
            app.state.authenticator = OneKey(without=frozenset(Permission) - {alone})
            for response in await ask(client, route, ONE_KEY):
                if alone in needed or not needed:
                    assert response.status_code == passes, (alone, response.text)
                else:
                    assert_forbidden(response, needed)


async def dead_keys(client: httpx.AsyncClient, clock: Clock) -> dict[str, dict[str, str]]:
    """Return headers that do not pass, by the code of the answer; the keys among them had every permission."""
    revoked = await make_key(client, "revoked", *PERMISSIONS)
    assert (await client.delete("/admin/keys/revoked", headers=KEY)).status_code == 204
    expired = await make_key(client, "expired", *PERMISSIONS, expiresIn="1h")
    clock.turn(HOUR_S)
    return {"KEY_REVOKED": revoked, "KEY_EXPIRED": expired, "UNAUTHORIZED": bearer(new_secret())}


@GUARDED
async def test_a_key_that_is_none_does_not_pass(tmp_path: Path, route: tuple[str, str], log: BytesIO) -> None:
    """Without a key, with an unknown, an expired and a revoked one: 401 each with its code, whatever the route."""
    clock = Clock()
    app = clocked_app(tmp_path, clock, APP_ENV="production")
    async with asgi_client(app) as client:
        cases = [("UNAUTHORIZED", {}), *(await dead_keys(client, clock)).items()]
        for code, headers in cases:
            for response in await ask(client, route, headers):
                assert_canonical_error(response, code, 401)
                assert response.headers["www-authenticate"] == "Bearer"
    assert b"lbapi_" not in log.getvalue()


async def test_a_public_route_does_not_mind_a_key_that_is_none(tmp_path: Path) -> None:
    """It needs none."""
    clock = Clock()
    app = clocked_app(tmp_path, clock, APP_ENV="production")
    async with asgi_client(app) as client:
        cases = [{}, *(await dead_keys(client, clock)).values()]
        for route, row in DOCUMENTED.items():
            for headers in cases:
                if not row.needed:
                    statuses = [response.status_code for response in await ask(client, route, headers)]
                    assert statuses == [row.passes, row.passes]


@pytest.mark.parametrize("base", BASES)
async def test_a_route_that_is_not_there_tells_nobody_more(tmp_path: Path, base: str) -> None:
    """404 and 405 are the same with a key and without, so they say nothing of what a key would find."""
    app = create_app(settings_for(tmp_path, ECHO, APP_ENV="production"))
    app.state.authenticator = OneKey(without=frozenset(Permission))
    async with asgi_client(app) as client:
        for headers in ({}, ONE_KEY, KEY):
            assert_canonical_error(await client.get(f"{base}/admin", headers=headers), "NOT_FOUND", 404)
            assert_canonical_error(await client.get(f"{base}/admin/keys/", headers=headers), "NOT_FOUND", 404)
            assert_canonical_error(await client.put(f"{base}/admin/keys", headers=headers), "METHOD_NOT_ALLOWED", 405)
            wrong = await client.delete(f"{base}/admin/keys/stats", headers=headers)
            assert_canonical_error(wrong, "METHOD_NOT_ALLOWED", 405)
            assert wrong.headers["allow"] == "GET, HEAD"


async def _open(_: Request) -> Response:
    return Response("open")


UNDECLARED: list[Any] = [
    *(None, (), "", "Public", "none", "canUseAi", True, 0),
    *(("public", None), (P.USE_AI, ""), [P.USE_AI]),
]


@pytest.mark.parametrize("access", UNDECLARED, ids=repr)
def test_a_route_without_a_declaration_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, access: Any
) -> None:
    """Nothing is open because somebody forgot, or mistyped, what it takes."""
    row = Row("GET", "/admin/everything", _open, access)
    with pytest.raises(TypeError, match="GET /admin/everything declares no permission"):
        _routes((*ROUTES, row))
    monkeypatch.setattr("gateway.app.ROUTES", (*ROUTES, row))
    with pytest.raises(TypeError, match="declares no permission"):
        create_app(settings_for(tmp_path))


def test_a_row_does_not_build_without_access() -> None:
    """There is no default."""
    with pytest.raises(TypeError):
        Row("GET", "/x", _open)  # type: ignore[call-arg]


def test_no_route_stands_twice_in_the_table() -> None:
    """The second row would silently replace the first, and its access with it."""
    pairs = [(row.method, row.path) for row in ROUTES]
    assert len(pairs) == len(set(pairs))
