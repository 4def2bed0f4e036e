"""Keys for the tests of the edge: one with chosen permissions that needs no store, and real ones of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gateway.app import Gateway, create_app
from gateway.auth.principal import Permission, Principal
from tests.gateway.edge import ECHO, KEY, settings_for

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    import httpx

ONE_KEY = {"authorization": "Bearer limited"}
KEYS = "/admin/keys"
PERMISSIONS = [str(permission) for permission in Permission]
# 2026-02-07T10:00:00Z, the time of the product page's example.
PAGE_TIME_MS = 1_770_458_400_000
MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400


class Clock:
    """Unix time turned by hand: `clock_ms` for keys and usage, and the two clocks of the limits."""

    def __init__(self, now_ms: int = PAGE_TIME_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        """Return Unix milliseconds."""
        return self.now_ms

    def monotonic(self) -> float:
        """Return seconds."""
        return self.now_ms / 1000

    def time(self) -> float:
        """Return Unix seconds."""
        return self.now_ms / 1000

    def turn(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ms += round(seconds * 1000)


class OneKey:
    """Knows the key `limited`, which may do everything but what it is made without."""

    def __init__(self, without: Collection[Permission] = ()) -> None:
        self._principal = Principal("k1", "limited-key", frozenset(Permission) - frozenset(without))

    def known(self, secret: str) -> Principal | None:
        """Return the principal of the one key."""
        return self._principal if secret == "limited" else None

    def may_be_live(self, secret: str) -> bool:
        """Say no to every other key."""
        return secret == "limited"

    async def look_up(self, secret: str) -> Principal | None:
        """Find nothing that is not known."""
        return self.known(secret)


def clocked_app(tmp_path: Path, clock: Clock, toml: str = ECHO, **environ: str) -> Gateway:
    """Make a gateway whose keys, usage and limits go by `clock`."""
    return create_app(settings_for(tmp_path, toml, **environ), clock_ms=clock, limit_clock=clock)


def bearer(secret: str) -> dict[str, str]:
    """Return the header that carries a secret."""
    return {"authorization": f"Bearer {secret}"}


def path_of(name: str, more: str = "") -> str:
    """Return the path of a key."""
    return f"{KEYS}/{quote(name, safe='')}{more}"


def granted(*permissions: str) -> dict[str, bool]:
    """Return these permissions as they are sent."""
    return dict.fromkeys(permissions, True)


async def create(client: httpx.AsyncClient, name: str, *permissions: str, **fields: Any) -> dict[str, Any]:
    """Make a key through the API, as the bootstrap admin, and return the answer."""
    body = {"name": name, "permissions": granted(*permissions), **fields}
    response = await client.post(KEYS, json=body, headers=KEY)
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def make_key(client: httpx.AsyncClient, name: str, *permissions: str, **fields: Any) -> dict[str, str]:
    """Make a key and return the header that carries its secret."""
    return bearer((await create(client, name, *permissions, **fields))["key"])


async def listed(client: httpx.AsyncClient, **parameters: Any) -> dict[str, dict[str, Any]]:
    """Return the keys of a list by their names; of a name that was used again, the latest."""
    response = await client.get(KEYS, params=parameters, headers=KEY)
    assert response.status_code == 200, response.text
    return {key["name"]: key for key in response.json()["keys"]}
