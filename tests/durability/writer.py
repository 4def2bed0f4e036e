"""Administers the keys of a store until it is killed, and says what was acknowledged, one line for each act."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from gateway.auth.bootstrap import ADMIN
from gateway.auth.service import KeyService, Origin
from gateway.settings import Settings
from gateway.stores import Stores

PEPPER = "a pepper of the tests of durability"
# So many acts of one process may be under way at once, and unacknowledged when it dies.
AT_ONCE = 3


class Ack(NamedTuple):
    """An act that was acknowledged: what the audit log must tell of it, and the secret that it gave away, if any."""

    action: str
    name: str
    request_id: str
    secret: str | None = None

    def line(self) -> bytes:
        """Return the act as a line, which is short enough for a pipe to take it whole or not at all."""
        return json.dumps(self).encode() + b"\n"


def settings_for(url: str, folder: Path) -> Settings:
    """Return the settings of a gateway on this database."""
    return Settings(database={"url": url}, data={"dir": folder}, auth={"pepper": PEPPER})


async def administer(settings: Settings, writer: str, say: Callable[[Ack], None]) -> None:
    """Make, rotate and revoke keys for ever; `writer` is part of their names. Says that it begins when it is open."""
    stores = Stores(settings)
    await stores.database.open()
    service = stores.key_service(lambda _: None)
    say(Ack("open", writer, writer))
    await asyncio.gather(*(_one_after_another(service, f"{writer}-{number}", say) for number in range(AT_ONCE)))


async def _one_after_another(service: KeyService, prefix: str, say: Callable[[Ack], None]) -> None:
    for number in itertools.count():
        name = f"{prefix}-{number}"
        origin = Origin("127.0.0.1", f"{name}.create")
        created = await service.create({"name": name, "tags": [prefix]}, ADMIN, origin, name)
        say(Ack("key.create", name, origin.request_id, created.body["key"]))
        origin = Origin("127.0.0.1", f"{name}.rotate")
        rotated = await service.rotate(name, {"overlap": "1d"}, ADMIN, origin)
        say(Ack("key.rotate", name, origin.request_id, rotated["key"]))
        if number % 2:
            origin = Origin("127.0.0.1", f"{name}.revoke")
            await service.revoke(name, ADMIN, origin)
            say(Ack("key.revoke", name, origin.request_id))
