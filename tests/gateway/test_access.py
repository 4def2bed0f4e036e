"""Who may pass: deny by default, 401 without a key, 403 with one that lacks the permission."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import pytest

from gateway.app import ROUTES, create_app
from gateway.auth.bootstrap import ADMIN, READER, BootstrapAuthenticator
from gateway.auth.principal import Permission, Principal
from gateway.middleware.guard import Access, Row
from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import ECHO, HELLO, KEY, asgi_client, edge_client, request_lines, settings_for
from tests.gateway.settings_files import GOOD_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from io import BytesIO
    from pathlib import Path

    import httpx

GUARDED = [row for row in ROUTES if row.access != "public"]
PUBLIC = {"/", "/health", "/health/live", "/health/ready", "/ai/status"}
READ_KEY = "a-read-key-of-these-tests"
TOKEN = "a-metrics-token-of-these-tests"
BASES = ["", "/api/v2"]


class OneKey:
    """Knows the key `limited`, which may do everything but what it is made without."""

    def __init__(self, without: frozenset[Permission]) -> None:
        self._principal = Principal("k1", "limited-key", frozenset(Permission) - without)

    async def authenticate(self, secret: str) -> Principal | None:
        """Return the principal of the one key."""
        return self._principal if secret == "limited" else None


def test_every_route_declares_what_it_takes() -> None:
    """There is no default, so a new row without it does not even build."""
    words = set(get_args(get_args(Access)[1])) | {"public", "metrics"}
    for row in ROUTES:
        assert isinstance(row.access, Permission) or row.access in words
    with pytest.raises(TypeError):
        Row("GET", "/x", ROUTES[0].endpoint)  # type: ignore[call-arg]


def test_only_the_named_routes_are_public() -> None:
    """Whoever opens another one has to say so here."""
    assert {row.path for row in ROUTES if row.access == "public"} == PUBLIC


def test_no_route_stands_twice_in_the_table() -> None:
    """The second row would silently replace the first, and its access with it."""
    pairs = [(row.method, row.path) for row in ROUTES]
    assert len(pairs) == len(set(pairs))


@pytest.fixture
async def production(tmp_path: Path, log: BytesIO) -> AsyncIterator[httpx.AsyncClient]:
    """Call a gateway in production with an admin key and a read key."""
    async with edge_client(tmp_path, ECHO, APP_ENV="production", API_KEY_READ=READ_KEY) as running:
        yield running


@pytest.mark.parametrize("base", BASES, ids=["root", "prefix"])
@pytest.mark.parametrize("row", GUARDED, ids=lambda row: row.path)
async def test_a_guarded_route_is_401_without_a_valid_key(production: httpx.AsyncClient, base: str, row: Row) -> None:
    """Whatever is wrong with the credential, and the answer says how to send one."""
    bad = [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong-key",
        f"Basic {GOOD_KEY}",
        GOOD_KEY,
        f"Bearer {GOOD_KEY}x",
        "Bearer \xff",
    ]
    for given in [None, *bad]:
        headers = {} if given is None else {b"authorization": given.encode("latin-1")}
        response = await production.request(row.method, base + row.path, headers=headers, json=HELLO)
        assert_canonical_error(response, "UNAUTHORIZED", 401)
        assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("row", GUARDED, ids=lambda row: row.path)
async def test_a_guarded_route_is_403_without_its_permission(tmp_path: Path, row: Row, log: BytesIO) -> None:
    """And says which permission it is; with all others the key still does not pass."""
    needed = row.access if isinstance(row.access, Permission) else Permission.READ_METRICS
    settings = settings_for(tmp_path, ECHO, APP_ENV="production")
    headers = {"authorization": "Bearer limited"}
    async with asgi_client(create_app(settings, authenticator=OneKey(frozenset({needed})))) as client:
        refused = await client.request(row.method, row.path, headers=headers, json=HELLO)
    error = assert_canonical_error(refused, "FORBIDDEN", 403)
    if "details" in error:
        assert error["details"] == {"required_permission": needed.value}
    else:
        assert needed.value in error["message"]
    async with asgi_client(create_app(settings, authenticator=OneKey(frozenset(Permission) - {needed}))) as client:
        assert (await client.request(row.method, row.path, headers=headers, json=HELLO)).status_code == 200


@pytest.mark.parametrize("row", GUARDED, ids=lambda row: row.path)
async def test_the_admin_key_passes_everywhere(production: httpx.AsyncClient, row: Row, log: BytesIO) -> None:
    """With the scheme in any letters, as RFC 9110 has it; and it shows under its own name in the log."""
    for scheme in ("Bearer", "bearer", "BEARER"):
        headers = {"authorization": f"{scheme} {GOOD_KEY}"}
        response = await production.request(row.method, row.path, headers=headers, json=HELLO)
        assert response.status_code == 200
    assert {line["key"] for line in request_lines(log)} == {"bootstrap-admin"}


async def test_the_read_key_reads_only(production: httpx.AsyncClient, log: BytesIO) -> None:
    """It may not chat, and the log says whose key was refused."""
    headers = {"authorization": f"Bearer {READ_KEY}"}
    response = await production.post("/ai/chat", json=HELLO, headers=headers)
    error = assert_canonical_error(response, "FORBIDDEN", 403)
    assert error["details"] == {"required_permission": "canUseAI"}
    assert request_lines(log)[-1]["key"] == "bootstrap-read"


@pytest.mark.parametrize("path", sorted(PUBLIC))
async def test_a_public_route_takes_any_credential(production: httpx.AsyncClient, path: str) -> None:
    """It does not even look."""
    for headers in ({}, KEY, {"authorization": "Bearer wrong"}, {"authorization": "ApiKey old"}):
        assert (await production.get(path, headers=headers)).status_code == 200


async def test_a_key_with_other_letters_than_ascii_works(tmp_path: Path) -> None:
    """Any string of 16 characters or more is an admin key; headers carry it as UTF-8."""
    key = "schlüssel-für-日本語-gateway"
    async with edge_client(tmp_path, ECHO, API_KEY_ADMIN=key) as client:
        headers = {b"authorization": f"Bearer {key}".encode()}
        assert (await client.get("/v1/models", headers=headers)).status_code == 200


@pytest.mark.parametrize("app_env", ["development", "production", "test"])
@pytest.mark.parametrize("token", ["", TOKEN], ids=["no-token", "token"])
async def test_metrics_are_open_only_in_development_without_a_token(tmp_path: Path, app_env: str, token: str) -> None:
    """Elsewhere it takes the token, or a key with canReadMetrics."""
    environ = {"APP_ENV": app_env, **({"METRICS_TOKEN": token} if token else {})}
    async with edge_client(tmp_path, ECHO, API_KEY_READ=READ_KEY, **environ) as client:
        for path in ("/metrics", "/api/v2/metrics"):
            anonymous = await client.get(path)
            if app_env == "development" and not token:
                assert anonymous.status_code == 200
                continue
            assert_canonical_error(anonymous, "UNAUTHORIZED", 401)
            assert (await client.get(path, headers=KEY)).status_code == 200
            refused = await client.get(path, headers={"authorization": f"Bearer {READ_KEY}"})
            error = assert_canonical_error(refused, "FORBIDDEN", 403)
            assert error["details"] == {"required_permission": "canReadMetrics"}
            with_token = await client.get(path, headers={"authorization": f"Bearer {TOKEN}"})
            assert with_token.status_code == (200 if token else 401)


async def test_the_metrics_token_opens_nothing_else(tmp_path: Path) -> None:
    """It lies in the configuration of a scraper."""
    async with edge_client(tmp_path, ECHO, METRICS_TOKEN=TOKEN) as client:
        response = await client.get("/v1/models", headers={"authorization": f"Bearer {TOKEN}"})
    assert_canonical_error(response, "UNAUTHORIZED", 401)


async def test_bootstrap_keys_are_told_apart() -> None:
    """The admin's, the reader's, nobody's; an empty key in the configuration is no key."""
    both = BootstrapAuthenticator("admin-secret-0123456789", "read-secret-0123456789")
    assert await both.authenticate("admin-secret-0123456789") is ADMIN
    assert await both.authenticate("read-secret-0123456789") is READER
    for wrong in ("", "admin-secret", "admin-secret-0123456789 ", "\udcff", "ADMIN-SECRET-0123456789"):
        assert await both.authenticate(wrong) is None
    assert await BootstrapAuthenticator("admin-secret-0123456789").authenticate("") is None
    assert ADMIN.permissions == frozenset(Permission)
    assert READER.permissions == {Permission.READ_PROJECTS, Permission.READ_VERSIONS, Permission.CHECK_UPDATES}
