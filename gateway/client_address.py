"""Whose request this is: the socket's address, or what a trusted proxy says of it."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from gateway.observability.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Scope

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ClientAddress:
    """Finds the client's address. From a peer in `trusted`, it is the right-most untrusted `X-Forwarded-For` entry.

    The header of anybody else is ignored, and warned of once: behind a proxy that is not declared, all clients look
    like one.
    """

    def __init__(self, trusted: Sequence[str]) -> None:
        self._trusted: list[Network] = [ipaddress.ip_network(entry, strict=False) for entry in trusted]
        self._warned = False

    def __call__(self, scope: Scope) -> str:
        """Return the address of the client behind `scope`; empty for a socket without one."""
        peer: str = scope["client"][0] if scope.get("client") else ""
        for name, _ in scope["headers"]:
            if name == b"x-forwarded-for":
                return self._told(peer, scope["headers"])
        return peer

    def _told(self, peer: str, headers: Sequence[tuple[bytes, bytes]]) -> str:
        forwarded = [value for name, value in headers if name == b"x-forwarded-for"]
        if not self._is_trusted(peer):
            self._warn(peer)
            return peer
        entries = b",".join(forwarded).decode("latin-1").split(",")
        for entry in (text.strip() for text in reversed(entries)):
            if not _is_address(entry):
                break
            peer = entry
            if not self._is_trusted(entry):
                break
        return peer

    def _is_trusted(self, text: str) -> bool:
        if not _is_address(text):
            return False
        address = ipaddress.ip_address(text)
        # A socket for both families shows IPv4 peers as ::ffff:a.b.c.d.
        plain = getattr(address, "ipv4_mapped", None) or address
        return any(plain in network for network in self._trusted)

    def _warn(self, peer: str) -> None:
        if not self._warned:
            self._warned = True
            get_logger().warning(
                "forwarded_for_ignored", client_ip=peer, hint="name the proxy in server.trusted_proxies"
            )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
