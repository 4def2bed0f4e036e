"""Turns what an endpoint raises into its answer. It sits inside CORS, so that browsers may read errors too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.context import context_of
from gateway.error_bodies import error_response
from gateway.errors import GatewayError, InternalError
from gateway.json_body import ClientGone

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class ErrorAnswers:
    """Answers for every exception; an unplanned one is raised again for the outermost layer, which logs it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        context = context_of(scope)
        try:
            await self._app(scope, receive, send)
        except ClientGone:
            # Nobody is left to be told.
            context.client_gone = True
        except GatewayError as exc:
            if context.response_started:
                raise
            await error_response(exc, context)(scope, receive, send)
        except Exception:
            response = error_response(InternalError(), context)
            if not context.response_started:
                await response(scope, receive, send)
            raise
