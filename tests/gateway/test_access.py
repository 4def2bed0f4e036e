"""Who may pass: deny by default, 401 without a key, 403 with one that lacks the permission."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.app import ROUTES, create_app
from gateway.auth.bootstrap import ADMIN, READER, bootstrap_keys
from gateway.auth.principal import Permission
from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import ECHO, HELLO, KEY, edge_client, request_lines, settings_for
from tests.gateway.settings_files import GOOD_KEY
from tests.gateway.test_route_walk import BASES, DOCUMENTED, GUARDED, ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from io import BytesIO
    from pathlib import Path

    import httpx

PUBLIC = {"/", "/health", "/health/live", "/health/ready", "/ai/status"}
READ_KEY = "a-read-key-of-these-tests"
TOKEN = "a-metrics-token-of-these-tests"


@pytest.fixture
async def production(tmp_path: Path, log: BytesIO) -> AsyncIterator[httpx.AsyncClient]:
    """Call a gateway in production with an admin key and a read key."""
    async with edge_client(tmp_path, ECHO, APP_ENV="production", API_KEY_READ=READ_KEY) as running:
        yield running


def test_only_the_named_routes_are_public() -> None:
    """Whoever opens another one has to say so here."""
    # Webhooks are signed instead, by somebody who can have no key.
    others = {"/webhooks/github", "/openapi.json", "/openapi.yaml", "/docs", "/docs/{asset}"}
    assert {row.path for row in ROUTES if row.access == "public"} == {*PUBLIC, *others}


@pytest.mark.parametrize("base", BASES, ids=["root", "prefix"])
@GUARDED
async def test_a_guarded_route_is_401_without_a_valid_key(
    production: httpx.AsyncClient, base: str, route: tuple[str, str]
) -> None:
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
        response = await production.request(route[0], base + route[1], headers=headers, json=HELLO)
        assert_canonical_error(response, "UNAUTHORIZED", 401)
        assert response.headers["www-authenticate"] == "Bearer"


@GUARDED
async def test_the_admin_key_passes_everywhere(
    production: httpx.AsyncClient, route: tuple[str, str], log: BytesIO
) -> None:
    """With the scheme in any letters, as RFC 9110 has it; and it shows under its own name in the log."""
    for scheme in ("Bearer", "bearer", "BEARER"):
        for response in await ask(production, route, {"authorization": f"{scheme} {GOOD_KEY}"}):
            assert response.status_code == DOCUMENTED[route].passes
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
    """One that is wrong is no reason to refuse what needs none."""
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


@pytest.mark.parametrize("wrong", ["", "admin-secret", "admin-secret-0123456789 ", "\udcff", "ADMIN-SECRET-0123456789"])
async def test_bootstrap_keys_are_told_apart(tmp_path: Path, wrong: str) -> None:
    """The admin's, the reader's, nobody's; neither needs a look-up."""
    app = create_app(settings_for(tmp_path, API_KEY_ADMIN="admin-secret-0123456789", API_KEY_READ=READ_KEY))
    authenticator = app.state.authenticator
    assert authenticator.known("admin-secret-0123456789") is ADMIN
    assert authenticator.known(READ_KEY) is READER
    assert authenticator.known(wrong) is None
    assert not authenticator.may_be_live(wrong)
    assert await authenticator.look_up(wrong) is None


def test_an_empty_bootstrap_key_is_no_key() -> None:
    """Whoever sends nothing would otherwise be the reader."""
    assert bootstrap_keys("admin-secret-0123456789") == {"admin-secret-0123456789": ADMIN}
    assert bootstrap_keys("", "") == {}
    assert bootstrap_keys("the-same", "the-same") == {"the-same": ADMIN}


def test_what_the_bootstrap_keys_may_do() -> None:
    """One everything, the other what needs no trust."""
    assert ADMIN.permissions == frozenset(Permission)
    assert READER.permissions == {Permission.READ_PROJECTS, Permission.READ_VERSIONS, Permission.CHECK_UPDATES}
    assert (ADMIN.is_root, READER.is_root) == (True, False)
