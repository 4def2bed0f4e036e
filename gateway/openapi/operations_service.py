"""The operations by which the gateway tells of itself, and the one that GitHub calls."""

from __future__ import annotations

from typing import Final

from gateway.errors import Forbidden, NotFound, ShuttingDown, StorageUnavailable, Unauthorized
from gateway.openapi.answers_service import Delivery, Health, Index, Live, Pong, Ready
from gateway.openapi.headers import KEPT
from gateway.openapi.model import Answer, Body, Operation, header

_DOCUMENT: Final = {"type": "object", "properties": {"openapi": {"type": "string"}}, "required": ["openapi"]}
_DOCUMENT_HEADERS: Final = ("ETag", "Cache-Control")
_TEXT: Final = {"type": "string"}


def _file(description: str, media_type: str, example: str) -> Answer:
    return Answer(200, description, _TEXT, media_type, KEPT, example)


OPERATIONS: Final[dict[str, Operation]] = {
    "GET /": Operation("Service", (Answer(200, "Name, version and addresses.", Index),)),
    "GET /health": Operation("Service", (Answer(200, "It runs.", Health),)),
    "GET /health/live": Operation("Service", (Answer(200, "It runs.", Live),)),
    "GET /health/ready": Operation(
        "Service", (Answer(200, "Traffic may come.", Ready),), errors=(ShuttingDown, StorageUnavailable)
    ),
    "GET /metrics": Operation(
        "Service",
        (Answer(200, "Every metric.", _TEXT, "text/plain", example="lunarbit_ready 1\n"),),
        description="Takes the scrape token, or a key; in development, without a token, it is open.",
    ),
    "GET /openapi.json": Operation(
        "Service",
        (
            Answer(200, "This document.", _DOCUMENT, headers=_DOCUMENT_HEADERS, example={"openapi": "3.1.0"}),
            Answer(304, "It has not changed.", headers=_DOCUMENT_HEADERS),
        ),
    ),
    "GET /openapi.yaml": Operation(
        "Service",
        (
            Answer(200, "This document.", _DOCUMENT, "application/yaml", _DOCUMENT_HEADERS, {"openapi": "3.1.0"}),
            Answer(304, "It has not changed.", headers=_DOCUMENT_HEADERS),
        ),
    ),
    "GET /docs": Operation(
        "Service",
        (
            _file("The page.", "text/html", "<!doctype html>"),
            Answer(304, "It has not changed.", headers=KEPT),
        ),
    ),
    "GET /docs/{asset}": Operation(
        "Service",
        (
            _file("The file.", "text/css", "body { margin: 0; }"),
            _file("", "text/javascript", "export {};"),
            _file("", "image/svg+xml", '<svg xmlns="http://www.w3.org/2000/svg"/>'),
            _file("", "text/plain", "The licence."),
            _file("", "text/html", "<!doctype html>"),
            Answer(304, "It has not changed.", headers=KEPT),
        ),
        errors=(NotFound,),
    ),
    "POST /webhooks/github": Operation(
        "Service",
        (
            Answer(200, "The answer to GitHub's test.", Pong),
            Answer(202, "What will come of it.", Delivery),
        ),
        parameters=(
            header("X-Hub-Signature-256", "HMAC-SHA-256 of the body by the webhook's secret.", _TEXT),
            header("X-GitHub-Delivery", "The number of the delivery.", _TEXT),
            header("X-GitHub-Event", "What happened.", _TEXT, example="release"),
        ),
        body=Body("GithubDelivery", {"repository": {"id": 1, "full_name": "octo-org/notes"}, "release": {"id": 2}}),
        errors=(Unauthorized, Forbidden, StorageUnavailable),
        description="Only events of releases matter; without a configured secret every delivery is refused.",
    ),
}
