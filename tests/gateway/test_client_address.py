"""Whose request it is: the socket's address, or what a proxy that the operator trusts says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client_address import ClientAddress
from tests.gateway.edge import ECHO, edge_client, log_lines, request_lines

if TYPE_CHECKING:
    from io import BytesIO
    from pathlib import Path

TRUSTED = ["10.0.0.0/8", "192.168.1.1", "2001:db8::/32"]


def address(peer: str, *forwarded: str, trusted: list[str] | None = None) -> str:
    """Return what is taken for the client of a request from `peer` with these X-Forwarded-For headers."""
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    scope = {"type": "http", "client": (peer, 1) if peer else None, "headers": [(b"host", b"a"), *headers]}
    return ClientAddress(TRUSTED if trusted is None else trusted)(scope)


CASES: list[tuple[str, list[str], str]] = [
    ("203.0.113.1", [], "203.0.113.1"),
    ("203.0.113.1", ["198.51.100.7"], "203.0.113.1"),
    ("10.1.2.3", [], "10.1.2.3"),
    ("10.1.2.3", ["198.51.100.7"], "198.51.100.7"),
    ("10.1.2.3", ["1.1.1.1, 198.51.100.7"], "198.51.100.7"),
    ("10.1.2.3", ["1.1.1.1, 198.51.100.7, 10.9.9.9, 192.168.1.1"], "198.51.100.7"),
    ("10.1.2.3", ["1.1.1.1", "198.51.100.7"], "198.51.100.7"),
    ("10.1.2.3", ["198.51.100.7", "10.2.2.2"], "198.51.100.7"),
    ("10.1.2.3", ["10.5.5.5, 10.6.6.6"], "10.5.5.5"),
    ("10.1.2.3", ["2001:db9::1"], "2001:db9::1"),
    ("2001:db8::9", ["198.51.100.7"], "198.51.100.7"),
    ("192.168.1.2", ["198.51.100.7"], "192.168.1.2"),
    ("::ffff:10.1.2.3", ["198.51.100.7"], "198.51.100.7"),
    ("::ffff:203.0.113.1", ["198.51.100.7"], "::ffff:203.0.113.1"),
    ("10.1.2.3", ["198.51.100.7, unknown"], "10.1.2.3"),
    ("10.1.2.3", ["<script>"], "10.1.2.3"),
    ("10.1.2.3", [""], "10.1.2.3"),
    ("10.1.2.3", ["198.51.100.7, , 10.2.2.2"], "10.2.2.2"),
    ("10.1.2.3", ["\xff\xfe"], "10.1.2.3"),
    ("", ["198.51.100.7"], ""),
    ("", [], ""),
]


@pytest.mark.parametrize(("peer", "forwarded", "client"), CASES)
def test_the_right_most_untrusted_entry_counts(peer: str, forwarded: list[str], client: str) -> None:
    """Everything further left was written by the client itself and may be made up."""
    assert address(peer, *forwarded) == client


@given(made_up=st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=100))
def test_what_a_client_writes_never_hides_its_address(made_up: str) -> None:
    """The proxy appends the true address; whatever stands before it changes nothing."""
    assert address("10.0.0.1", f"{made_up}, 198.51.100.7") == "198.51.100.7"
    assert address("203.0.113.1", made_up) == "203.0.113.1"


async def test_a_trusted_proxy_is_configured_by_name(tmp_path: Path, log: BytesIO) -> None:
    """The tests' client comes from 127.0.0.1."""
    toml = ECHO + "[server]\ntrusted_proxies = ['127.0.0.0/8']\n"
    async with edge_client(tmp_path, toml) as client:
        await client.get("/health", headers={"x-forwarded-for": "198.51.100.7"})
    assert request_lines(log)[0]["client_ip"] == "198.51.100.7"


async def test_an_undeclared_proxy_is_warned_of_once(tmp_path: Path, log: BytesIO) -> None:
    """Behind it all clients look like one, which the operator wants to know, but not with every request."""
    async with edge_client(tmp_path) as client:
        for _ in range(3):
            await client.get("/health", headers={"x-forwarded-for": "198.51.100.7"})
    assert {line["client_ip"] for line in request_lines(log)} == {"127.0.0.1"}
    (warning,) = [line for line in log_lines(log) if line["level"] == "warning"]
    assert warning["event"] == "forwarded_for_ignored"
    assert "trusted_proxies" in warning["hint"]
