"""The floor: Starlette and uvicorn answering by themselves, without any upstream. Unary only."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from benchmarks import wire

if TYPE_CHECKING:
    from starlette.requests import Request


async def answer(request: Request) -> Response:
    """Answer with precomputed bytes."""
    question = wire.read_question(await request.body())
    if question is None:
        return Response(status_code=400)
    return Response(wire.answer_body(question.variant), media_type="application/json")


async def empty(request: Request) -> Response:  # noqa: ARG001 - what Starlette hands to an endpoint.
    """Answer with nothing: what any route costs."""
    return Response()


def main() -> None:
    """Run the floor from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    app = Starlette(routes=[Route("/", empty), Route("/v1/chat/completions", answer, methods=["POST"])])
    port = parser.parse_args().port
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
