"""Runs the application: uvicorn with our protocol, our drain, several workers or reload."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import tempfile
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.supervisors import ChangeReload, Multiprocess

from gateway.app import create_app
from gateway.observability import logs
from gateway.observability.metrics import MULTIPROCESS_DIR
from gateway.settings import Settings, load_settings
from gateway.wiring import admin_key

if TYPE_CHECKING:
    from types import FrameType

    from gateway.app import Gateway

BACKLOG = 2048
KEEP_ALIVE_S = 75
# uvicorn's own timeout only has to be later than the end of our drain.
_AFTER_DRAIN_S = 1
EXIT_NOT_STARTED = 3
# Requests make no reference cycles, so the collector may look for them far less often than by default: 64 requests at
# once are some 10,000 objects, and it should not walk over them again and again while they are answered.
GC_THRESHOLDS = (30_000, 10, 10)


class GatewayServer(uvicorn.Server):
    """uvicorn's server, which says when it is there and exits with 0 after a signal that it has obeyed."""

    def __init__(self, config: uvicorn.Config, announcement: str) -> None:
        super().__init__(config)
        self._announcement = announcement

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, then tell where."""
        await super().startup(sockets)
        settle_garbage()
        if self.started and self._announcement:
            print(self._announcement, file=sys.stderr, flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - what a signal handler takes.
        """Stop in order; a second interrupt from the keyboard stops at once.

        uvicorn would raise the signal again after it has stopped, so that a stop as asked for looked like a crash.
        """
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def settle_garbage() -> None:
    """Take everything that was made at the start out of the garbage collector's way.

    It stays for as long as the process, and walking over it again and again was a good part of a busy gateway's CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def worker_app() -> Gateway:
    """Make the application in a process of its own, from the same configuration."""
    settings = load_settings()
    logs.configure(settings.log.level, settings.log.format)
    app = create_app(settings)
    settle_garbage()
    return app


def run(settings: Settings, *, reload: bool = False) -> None:
    """Serve until a signal. Raises `ProviderSetupError` before anything listens; exits with 3 when the start fails."""
    logs.configure(settings.log.level, settings.log.format)
    if reload or settings.server.workers > 1:
        _run_processes(settings, reload=reload)
        return
    server = GatewayServer(_config(settings, create_app(settings)), announcement(settings))
    server.run()
    if not server.started:
        sys.exit(EXIT_NOT_STARTED)


def _run_processes(settings: Settings, *, reload: bool) -> None:
    # Workers that cannot be made would be started again and again; what is wrong is better said here, once.
    create_app(settings)
    config = _config(settings, "gateway.server:worker_app", reload=reload)
    sockets = [config.bind_socket()]
    print(announcement(settings), file=sys.stderr, flush=True)
    if reload:
        ChangeReload(config, target=uvicorn.Server(config).run, sockets=sockets).run()
        return
    # prometheus-client adds up the workers' numbers from files in this folder, which must be empty at the start.
    with tempfile.TemporaryDirectory(prefix="lunarbit-metrics-") as folder:
        os.environ[MULTIPROCESS_DIR] = folder
        Multiprocess(config, sockets=sockets).run()


def _config(settings: Settings, app: Gateway | str, *, reload: bool = False) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        host=settings.server.host,
        port=settings.server.port,
        workers=None if reload else settings.server.workers,
        reload=reload,
        http="gateway.protocol:GatewayProtocol",
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(settings.server.drain_s) + _AFTER_DRAIN_S,
        ssl_certfile=settings.server.tls_cert or None,
        ssl_keyfile=settings.server.tls_key or None,
    )


def announcement(settings: Settings) -> str:
    """Return where the gateway is, its key, and one request that streams, for a developer; nothing in production."""
    if settings.is_production:
        return ""
    shown_as_local = settings.server.host in ("127.0.0.1", "0.0.0.0", "::", "::1")  # noqa: S104 - compared, not bound.
    host = settings.server.host
    host = "localhost" if shown_as_local else f"[{host}]" if ":" in host else host
    url = f"{'https' if settings.server.tls_cert else 'http'}://{host}:{settings.server.port}"
    configured = settings.auth.admin_key.get_secret_value()
    # A configured key is the operator's and is not shown.
    key = "YOUR_ADMIN_KEY" if configured else admin_key(settings)
    body = '{"stream":true,"messages":[{"role":"user","content":"Hello, who are you?"}]}'
    return f"""
  LunarBit Gateway on {url}
  Admin key (development): {key}

  Open {url}/docs to see and try the whole interface, or paste this to see an answer stream:

  curl -N {url}/ai/chat -H 'Authorization: Bearer {key}' \\
    -H 'Content-Type: application/json' -d '{body}'
"""
