"""The application: the one route table, and the layers around it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.routing import Router

from gateway.auth.principal import Permission
from gateway.client_address import ClientAddress
from gateway.endpoints import (
    ai,
    anthropic,
    audit,
    catalog,
    changelog,
    feeds,
    github,
    health,
    keys,
    openai,
    openai_responses,
    package_feeds,
    projects,
    updates,
    usage,
    verification,
    webhooks,
)
from gateway.error_bodies import API_PREFIX
from gateway.errors import ApiVersionGone, NotFound
from gateway.middleware.answers import ErrorAnswers
from gateway.middleware.context import RequestContextMiddleware
from gateway.middleware.cors import CORS
from gateway.middleware.guard import GuardedRoute, Row, UnknownPath
from gateway.middleware.paths import Paths
from gateway.openapi import endpoint as openapi_document
from gateway.openapi import reference
from gateway.wiring import Wiring

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway.errors import GatewayError
    from gateway.settings import Settings

CREATE_KEYS, REVOKE_KEYS, USE_AI = Permission.CREATE_KEYS, Permission.REVOKE_KEYS, Permission.USE_AI
READ_AUDIT, READ_USAGE, MANAGE = Permission.READ_AUDIT, Permission.READ_USAGE, Permission.MANAGE_RELEASES
READ_PROJECTS, READ_VERSIONS = Permission.READ_PROJECTS, Permission.READ_VERSIONS
CHECK_UPDATES = Permission.CHECK_UPDATES
CHANNEL = "/projects/{project}/channels/{channel}"
VERSION = CHANNEL + "/versions/{version}"
BUILD = VERSION + "/builds/{build}"
FEEDS = "/updates/{project}/{channel}"

# Every route: method, path, endpoint, and what it takes to pass. All of them answer at the root and under /api/v2.
ROUTES: tuple[Row, ...] = (
    Row("POST", "/v1/chat/completions", openai.chat_completions, USE_AI, "ai", "max_ai_body_bytes"),
    Row("POST", "/v1/responses", openai_responses.create_response, USE_AI, "ai", "max_ai_body_bytes"),
    Row("POST", "/v1/messages", anthropic.messages, USE_AI, "ai", "max_ai_body_bytes"),
    Row("POST", "/v1/messages/count_tokens", anthropic.count_tokens, USE_AI, "plain", "max_ai_body_bytes"),
    Row("POST", "/ai/chat", ai.chat, USE_AI, "ai", "max_ai_body_bytes"),
    Row("POST", "/ai/analyze-changelog", changelog.analyze, USE_AI, "ai"),
    Row("POST", "/v1/completions", openai.completions, USE_AI, "ai", "max_ai_body_bytes"),
    Row("POST", "/v1/embeddings", openai.embeddings, USE_AI, "ai", "max_ai_body_bytes"),
    Row("GET", "/v1/models", openai.models, USE_AI),
    Row("GET", "/v1/models/{model:path}", openai.model, USE_AI),
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
    Row("POST", f"{BUILD}/verify", verification.verify, MANAGE),
    Row(
        "GET",
        f"{BUILD}/download",
        projects.download,
        (READ_VERSIONS, CHECK_UPDATES),
        is_open=projects.has_public_updates,
    ),
    Row("GET", f"{FEEDS}/electron/{{file}}", feeds.electron, CHECK_UPDATES, is_open=projects.has_public_updates),
    Row(
        "GET",
        f"{FEEDS}/tauri/{{target}}/{{arch}}/{{current_version}}",
        feeds.tauri,
        CHECK_UPDATES,
        is_open=projects.has_public_updates,
    ),
    Row(
        "GET",
        f"{FEEDS}/files/{{version}}/{{build}}/{{processor}}/{{file_name}}",
        feeds.file,
        (READ_VERSIONS, CHECK_UPDATES),
        is_open=projects.has_public_updates,
    ),
    Row("GET", "/projects/{project}/github", github.status, MANAGE),
    Row("POST", "/webhooks/github", webhooks.github, "public", is_open=webhooks.always_open),
    Row("POST", "/update/check", updates.check_all, CHECK_UPDATES),
    *(
        Row("GET", f"{FEEDS}/{path}", endpoint, CHECK_UPDATES, is_open=projects.has_public_updates)
        for path, endpoint in (
            ("velopack/releases.{velopack_channel}.json", package_feeds.velopack_releases),
            ("velopack/{file_name}", package_feeds.package_file),
            ("squirrel-win/RELEASES", package_feeds.squirrel_windows),
            ("squirrel-win/{file_name}", package_feeds.package_file),
            ("squirrel-mac/{architecture}/{version}", package_feeds.squirrel_mac),
            ("sparkle/appcast.xml", package_feeds.sparkle_appcast),
            ("releases.atom", package_feeds.atom_feed),
        )
    ),
    Row("GET", "/health", health.health, "public", "free"),
    Row("GET", "/health/live", health.live, "public", "free"),
    Row("GET", "/health/ready", health.ready, "public", "free"),
    Row("GET", "/metrics", health.metrics, "metrics", "free"),
    Row("GET", "/docs", reference.page, "public", "free"),
    Row("GET", "/docs/{asset}", reference.file, "public", "free"),
    Row("GET", "/openapi.json", openapi_document.as_json, "public", "free"),
    Row("GET", "/openapi.yaml", openapi_document.as_yaml, "public", "free"),
    Row("GET", "/", health.index, "public"),
)


class Gateway:
    """The ASGI application. `begin_drain` is for the server that stops; `state` holds the parts, for tests."""

    def __init__(self, settings: Settings, **overrides: Any) -> None:
        self._wiring = wiring = Wiring(settings, **overrides)
        self.state = wiring.state
        # What the description of the interface is made of.
        self.rows = ROUTES
        # Starlette's own application would do the same with three layers more around every request.
        self._lifespan = Router(lifespan=_lifespan(self))
        inner: ASGIApp = ErrorAnswers(_routes(ROUTES))
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
        scope["app"] = self
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, _without_traceback(send))
        else:
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


def _routes(rows: tuple[Row, ...]) -> Paths:
    """Build the routes: the table at the root and under the prefix, and the grave of API v1."""
    by_path: dict[str, list[Row]] = {}
    for row in rows:
        by_path.setdefault(row.path, []).append(row)
    apps = {path: GuardedRoute(path, same_path) for path, same_path in by_path.items()}
    return Paths(apps, prefix=API_PREFIX, gone={"/api/v1": _v1}, default=_unknown)


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
    async def lifespan(_: Gateway) -> AsyncIterator[None]:
        async with gateway.running():
            yield

    return lifespan
