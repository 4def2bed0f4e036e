"""The `github` object of a project: where its releases are taken over from, as publishers send it and are shown it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import InvalidRequest
from gateway.field_rules import Rule, Schema, Wrong, object_schema, optional, or_null, takes, try_fields
from gateway.releases.asset_overrides import Override, compile_overrides, overrides_schema
from gateway.releases.model import GithubSource
from gateway.releases.tags import CHANNEL_WORDS, tag_pattern

if TYPE_CHECKING:
    from gateway.releases.model import Project

MAX_SETTLE_S: Final = 3600
# GitHub's own rules for the names of owners and repositories.
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38}/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}", re.ASCII)


def try_source(value: Any) -> tuple[GithubSource | None, list[tuple[str, str]]]:
    """Return the source that the field `github` describes, None for null, and the mistakes in it."""
    if value is None:
        return None, []
    if not isinstance(value, dict):
        return None, [("github", "must be an object with a repository, or null")]
    found, errors = try_fields(value, _RULES, required=("repository",), prefix="github.")
    unknown = f"is not a kind of release; there are {', '.join(CHANNEL_WORDS)}"
    errors += [(f"github.channels.{word}", unknown) for word in found.get("channels", ()) if word not in CHANNEL_WORDS]
    try:
        overrides = compile_overrides(found.pop("overrides", []))
    except InvalidRequest as exc:
        listed = exc.details["errors"]
        return None, [*errors, *((f"github.{each['field']}", each["message"]) for each in listed)]
    if errors:
        return None, errors
    channels = tuple(found.pop("channels", {}).items())
    return GithubSource(**found, channels=channels, overrides=tuple(map(_override_text, overrides))), []


def source_schema() -> Schema:
    """Return the JSON Schema of what `try_source` takes."""
    return or_null(object_schema(_RULES, ("repository",)))


def missing_channels(project: Project) -> list[tuple[str, str]]:
    """Return what is wrong with the channels that a project's source names."""
    if project.github is None:
        return []
    return [
        (f"github.channels.{word}", f"there is no channel {channel_id!r}")
        for word, channel_id in project.github.channels
        if project.channel(channel_id) is None
    ]


def source_view(source: GithubSource | None) -> dict[str, Any] | None:
    """Return a source with the fields that `try_source` takes; None for None."""
    if source is None:
        return None
    return {
        "repository": source.repository,
        "tag_pattern": source.tag_pattern,
        "channels": dict(source.channels),
        "overrides": [json.loads(override) for override in source.overrides],
        "settle_s": source.settle_s,
    }


def _override_text(override: Override) -> str:
    """Return an override as canonical JSON: its fields that say something, sorted."""
    values = {
        "pattern": override.pattern.pattern,
        "platform": override.platform,
        "architecture": override.architecture,
        "skip": override.skip,
    }
    told = {name: value for name, value in values.items() if value}
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@takes(type="string", pattern="^[A-Za-z0-9-]{1,39}/[A-Za-z0-9._-]{1,100}$", examples=["octo-org/notes"])
def _repository(value: Any) -> str:
    if not isinstance(value, str) or not _REPOSITORY.fullmatch(value):
        raise Wrong("must be the owner and the name of a repository on GitHub, such as octo-org/notes")
    return value


@takes(
    type="object",
    propertyNames={"enum": list(CHANNEL_WORDS)},
    additionalProperties={"type": "string"},
    examples=[{"beta": "beta"}],
)
def _channels(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise Wrong("must be an object with the id of a channel for each kind of release")
    return value


@takes(**overrides_schema())
def _overrides(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Wrong("must be a list of objects")
    return value


@takes(type="number", minimum=0, maximum=MAX_SETTLE_S)
def _settle_s(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value <= MAX_SETTLE_S:
        raise Wrong(f"must be a number of seconds from 0 to {MAX_SETTLE_S}")
    return float(value)


_RULES: Final[dict[str, Rule]] = {
    "repository": _repository,
    "tag_pattern": optional(tag_pattern),
    "channels": _channels,
    "overrides": _overrides,
    "settle_s": _settle_s,
}
