"""The misbehaving upstream: a model provider on a real socket that can commit every fault there is.

    async with Upstream() as up:
        up.queue(Script.status(500), Script.text("ok"))
        ...  # point the gateway at up.base_url

As a program: `python -m tests.upstream --help`.
"""

from __future__ import annotations

from tests.upstream.frames import chunk, completion, error_body, text_stream
from tests.upstream.recorded import Recorded
from tests.upstream.script import Script
from tests.upstream.server import Upstream

__all__ = ["Recorded", "Script", "Upstream", "chunk", "completion", "error_body", "text_stream"]
