"""What tests of verification share: a gateway that verifies files on this machine, and does not wait long."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx

from gateway.releases.addresses import AddressRules
from gateway.releases.check_rules import Schedule
from gateway.releases.checks import Pace
from gateway.releases.outgoing import Limits
from gateway.releases.verify import Verifier
from tests.e2e.server import ADMIN_KEY, Running, serving, settings
from tests.releases.checking import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

LIMIT_S: Final = 60.0
MISSING: Final = "missing.test"
SCHEDULE: Final = Schedule(recheck_s=0.2, first_retry_s=0.02, longest_retry_s=0.1, first_repair_s=0.2)
# For tests in which a verified build is to be left alone.
SELDOM: Final = Schedule(recheck_s=3600, first_retry_s=0.02, longest_retry_s=0.1, first_repair_s=3600)
PACE: Final = Pace(look_s=0.01, lease_s=30.0, retry_s=0.05)
_HASTY: Final = Limits(connect_s=5.0, idle_s=1.0, grace_s=20.0, min_bytes_per_s=10.0)
_TLS: Final = ssl.create_default_context()
STABLE: Final = "/projects/app/channels/stable"


async def lookup(host: str, port: int) -> Sequence[str]:
    """Stand in for the name servers: one name does not resolve, every other one leads to this machine."""
    if host == MISSING:
        raise OSError(host)
    return ["127.0.0.1"]


def make_verifier() -> Verifier:
    """Make a verifier that may reach this machine and is not patient."""
    return Verifier(AddressRules(LOOPBACK), limits=_HASTY, ssl_context=_TLS, lookup=lookup)


class Checked(NamedTuple):
    """A gateway that verifies, and a client of it that has the admin key."""

    gateway: Running
    client: httpx.AsyncClient

    async def publish(self, version: str, *builds: dict[str, Any]) -> None:
        """Publish a version of the project `app`."""
        response = await self.client.post(f"{STABLE}/versions", json={"id": version, "builds": list(builds)})
        assert response.status_code == 201, response.text

    async def build(self, version: str, build: str = "linux-x64") -> dict[str, Any]:
        """Return a build as the API shows it."""
        response = await self.client.get(f"{STABLE}/versions/{version}/builds/{build}")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    async def status(self, version: str, build: str = "linux-x64") -> tuple[str, str]:
        """Return the state of a build and the reason for machines."""
        found = await self.build(version, build)
        return found["status"], found["status_reason"].partition(":")[0]

    async def until_status(self, version: str, state: str, reason: str = "", build: str = "linux-x64") -> None:
        """Wait until a build has this state and reason."""
        async with asyncio.timeout(LIMIT_S):
            while await self.status(version, build) != (state, reason):
                await asyncio.sleep(0.02)

    async def latest(self) -> str | None:
        """Return the version that is offered to who has nothing yet."""
        asked = {"current_version": "0.0.1", "platform": "linux", "architecture": "x64"}
        answer = (await self.client.get(f"{STABLE}/update", params=asked)).json()
        found: str | None = answer["latest_version"] if answer["update_available"] else None
        return found


@asynccontextmanager
async def verifying(
    folder: Path,
    *,
    schedule: Schedule = SCHEDULE,
    policy: str | None = "required",
    maker: Callable[[], object] = make_verifier,
    **sections: Any,
) -> AsyncIterator[Checked]:
    """Run a gateway with the project `app`, unless `policy` is None because the database has it already."""
    sections = {"verification": {"enabled": True}, **sections}
    checks = {"schedule": schedule, "pace": PACE, "make_verifier": maker}
    async with serving(settings(folder, {"echo": {"kind": "echo"}}, **sections), checks=checks) as gateway:
        base, headers = f"http://127.0.0.1:{gateway.port}", {"authorization": f"Bearer {ADMIN_KEY}"}
        async with httpx.AsyncClient(base_url=base, headers=headers, trust_env=False, timeout=LIMIT_S) as client:
            if policy is not None:
                body = {"id": "app", "name": "App", "verification": policy}
                assert (await client.post("/projects", json=body)).status_code == 201
            yield Checked(gateway, client)


def declare(content: bytes, url: str, **other: Any) -> dict[str, Any]:
    """Return a build for Linux on x64 as a publisher sends it, right but for `other`."""
    checksum = {"sha256": hashlib.sha256(content).hexdigest(), **other.pop("checksum", {})}
    place = {"platform": "linux", "architecture": "x64"}
    return {**place, "file_size": len(content), "download_url": url, "checksum": checksum, **other}
