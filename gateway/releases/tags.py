"""From a release's tag to its version, and from the version to the channel that it belongs in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.field_rules import Wrong, takes
from gateway.releases.asset_words import words_of
from gateway.releases.versions import InvalidVersion, parse_version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_TAG_CHARS: Final = 255
PLACE: Final = "{version}"
# The channels of a product that has set nothing. `stable` is for versions without a pre-release, and `prerelease` for
# those whose pre-release says none of the other words, or that are only flagged as one.
DEFAULT_CHANNELS: Final[Mapping[str, str]] = {
    "stable": "stable",
    "prerelease": "beta",
    "rc": "beta",
    "beta": "beta",
    "alpha": "dev",
    "dev": "dev",
    "nightly": "dev",
}
# The least stable first. A word that a project has added to its channels counts as the least stable of all.
_LEAST_STABLE_FIRST = ("nightly", "canary", "snapshot", "edge", "dev", "alpha", "beta", "preview", "pre", "rc")
# What a project may say a channel for.
CHANNEL_WORDS: Final = tuple(dict.fromkeys((*DEFAULT_CHANNELS, *_LEAST_STABLE_FIRST)))
_NOT_WORDS = frozenset({"stable", "prerelease"})
_START = re.compile(r"(?:^|(?<=[-_/@]))[vV]?(?=[0-9])")
_NAME = re.compile(r"(?!v?[0-9])[@A-Za-z][\w./@-]*[-_/@]|", re.ASCII)
_NOT_NAMES = frozenset({"v", "ver", "version", "rel", "release", "releases", "tag"})


class TagReading(NamedTuple):
    """The version that a tag names, or None and the reason."""

    version: str | None
    reason: str = ""


def version_of_tag(tag: str, pattern: str | None = None, *, project: str | Sequence[str] = ()) -> str | None:
    """Return the SemVer 2.0 version of `tag`, or None; `read_tag` also says why."""
    return read_tag(tag, pattern, project=project).version


def read_tag(tag: str, pattern: str | None = None, *, project: str | Sequence[str] = ()) -> TagReading:
    """Return the SemVer 2.0 version that `tag` names, without a leading v.

    `pattern` is the project's own, such as `app-v{version}`, and then nothing else counts. Without one, v1.2.3,
    release-1.2.3, app-v1.2.3, app/v1.2.3 and @scope/app@1.2.3 are read. `project` is the project's name, or several;
    when it is given, a name in the tag has to be one of these, since the tags of a monorepo's other packages are no
    versions of this one.
    """
    if len(tag) > MAX_TAG_CHARS:
        return TagReading(None, f"the tag is longer than {MAX_TAG_CHARS} characters")
    if pattern is not None:
        return _by_pattern(tag, pattern)
    for start in _START.finditer(tag):
        try:
            version = str(parse_version(tag[start.end() :]))
        except InvalidVersion:
            continue
        return _of_project(tag[: start.start()], version, (project,) if isinstance(project, str) else project)
    return TagReading(None, f"{tag!r} ends in no version of SemVer 2.0 such as 1.2.3")


@takes(type="string", maxLength=MAX_TAG_CHARS, pattern=r"^[^{}]*\{version\}[^{}]*$", examples=["app-v{version}"])
def tag_pattern(value: Any) -> str:
    """Take a project's tag pattern: plain text with `{version}` in it once. Raises `Wrong`."""
    ok = isinstance(value, str) and len(value) <= MAX_TAG_CHARS and value.isprintable() and value.count(PLACE) == 1
    if not ok or set("{}") & set(value.replace(PLACE, "")):
        raise Wrong(f"must be a text with {PLACE} in it once, such as app-v{PLACE}")
    return str(value)


def channel_of(version: str, *, prerelease_flag: bool, mapping: Mapping[str, str] = DEFAULT_CHANNELS) -> str:
    """Return the channel of a version. `mapping` says what differs from `DEFAULT_CHANNELS`.

    Where the version and the flag of the release disagree, the less stable of both counts. Of several words in a
    pre-release the least stable counts. Raises `InvalidVersion`.
    """
    channels = {**DEFAULT_CHANNELS, **mapping}
    key = parse_version(version)
    if not key.is_prerelease:
        return channels["prerelease" if prerelease_flag else "stable"]
    identifiers = str(key).partition("+")[0].partition("-")[2].lower()
    known = [word for word in re.findall(r"[a-z]+", identifiers) if word in channels.keys() - _NOT_WORDS]
    channel = channels[min(known, key=_stability, default="prerelease")]
    return channels["prerelease"] if prerelease_flag and channel == channels["stable"] else channel


def _stability(word: str) -> int:
    return _LEAST_STABLE_FIRST.index(word) if word in _LEAST_STABLE_FIRST else -1


def _by_pattern(tag: str, pattern: str) -> TagReading:
    before, _, behind = pattern.partition(PLACE)
    between = tag[len(before) : len(tag) - len(behind)]
    if not (tag.startswith(before) and tag.endswith(behind) and between):
        return TagReading(None, f"{tag!r} does not fit the pattern {pattern!r}")
    try:
        return TagReading(str(parse_version(between)))
    except InvalidVersion:
        return TagReading(None, f"{between!r} is not a version of SemVer 2.0")


def _of_project(before: str, version: str, projects: Sequence[str]) -> TagReading:
    """Return `version` if what stands before it in the tag is no name, or one of the project's."""
    if not _NAME.fullmatch(before):
        return TagReading(None, f"{before!r} before the version is no name")
    name = [word for word in words_of(before) if word not in _NOT_NAMES]
    spellings = {"".join(name), "".join(words_of(before.rstrip("-_/@").rpartition("/")[2]))}
    if name and projects and not spellings & {"".join(words_of(project)) for project in projects}:
        return TagReading(None, f"the tag is one of {before.rstrip('-_/@')!r} and not of this project")
    return TagReading(version)
