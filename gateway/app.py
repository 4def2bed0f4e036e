"""The application: the one route table, and the layers around it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route, Router

from gateway.auth.principal import Permission
from gateway.client_address import ClientAddress
from gateway.context import context_of
from gateway.endpoints import ai, audit, catalog, health, keys, openai, projects, updates, usage
from gateway.error_bodies import API_PREFIX, error_response
from gateway.errors import ApiVersionGone, GatewayError, InternalError, NotFound
from gateway.json_body import ClientGone
from gateway.middleware.context import RequestContextMiddleware
from gateway.middleware.cors import CORS
from gateway.middleware.guard import GuardedRoute, Row, UnknownPath
from gateway.wiring import Wiring

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway.settings import Settings

CREATE_KEYS, REVOKE_KEYS, USE_AI = Permission.CREATE_KEYS, Permission.REVOKE_KEYS, Permission.USE_AI
READ_AUDIT, READ_USAGE, MANAGE = Permission.READ_AUDIT, Permission.READ_USAGE, Permission.MANAGE_RELEASES
READ_PROJECTS, READ_VERSIONS = Permission.READ_PROJECTS, Permission.READ_VERSIONS
CHECK_UPDATES = Permission.CHECK_UPDATES
CHANNEL = "/projects/{project}/channels/{channel}"
VERSION = CHANNEL + "/versions/{version}"
BUILD = VERSION + "/builds/{build}"

# Every route: method, path, endpoint, and what it takes to pass. All of them answer at the root and under /api/v2.
ROUTES: tuple[Row, ...] = (
    Row("POST", "/v1/chat/completions", openai.chat_completions, USE_AI, "ai", "max_ai_body_bytes"),
    Row("POST", "/ai/chat", ai.chat, USE_AI, "ai", "max_ai_body_bytes"),
    Row("GET", "/v1/models", openai.models, USE_AI),
    Row("GET", "/ai/status", ai.status, "public"),
    Row("POST", "/admin/keys", keys.create, CREATE_KEYS),
    Row("GET", "/admin/keys", keys.page, (CREATE_KEYS, REVOKE_KEYS)),
    Row("GET", "/admin/keys/stats", keys.stats, (CREATE_KEYS, REVOKE_KEYS)),
    Row("PATCH", "/admin/keys/{name}", keys.change, CREATE_KEYS),
    Row("DELETE", "/admin/keys/{name}", keys.revoke, REVOKE_KEYS),
    Row("POST", "/admin/keys/{name}/rotate", keys.rotate, CREATE_KEYS),
    Row("GET", "/admin/usage", usage.report, READ_USAGE),
    Row("GET", "/admin/audit", audit.audit, READ_AUDIT),
    Row("GET", "/projects", projects.projects, READ_PROJECTS),
    Row("POST", "/projects", catalog.create_project, MANAGE),
    Row("GET", "/projects/{project}", projects.project, READ_PROJECTS),
    Row("PATCH", "/projects/{project}", catalog.change_project, MANAGE),
    Row("DELETE", "/projects/{project}", catalog.delete_project, MANAGE),
    Row("POST", "/projects/{project}/channels", catalog.create_channel, MANAGE),
    Row("PATCH", CHANNEL, catalog.change_channel, MANAGE),
    Row("DELETE", CHANNEL, catalog.delete_channel, MANAGE),
    Row("GET", f"{CHANNEL}/latest", projects.latest, READ_VERSIONS),
    Row("GET", f"{CHANNEL}/update", updates.check, CHECK_UPDATES, is_open=projects.has_public_updates),
    Row("GET", f"{CHANNEL}/versions", projects.versions, READ_VERSIONS),
    Row("POST", f"{CHANNEL}/versions", catalog.publish, MANAGE),
    Row("GET", VERSION, projects.version, READ_VERSIONS),
    Row("PATCH", VERSION, catalog.change_version, MANAGE),
    Row("POST", f"{VERSION}/yank", catalog.yank, MANAGE),
    Row("POST", f"{VERSION}/restore", catalog.restore, MANAGE),
    Row("POST", f"{VERSION}/builds", catalog.add_build, MANAGE),
    Row("GET", BUILD, projects.build, READ_VERSIONS),
    Row(
        "GET",
        f"{BUILD}/download",
        projects.download,
        (READ_VERSIONS, CHECK_UPDATES),
        is_open=projects.has_public_updates,
    ),
    Row("POST", "/update/check", updates.check_all, CHECK_UPDATES),
    Row("GET", "/health", health.health, "public", "free"),
    Row("GET", "/health/live", health.live, "public", "free"),
    Row("GET", "/health/ready", health.ready, "public", "free"),
    Row("GET", "/metrics", health.metrics, "metrics", "free"),
    Row("GET", "/", health.index, "public"),
)


class Gateway:
    """The ASGI application. `begin_drain` is for the server that stops; `state` holds the parts, for tests."""

    def __init__(self, settings: Settings, **overrides: Any) -> None:
        self._wiring = wiring = Wiring(settings, **overrides)
        self.state = wiring.state
        handlers: dict[Any, Any] = {
            GatewayError: _gateway_error,
            ClientGone: _client_gone,
            Exception: _unhandled,
        }
        starlette = Starlette(routes=_routes(ROUTES), exception_handlers=handlers, lifespan=_lifespan(self))
        starlette.router.redirect_slashes = False
        starlette.router.default = _unknown
        starlette.state.gateway = wiring.state
        inner: ASGIApp = starlette
        if settings.server.cors_origins:
            inner = CORS(inner, settings.server.cors_origins)
        self._app = RequestContextMiddleware(
            inner,
            accounts=wiring.state.accounts,
            docs_url=settings.server.docs_url,
            client_address=ClientAddress(settings.server.trusted_proxies),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        if scope["type"] == "lifespan":
            send = _without_traceback(send)
        await self._app(scope, receive, send)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Open the database and do the background work until the context is left, as the server's lifespan does."""
        return self._wiring.running()

    def begin_drain(self) -> None:
        """Turn not ready and give open calls `drain_s` to end; must run in the event loop."""
        self.state.drain.begin()


def create_app(settings: Settings, **overrides: Any) -> Gateway:
    """Make the application. `overrides` replace single parts of `gateway.wiring.Wiring`.

    Raises `providers.registry.ProviderSetupError` for a provider that cannot be made.
    """
    return Gateway(settings, **overrides)


def _routes(rows: tuple[Row, ...]) -> list[BaseRoute]:
    """Build the routes: the table at the root and under the prefix, and the grave of API v1."""
    by_path: dict[str, list[Row]] = {}
    for row in rows:
        by_path.setdefault(row.path, []).append(row)
    table: list[BaseRoute] = [Route(path, GuardedRoute(path, same_path)) for path, same_path in by_path.items()]
    gone = [Route("/api/v1", _v1), Route("/api/v1/{rest:path}", _v1)]
    # The prefix without a slash is what clients have as their base URL.
    bare = Route(API_PREFIX, GuardedRoute("/", by_path["/"]))
    prefixed = Router(table, redirect_slashes=False, default=_unknown)
    return [*table, bare, Mount(API_PREFIX, app=prefixed), *gone]


def _api_v1_is_gone() -> GatewayError:
    msg = "API v1 is gone; use /api/v2"
    details = {"migration": "https://docs.lunarbit.dev/migration-from-v1", "base_path": API_PREFIX}
    return ApiVersionGone(msg, details=details)


_v1 = UnknownPath("/api/v1", _api_v1_is_gone)
# The path is not repeated: it may be long, and some clients put their key there.
_unknown = UnknownPath(None, lambda: NotFound("There is nothing at this path"))


def _without_traceback(send: Send) -> Send:
    """Leave of Starlette's report about a failed start only its last line, which names what is wrong."""

    async def send_short(message: Message) -> None:
        if message["type"].endswith(".failed"):
            message["message"] = message.get("message", "").strip().rpartition("\n")[2]
        await send(message)

    return send_short


def _lifespan(gateway: Gateway) -> Any:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with gateway.running():
            yield

    return lifespan


async def _gateway_error(request: Request, error: GatewayError) -> Response:
    return error_response(error, context_of(request.scope))


async def _unhandled(request: Request, error: Exception) -> Response:  # noqa: ARG001 - the outermost layer logs it.
    return error_response(InternalError(), context_of(request.scope))


async def _client_gone(request: Request, error: Exception) -> ASGIApp:  # noqa: ARG001 - there is nothing in it.
    context_of(request.scope).client_gone = True
    return _say_nothing


async def _say_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a client that is not there any more."""
