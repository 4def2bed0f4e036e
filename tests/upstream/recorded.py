"""What the upstream remembers of one request, and what became of its answer."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote

from tests.upstream.frames import DEFAULT_MODEL, JsonObject

Outcome = Literal["running", "finished", "disconnected", "expired", "failed", "stopped"]


@dataclass(eq=False)
class Recorded:
    """One request as it arrived.

    `headers` has lower-case names; a name that came twice has its values joined with ", ". `started` and
    `ended` are event-loop times in seconds. `disconnected` is set when the peer closed the connection before
    the answer was complete, `finished` when the script ran to its end (also one that ends in a reset).
    `outcome` says the same in a word; "expired" means the script hit the upstream's own time limit, "failed"
    that it raised an error, "stopped" that the upstream was shut down under it.
    `bytes_sent` counts what was handed to the socket layer.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    connection_id: int
    number: int
    started: float
    http_version: str = "1.1"
    keep_alive: bool = True
    ended: float | None = None
    outcome: Outcome = "running"
    bytes_sent: int = 0
    disconnected: asyncio.Event = field(default_factory=asyncio.Event)
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def json(self) -> Any:
        """The body as JSON; raises ValueError if it is not JSON."""
        return json.loads(self.body)

    @property
    def document(self) -> JsonObject:
        """The body as a JSON object, or an empty one if it is something else."""
        try:
            value = self.json
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    @property
    def is_chat(self) -> bool:
        """Whether this is a chat call, in any of the URL styles and dialects."""
        return self.method == "POST" and self.path.endswith(("/chat/completions", "/v1/messages"))

    @property
    def operation(self) -> str | None:
        """What else than a chat an OpenAI-style call asks for, such as `embeddings`; None if nothing that is known."""
        last = self.path.rpartition("/")[2]
        known = {"embeddings", "completions", "responses"}
        return last if self.method == "POST" and not self.is_chat and last in known else None

    @property
    def deployment(self) -> str | None:
        """The deployment in the path of a dated Azure URL, else None."""
        parts = self.path.split("/")
        return unquote(parts[3]) if parts[1:3] == ["openai", "deployments"] and len(parts) > 3 else None

    @property
    def model(self) -> str:
        """The model the call asked for: the deployment in the path, else the body's `model`."""
        return self.deployment or str(self.document.get("model") or DEFAULT_MODEL)

    @property
    def is_anthropic(self) -> bool:
        """Whether the caller speaks Anthropic's dialect."""
        return "anthropic-version" in self.headers

    @property
    def stream(self) -> bool:
        """Whether the call asked for a streamed answer."""
        return self.document.get("stream") is True

    @property
    def include_usage(self) -> bool:
        """Whether the call asked for usage in the stream (`stream_options.include_usage`)."""
        options = self.document.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True

    @property
    def accepts_gzip(self) -> bool:
        """Whether `Accept-Encoding` names gzip without refusing it (`q=0`)."""
        offers = self.headers.get("accept-encoding", "").lower().replace(" ", "").split(",")
        return any(offer in {"gzip", "x-gzip"} or _positive_gzip(offer) for offer in offers)


def _positive_gzip(offer: str) -> bool:
    name, _, quality = offer.partition(";q=")
    return name == "gzip" and quality.strip("0.") != ""
