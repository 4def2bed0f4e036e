"""TLS from `tls_cert` and `tls_key`, and the address that is shown with it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx
import pytest
import trustme

from gateway.app import create_app
from gateway.server import announcement
from tests.gateway.canonical import assert_security_headers
from tests.gateway.edge import ECHO, HELLO, KEY, served, settings_for
from tests.gateway.settings_files import GOOD_KEY
from tests.gateway.wire import wire

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings import Settings


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority of these tests."""
    return trustme.CA()


@pytest.fixture
def tls_settings(tmp_path: Path, authority: trustme.CA) -> Settings:
    """Settings with a certificate for localhost."""
    certificate = authority.issue_cert("localhost")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(key)
    return settings_for(tmp_path, ECHO + f"[server]\ntls_cert = '{chain}'\ntls_key = '{key}'\n")


async def test_answers_come_over_tls(tls_settings: Settings, authority: trustme.CA) -> None:
    """Whole and streamed, with the headers that every answer has."""
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    async with served(create_app(tls_settings), verify=trust) as running:
        whole = await running.client.post("/ai/chat", json=HELLO, headers=KEY)
        assert whole.status_code == 200
        assert_security_headers(whole)
        streamed = await running.client.post("/ai/chat", json={**HELLO, "stream": True}, headers=KEY)
        assert "event: done" in streamed.text


async def test_a_client_without_tls_gets_nothing(tls_settings: Settings) -> None:
    """Not even an error in plain text."""
    async with served(create_app(tls_settings)) as running:
        async with wire(running.port) as connection:
            await connection.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"healthy" not in await connection.end()
        with pytest.raises(httpx.ConnectError):
            await running.client.get("/health")


def test_the_shown_address_is_https(tls_settings: Settings) -> None:
    """The line is there to be pasted."""
    assert "https://localhost:3000/ai/chat" in announcement(tls_settings)


HOSTS = {
    "127.0.0.1": "localhost",
    "0.0.0.0": "localhost",  # noqa: S104 - shown, not bound.
    "::": "localhost",
    "10.0.0.5": "10.0.0.5",
    "2001:db8::1": "[2001:db8::1]",
}


@pytest.mark.parametrize(("host", "shown"), HOSTS.items())
def test_the_announcement_names_an_address_that_works(tmp_path: Path, host: str, shown: str) -> None:
    """Nobody can connect to 0.0.0.0. A configured key is not shown."""
    text = announcement(settings_for(tmp_path, ECHO, HOST=host, PORT="8123"))
    assert f"http://{shown}:8123" in text
    assert GOOD_KEY not in text
    assert "curl -N" in text


def test_production_announces_nothing(tmp_path: Path) -> None:
    """Its logs are kept, and read by many."""
    assert announcement(settings_for(tmp_path, ECHO, APP_ENV="production")) == ""
