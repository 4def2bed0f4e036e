"""Reads a changelog into its entries, however it is written down.

Known are Keep a Changelog, conventional commits, the notes that GitHub makes, lists and paragraphs of people, and the
HTML that some of them come in. Text that fits none of these becomes entries without a kind. All of it takes time in
proportion to the length of the text.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NamedTuple

from gateway.changelog.markup import is_rule, without_markup


class Kind(StrEnum):
    """What an entry or a section is about."""

    BREAKING = "breaking"
    ADDED = "added"
    CHANGED = "changed"
    FIXED = "fixed"
    DEPRECATED = "deprecated"
    REMOVED = "removed"
    SECURITY = "security"
    INTERNAL = "internal"
    OTHER = "other"


class Entry(NamedTuple):
    """One change. `section` is what its heading says, `kind` what it is itself; `is_announced` after `feat!: `."""

    text: str
    kind: Kind
    section: Kind = Kind.OTHER
    is_announced: bool = False


# Headings by their words in lower case; the first row that fits counts. Other languages only where a word is common.
_HEADINGS: Final = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        (Kind.INTERNAL, r"\bcontributors?\b|\bthanks\b|\bdependenc|\binternal|\bchores?\b|\bmaintenance|\bdocument"),
        (Kind.INTERNAL, r"\btests?\b|\bci\b|\bbuild\b|\bunder the hood|\bhousekeeping|\bassets\b|\bchecksums?\b"),
        (Kind.SECURITY, r"\bsecurity|\bvulnerab|\bsicherheit|\bsécurité"),
        (Kind.DEPRECATED, r"\bdeprecat|\bveraltet|\bobsol"),
        (Kind.REMOVED, r"\bremov|\bentfernt|\bsupprimé|\beliminado"),
        (Kind.FIXED, r"\bfix(?:es|ed)?\b|\bbug ?fix|\bbugs?\b|\bbehoben|\bfehler|\bcorre[cg]|\bresolved\b|修正|修复"),
        (
            Kind.ADDED,
            r"\badded|\badditions?\b|\bnew\b|\bfeatures?\b|\bhinzugefügt|\bneu|\bajout|\bnouveau|\bañadido|新機能|新增",
        ),
        (Kind.CHANGED, r"\bchanged\b|\bimprove|\benhance|\bperf|\boptimi|\bpolish|\bgeändert|\bverbesser|\bmodifi"),
    )
)
_BREAKING_HEADING: Final = re.compile(
    r"(?<!non-)(?<!non )(?<!no )(?<!not )\bbreaking(?:[ -](?:api )?changes?\b|\W*$)|\bincompatib(?:le|ilit)"
)
_COMMIT: Final = re.compile(
    r"(?:[0-9a-f]{7,40}:? )?(?P<type>[A-Za-z][a-z]{1,19})(?:\((?P<scope>[^()\n]{0,60})\))?(?P<mark>!)?: (?P<text>.+)",
    re.DOTALL,
)
_COMMIT_KINDS: Final = {
    "feat": Kind.ADDED,
    "feature": Kind.ADDED,
    "fix": Kind.FIXED,
    "bugfix": Kind.FIXED,
    "hotfix": Kind.FIXED,
    "perf": Kind.CHANGED,
    "security": Kind.SECURITY,
    "deprecate": Kind.DEPRECATED,
    "revert": Kind.OTHER,
    **dict.fromkeys(
        ("refactor", "docs", "doc", "style", "test", "tests", "build", "ci", "chore", "deps", "release", "wip"),
        Kind.INTERNAL,
    ),
}
# The label that people write before an entry: "New: ...", "[Fixed] ...", "Bugfix - ...".
_LABEL: Final = re.compile(
    r"\W{0,4}(?P<word>new|add(?:ed)?|feature|fix(?:ed|es)?|bug ?fix|improved?|improvement|changed?|removed?|deprecated|"
    r"security|internal|docs)(?:\]|\)|\*\*)?\s?(?::|\]|\s[-\u2013\u2014])\s*(?P<text>\S.*)",
    re.IGNORECASE | re.DOTALL,
)
# What a line begins with, in all its forms: "add" is also "adds" and "added", "fix" also "fixes".
_VERBS: Final = tuple(
    (kind, re.compile(rf"(?:{words})\b", re.IGNORECASE))
    for kind, words in (
        (Kind.ADDED, r"add(?:s|ed)?|introduc(?:e|es|ed)|implement(?:s|ed)?|new|support(?:s|ed)? for|initial support"),
        (Kind.ADDED, r"you can now|now supports?|now you can|it is now possible"),
        (Kind.FIXED, r"fix(?:es|ed)?|resolv(?:e|es|ed)|correct(?:s|ed)?|repair(?:s|ed)?|prevent(?:s|ed)?"),
        (Kind.FIXED, r"avoid(?:s|ed)?|handle[sd]?|(?:hot|bug)[ -]?fix(?:es)?|bugs?"),
        (Kind.DEPRECATED, r"deprecat(?:e|es|ed)"),
        (Kind.REMOVED, r"remov(?:e|es|ed)|drop(?:s|ped)?|delet(?:e|es|ed)"),
        (Kind.INTERNAL, r"bump(?:s|ed)?|refactor(?:s|ed)?|clean(?:s|ed)? ?up|document(?:s|ed)?"),
        (Kind.CHANGED, r"improv(?:e|es|ed)|updat(?:e|es|ed)|chang(?:e|es|ed)|renam(?:e|es|ed)|mov(?:e|es|ed)"),
        (Kind.CHANGED, r"optimi[sz](?:e|es|ed)|speed|switch(?:es|ed)?|upgrad(?:e|es|ed)"),
    )
)
# Hyphen, asterisk, plus, the bullets of word processors, and dashes.
_BULLET: Final = re.compile(r"\s*(?:[-*+\u2022\u2023\u25e6\u00b7\u2013\u2014]|\d{1,3}[.)])\s+(?P<text>.*)")
_HEADING: Final = re.compile(r"\s{0,3}#{1,6}\s+(?P<text>.*?)[\s#]*")
_BOLD_LINE: Final = re.compile(r"\s*(?:\*\*|__)(?P<text>[^*_\n]{1,60})(?:\*\*|__):?\s*")
_COLON_LINE: Final = re.compile(r"\s*(?P<text>\S[^:\n`]{0,38}):\s*")
_HEADING_WORDS: Final = 6
# "- Breaking changes:" over a list that is indented.
_BULLET_HEADING: Final = re.compile(r"[-*+]\s+(?P<text>[^:\n`]{2,40}):\s*")
_BREAKING_LINE: Final = re.compile(r"\W{0,6}breaking(?: changes?)?\W{0,6}", re.IGNORECASE)
_BARE_HEADING: Final = re.compile(r"\w[\w\u2019'&/ -]{1,38}")
_VERSION: Final = re.compile(r"\W{0,3}(?:version |release )?v?\d{1,6}\.\d{1,6}\S*", re.IGNORECASE)
_FOOTER: Final = re.compile(r"\W{0,6}BREAKING[ -]CHANGES?\b")
_NOT_A_CHANGE: Final = re.compile(
    r"\W*(?:full changelog|compare|signed-off-by|co-authored-by|refs|closes)\b[*]*:"
    r"|.{0,60}made their first contribution",
    re.IGNORECASE,
)
_SPACES: Final = re.compile(r"\s+")


def entries_of(changelog: str) -> list[Entry]:
    """Return the entries of a changelog in their order."""
    found = []
    for section, text in _pieces(without_markup(changelog)):
        entry = _entry(_SPACES.sub(" ", text).strip(), section)
        if entry is not None:
            found.append(entry)
    return found


def heading_kind(heading: str) -> Kind:
    """Return what the entries below a heading are about."""
    words = heading.lower().replace("_", " ")
    if _BREAKING_HEADING.search(words):
        return Kind.BREAKING
    # A heading is short; a sentence that ends in a colon is not one.
    if len(words.split()) > _HEADING_WORDS or _VERSION.fullmatch(words):
        return Kind.OTHER
    return next((kind for kind, pattern in _HEADINGS if pattern.search(words)), Kind.OTHER)


def _pieces(text: str) -> list[tuple[Kind, str]]:
    """Cut the text into entries that may span several lines, each with the kind of its section."""
    pieces: list[tuple[Kind, str]] = []
    section, is_open = Kind.OTHER, False
    lines = text.split("\n")
    for number, line in enumerate(lines):
        heading = None if is_rule(line) else _heading(line, lines[number + 1] if number + 1 < len(lines) else "")
        if heading is not None:
            section, is_open = heading_kind(heading), False
            continue
        if not line.strip() or is_rule(line):
            is_open = is_open and bool(line.strip())
            continue
        bullet = _BULLET.fullmatch(line)
        content = bullet["text"] if bullet else line
        if is_open and bullet is None and _continues(line):
            pieces[-1] = (section, f"{pieces[-1][1]} {line.strip()}")
        else:
            pieces.append((section, content))
        is_open = True
    return pieces


def _heading(line: str, following: str) -> str | None:
    """Return the text of a line that is a heading: by a mark, by what is below it, or since it says nothing else."""
    words = line.strip()
    if not words or _BULLET.fullmatch(line):
        return str(found["text"]) if (found := _BULLET_HEADING.fullmatch(line)) else None
    for pattern in (_HEADING, _BOLD_LINE, _COLON_LINE):
        found = pattern.fullmatch(line)
        if found:
            return str(found["text"])
    is_bare = _BARE_HEADING.fullmatch(words) and _BULLET.fullmatch(following) and not following[:1].isspace()
    return words if is_rule(following) or is_bare or _BREAKING_LINE.fullmatch(words) else None


def _continues(line: str) -> bool:
    """Whether a line without a bullet belongs to the entry before it."""
    words = line.strip()
    if _FOOTER.match(words) or _COMMIT.match(words):
        return False
    return line[:1].isspace() or words[:1].islower()


def _entry(text: str, section: Kind) -> Entry | None:
    if not text or _NOT_A_CHANGE.match(text):
        return None
    commit = _COMMIT.fullmatch(text)
    if commit and (commit["mark"] or commit["type"].lower() in _COMMIT_KINDS):
        kind = _COMMIT_KINDS.get(commit["type"].lower(), Kind.OTHER)
        if commit["scope"] == "deps":
            kind = Kind.INTERNAL
        return Entry(commit["text"], kind, section, bool(commit["mark"]))
    own = _own_kind(text)
    label = _LABEL.fullmatch(text)
    if label:
        own, text = heading_kind(label["word"] if label["word"].lower() != "add" else "added"), label["text"]
        own = Kind.CHANGED if own == Kind.OTHER else own
    says_more = section in (Kind.OTHER, Kind.BREAKING) or (section == Kind.CHANGED and own != Kind.OTHER)
    return Entry(text, own if says_more else section, section)


def _own_kind(text: str) -> Kind:
    start = text.lstrip(" *_`~[](){}>:!-")
    # An emoji and the like before the first word says nothing that the word does not.
    while start and not start[0].isalnum():
        start = start[1:]
    return next((kind for kind, verb in _VERBS if verb.match(start)), Kind.OTHER)
