"""The examples of the description, sent to a gateway: people copy them first."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.openapi.requests_made import operations
from tests.openapi.test_document import conforms

if TYPE_CHECKING:
    from tests.openapi.requests_made import Asked

UNNAMED = {"enum": [None]}
pytestmark = pytest.mark.slow

# What the examples take away comes last.
ORDER = sorted(operations(), key=lambda name: name.startswith("DELETE"))
NOT_THERE = {
    # The first channel is the one that new clients get, and stays.
    "DELETE /projects/{project}/channels/{channel}": 400,
    "GET /projects/{project}/github": 404,
    # The one build of the example is an installer.
    "GET /updates/{project}/{channel}/velopack/{file_name}": 404,
    "GET /updates/{project}/{channel}/squirrel-win/{file_name}": 404,
    "POST /webhooks/github": 401,
    # The echo provider has one model, and only chats.
    "GET /v1/models/{model}": 404,
    "POST /v1/completions": 400,
    "POST /v1/embeddings": 404,
}


@pytest.mark.parametrize("name", ORDER)
def test_the_example_of_an_operation_works(name: str, asked: Asked) -> None:
    """As it stands, with what the other examples make; what is made already is there."""
    asked.prepare()
    answer = asked.ask(name)
    expected = NOT_THERE.get(name)
    made = 409 if name.startswith("POST") else None
    assert answer.status_code in (expected, made) or (expected is None and answer.is_success | answer.is_redirect), (
        answer.text
    )


def test_a_signed_delivery_is_taken(asked: Asked) -> None:
    """The signature is over the body, so an example cannot have it."""
    body = json.dumps({"repository": {"id": 1, "full_name": "octo-org/notes"}, "release": {"id": 2}}).encode()
    signature = "sha256=" + hmac.new(b"a-secret-of-the-tests", body, hashlib.sha256).hexdigest()
    headers = {
        "X-Hub-Signature-256": signature,
        "X-GitHub-Delivery": "1",
        "X-GitHub-Event": "release",
        "Content-Type": "application/json",
    }
    answer = asked.client.post("/webhooks/github", content=body, headers=headers)
    assert answer.status_code == 202
    described(answer.json(), "POST /webhooks/github", "202", "application/json")


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/ai/chat", {}),
        ("/v1/chat/completions", {}),
        ("/v1/messages", {"max_tokens": 50}),
        ("/v1/responses", {"input": "Hello!", "messages": None}),
    ],
)
def test_every_event_of_a_stream_is_described(path: str, more: dict[str, Any], asked: Asked) -> None:
    """By name, and by the shape of its data."""
    body = {"messages": [{"role": "user", "content": "Hello!"}], "stream": True, **more}
    answer = asked.client.post(path, json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    frames = [frame.splitlines() for frame in answer.text.split("\n\n") if frame and not frame.startswith(":")]
    assert len(frames) > 1
    kinds = operations()[f"POST {path}"]["responses"]["200"]["content"]["text/event-stream"]["schema"]["anyOf"]
    for lines in frames:
        name = next((line[7:] for line in lines if line.startswith("event: ")), None)
        (data,) = [line[6:] for line in lines if line.startswith("data: ")]
        if data != "[DONE]":
            kind = next(one["properties"] for one in kinds if one["properties"].get("event", UNNAMED)["enum"] == [name])
            conforms(json.loads(data), kind["data"]["contentSchema"])


def described(value: Any, name: str, status: str, media_type: str) -> None:
    """Fail unless an answer fits what is said of it."""
    conforms(value, operations()[name]["responses"][status]["content"][media_type]["schema"])
