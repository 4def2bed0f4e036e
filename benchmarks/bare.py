"""The baseline: a bare pass-through of Starlette, uvicorn (uvloop, httptools) and aiohttp's client.

It forwards `POST /v1/chat/completions` and does nothing else: no authentication, no limits, no log, no metrics.
"""

from __future__ import annotations

import argparse
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request


def create_app(upstream: str) -> Starlette:
    """Return the application; `upstream` is the base URL to which it forwards."""
    url = f"{upstream}/chat/completions"

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            app.state.session = session
            yield

    async def forward(request: Request) -> Response:
        body = await request.body()
        headers = {"content-type": "application/json", "authorization": "Bearer sk-x"}
        answer = await request.app.state.session.post(url, data=body, headers=headers)
        kind = answer.headers.get("content-type", "application/json")
        if kind.startswith("text/event-stream"):
            return StreamingResponse(relay(answer), answer.status, media_type=kind)
        async with answer:
            return Response(await answer.read(), answer.status, media_type=kind)

    return Starlette(routes=[Route("/v1/chat/completions", forward, methods=["POST"])], lifespan=lifespan)


async def relay(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the body as it arrives and close the upstream answer in every case."""
    async with answer:
        async for data in answer.content.iter_any():
            yield data


def main() -> None:
    """Run the baseline from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    arguments = parser.parse_args()
    app = create_app(arguments.upstream)
    uvicorn.run(app, port=arguments.port, loop="uvloop", http="httptools", access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
