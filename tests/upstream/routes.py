"""Which script answers a request: the paths of OpenAI, Azure OpenAI, LM Studio and Anthropic."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from tests.upstream import anthropic_frames, frames
from tests.upstream.recorded import Recorded
from tests.upstream.script import Script

_MODEL_PATHS = {"/v1/models", "/openai/v1/models", "/openai/models"}
_CHAT_PATHS = {"/v1/chat/completions", "/openai/v1/chat/completions", "/v1/messages"}


@dataclass(eq=False)
class Behaviour:
    """What the upstream does; every attribute may be changed while it runs.

    `default` answers a chat call when neither `queue` nor `by_model` has a script for it, `embeddings` and
    `completions` (of texts) those other calls, and `responses` those for responses (None: 404). `models` is what
    the model lists show, `healthy = False` makes every model list answer 500, and `models_script` replaces
    the answer of the lists altogether. `lmstudio_v1` and `lmstudio_v0` are the JSON values of LM Studio's
    own state pages (None: 404; see `frames.lmstudio_v1_models` and `lmstudio_v0_models`).
    `unknown_paths_answer_200` does what LM Studio does with paths that it does not know: 200 and an `error`
    member. A caller with an `anthropic-version` gets Anthropic's list of models, at most `models_per_page` at a
    time, and its chats are to be answered with the scripts of `messages`. `counted_tokens` is what counting a prompt
    gives there (None: 404).
    `require_key` is the key that `Authorization: Bearer`, `api-key` or `x-api-key` must carry.
    `gzip_if_asked` compresses answers whose request asks for it, `set_cookie` adds a Set-Cookie that is
    different on every answer, `extra_headers` adds any others. `close_idle_after_answer` closes the
    connection after each whole answer without announcing it. `close_on_reuse` goes further: the
    second request on a connection is neither answered nor recorded, the connection is closed under it.
    `max_run_s` bounds every script, and `send_buffer_bytes` is the kernel's send buffer for new connections.
    """

    default: Script = field(default_factory=Script.text)
    embeddings: Script = field(default_factory=Script.embeddings)
    completions: Script = field(default_factory=Script.text_completion)
    responses: Script | None = None
    by_model: dict[str, Script] = field(default_factory=dict)
    models: list[str] = field(default_factory=lambda: ["gpt-4", "gpt-3.5-turbo"])
    healthy: bool = True
    models_script: Script | None = None
    models_per_page: int = 1_000
    lmstudio_v1: Any = None
    lmstudio_v0: Any = None
    unknown_paths_answer_200: bool = False
    counted_tokens: int | None = None
    require_key: str | None = None
    gzip_if_asked: bool = False
    set_cookie: bool = False
    extra_headers: dict[str, str] = field(default_factory=dict)
    close_idle_after_answer: bool = False
    close_on_reuse: bool = False
    max_run_s: float = 120.0
    send_buffer_bytes: int | None = None
    queued: deque[Script] = field(default_factory=deque)

    def queue(self, *scripts: Script) -> None:
        """Use these scripts for the next chat calls, one each, before anything else."""
        self.queued.extend(scripts)

    def script_for(self, call: Recorded) -> Script:
        """Choose the script that answers a request."""
        if not self._key_fits(call):
            return Script.status(401)
        if call.is_chat and (call.path in _CHAT_PATHS or call.deployment is not None):
            return self._chat(call)
        if call.path == "/v1/messages/count_tokens" and self.counted_tokens is not None:
            return Script.status(200, {"input_tokens": self.counted_tokens})
        other = {"embeddings": self.embeddings, "completions": self.completions, "responses": self.responses}
        script = other.get(call.operation or "")
        if script is not None:
            return script
        if call.method == "GET":
            state = {"/api/v1/models": self.lmstudio_v1, "/api/v0/models": self.lmstudio_v0}.get(call.path)
            if call.path in _MODEL_PATHS or state is not None:
                return self._models(self._list(call) if state is None else state)
        return self._unknown(call)

    def _key_fits(self, call: Recorded) -> bool:
        if self.require_key is None:
            return True
        bearer = call.headers.get("authorization") == f"Bearer {self.require_key}"
        return bearer or self.require_key in (call.headers.get("api-key"), call.headers.get("x-api-key"))

    def _chat(self, call: Recorded) -> Script:
        if call.deployment is not None and "api-version=" not in call.query:
            return Script.openai_error("404", message="Resource not found", status=404)
        if not call.document:
            return Script.openai_error(None, message="We could not parse the JSON body of your request.")
        if self.queued:
            return self.queued.popleft()
        return self.by_model.get(call.model, self.default)

    def _list(self, call: Recorded) -> frames.JsonObject:
        if not call.is_anthropic:
            return frames.model_list(self.models)
        asked = {name: values[0] for name, values in parse_qs(call.query).items()}
        limit = min(int(asked.get("limit", "20")), self.models_per_page)
        return anthropic_frames.model_page(self.models, after=asked.get("after_id"), limit=limit)

    def _models(self, document: Any) -> Script:
        if self.models_script is not None:
            return self.models_script
        return Script.status(200, frames.encode(document)) if self.healthy else Script.status(500)

    def _unknown(self, call: Recorded) -> Script:
        place = f"({call.method} {call.path})"
        if self.unknown_paths_answer_200:
            return Script.status(200, {"error": f"Unexpected endpoint or method. {place}"})
        return Script.openai_error(None, message=f"Invalid URL {place}", status=404)
