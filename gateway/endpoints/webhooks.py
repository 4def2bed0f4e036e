"""What GitHub tells of itself: `POST /webhooks/github`. It is a hint only; what counts is what GitHub then answers."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import TYPE_CHECKING, Any, Final

from gateway.context import context_of
from gateway.endpoints.responses import json_response
from gateway.errors import Forbidden, InvalidRequest, Unauthorized
from gateway.json_body import check_media_type, parse_object, read_body
from gateway.state import state_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from gateway.state import GatewayState

_MAX_DELIVERY_CHARS: Final = 100
_MAX_NAME_CHARS: Final = 255
_MAX_ID: Final = 2**62


def always_open(_request: Request, _state: GatewayState) -> bool:
    """Whether a webhook needs no key: GitHub has none, and signs what it sends instead."""
    return True


async def github(request: Request) -> Response:
    """Take in one delivery and answer at once; the work is done later, by one of all processes.

    Raises `Forbidden` without a configured secret, `Unauthorized` for a missing or wrong signature, `InvalidRequest`
    for a body that is none of GitHub's, `StorageUnavailable` when it could not be noted, so that GitHub shows it as
    failed and it can be sent again.
    """
    state = state_of(request)
    secret = state.settings.github.webhook_secret.get_secret_value()
    if not secret:
        raise Forbidden("No secret for webhooks is configured here: set github.webhook_secret")
    body = await read_body(request.receive, state.settings.server.max_body_bytes)
    _check_signature(request, secret, body)
    delivery = request.headers.get("x-github-delivery", "")
    if not (0 < len(delivery) <= _MAX_DELIVERY_CHARS and delivery.isascii() and delivery.isprintable()):
        raise InvalidRequest("X-GitHub-Delivery must be there", param="X-GitHub-Delivery")
    event = request.headers.get("x-github-event", "")
    if event == "ping":
        return json_response({"status": "pong"})
    if event != "release":
        return json_response({"status": "ignored", "reason": "only release events matter here"}, status=202)
    check_media_type(context_of(request.scope).headers)
    repository_id, repository, release = _read(parse_object(body))
    found = await state.github.take_delivery(delivery, repository_id, repository, release, time.time_ns() // 1_000_000)
    if found is None:
        return json_response({"status": "ignored", "reason": "this delivery has come before"}, status=202)
    if found == 0:
        return json_response({"status": "ignored", "reason": "no project follows this repository"}, status=202)
    return json_response({"status": "queued"}, status=202)


def _check_signature(request: Request, secret: str, body: bytes) -> None:
    """Compare in constant time the HMAC-SHA256 of the body as it came. Raises `Unauthorized`.

    GitHub also sends a signature with SHA-1 for old receivers, which proves too little and is not looked at.
    """
    given = request.headers.get("x-hub-signature-256", "")
    if not given:
        raise Unauthorized("The delivery has no X-Hub-Signature-256; give the webhook a secret on GitHub")
    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(given.encode("latin-1", "replace"), expected.encode()):
        raise Unauthorized("The signature of the delivery is wrong: both sides must have the same secret")


def _read(fields: dict[str, Any]) -> tuple[int, str, tuple[int, str] | None]:
    """Return the number and name of the repository, and those of the release."""
    repository, release = fields.get("repository"), fields.get("release")
    if not isinstance(repository, dict) or not isinstance(release, dict):
        raise InvalidRequest("The body is none of a release event", errors=[("release", "is missing")])
    name, tag = repository.get("full_name"), release.get("tag_name")
    repository_id, release_id = _number(repository.get("id")), _number(release.get("id"))
    if not repository_id or not release_id or not isinstance(name, str) or not name.isprintable():
        raise InvalidRequest("The body is none of a release event", errors=[("repository", "has no id and full_name")])
    shown = "".join(char for char in str(tag) if char.isprintable())
    return repository_id, name[:_MAX_NAME_CHARS], (release_id, shown[:_MAX_NAME_CHARS])


def _number(value: Any) -> int:
    """Return one of GitHub's numbers, 0 for what is none."""
    return value if type(value) is int and 0 < value < _MAX_ID else 0
