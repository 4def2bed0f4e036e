"""The gateway on a socket, and the providers behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.clients import scenario
from tests.e2e import real_server
from tests.e2e.server import ADMIN_KEY, Running, provider, serving, settings
from tests.upstream import Upstream

KEY = ADMIN_KEY
REAL = "llama-server"


@dataclass
class Stage:
    """A running gateway with its scripted providers, by kind."""

    gateway: Running
    upstreams: dict[str, Upstream]

    @property
    def base_url(self) -> str:
        """The gateway's root address."""
        return f"http://127.0.0.1:{self.gateway.port}"


@asynccontextmanager
async def stage(folder: Path, real: str | None) -> AsyncIterator[Stage]:
    """Start a gateway in front of a scripted provider of each kind, and of the model server at the origin `real`.

    Its data goes into `folder`. Each client gets a gateway of its own, so that no breaker that one client's faults
    opened is met by the next.
    """
    async with AsyncExitStack() as stack:
        upstreams = {kind: await stack.enter_async_context(Upstream()) for kind in scenario.KINDS}
        providers = {}
        for kind, up in upstreams.items():
            up.default = scenario.script(kind)
            models = ["moon", "endless", "dies-early", "dies-late"]
            if kind == "openai":
                models.append(scenario.EMBEDDINGS_MODEL)
            up.models = models
            providers[kind] = provider(up if kind == "openai" else up.origin, kind=kind, models=models)
        if real is not None:
            models = [real_server.MODEL, real_server.EMBEDDING_MODEL]
            providers[REAL] = provider(f"{real}/v1", api_key=real_server.UPSTREAM_KEY, models=models)
        routing = {"routes": {name: {"targets": targets} for name, targets in scenario.routes().items()}}
        running = serving(settings(folder, providers, routing=routing))
        yield Stage(await stack.enter_async_context(running), upstreams)
