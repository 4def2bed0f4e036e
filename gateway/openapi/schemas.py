"""The schemas of what goes in, from the rules that read it, and of what comes out, from the types of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.auth import key_fields
from gateway.dialects import anthropic, lunarbit, openai, openai_responses, openai_texts
from gateway.endpoints import changelog
from gateway.field_rules import object_schema
from gateway.openapi import failures
from gateway.releases import batch, fields
from gateway.releases.service import YANK_RULES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.field_rules import Schema

REFERENCE: Final = "#/components/schemas/{name}"
# The whole of what GitHub sends is for GitHub to describe.
_DELIVERY: Final = {"type": "object", "description": "What GitHub sends: https://docs.github.com/webhooks"}


def request_schemas() -> dict[str, Schema]:
    """Return the schemas of all bodies, by name."""
    return {
        **key_fields.body_schemas(),
        **fields.body_schemas(),
        "Withdrawing": object_schema(YANK_RULES),
        "InstalledList": batch.batch_schema(),
        "ChangelogRequest": changelog.request_schema(),
        "ChatRequest": lunarbit.request_schema(),
        "CompletionRequest": openai.REQUEST_SCHEMA,
        "ResponseRequest": openai_responses.REQUEST_SCHEMA,
        "TextCompletionRequest": openai_texts.TEXT_SCHEMA,
        "EmbeddingsRequest": openai_texts.EMBEDDINGS_SCHEMA,
        **anthropic.REQUEST_SCHEMAS,
        "GithubDelivery": _DELIVERY,
    }


def components(types: Iterable[Any]) -> tuple[dict[int, Schema], dict[str, Schema]]:
    """Return the schema of each of these types, by its `id`, and all named schemas of the document."""
    listed = list(types)
    own, named = msgspec.json.schema_components(listed, ref_template=REFERENCE)
    for schema in named.values():
        del schema["title"]
        if "enum" in schema:
            schema["type"] = "string"
    requests, errors = request_schemas(), failures.schemas()
    twice = (named.keys() & requests.keys()) | (named.keys() & errors.keys()) | (requests.keys() & errors.keys())
    if twice:
        raise LookupError(f"Two schemas have the same name: {', '.join(sorted(twice))}")
    by_type = {id(each): schema for each, schema in zip(listed, own, strict=True)}
    return by_type, dict(sorted({**named, **requests, **errors}.items()))
