"""Which entries of a changelog say that something breaks.

There are two sorts. A *declared* break is one that the author has marked: `BREAKING CHANGE`, `Breaking: ...`, an entry
below such a heading, `feat!: ...`, or the end of support for something. No model may overrule these. A *likely* break
is what breaks by experience (a higher minimum, something removed or renamed that others call by its name) and counts
only where no model has read the text.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from gateway.changelog.entries import Entry, Kind

_INLINE_CODE: Final = re.compile(r"`[^`\n]{1,200}`")


def _any(*patterns: str) -> re.Pattern[str]:
    """Return the pattern of any one of these, in small or capital letters."""
    return re.compile("|".join(patterns), re.IGNORECASE | re.DOTALL)


# What people write below or behind a heading that is there in every release.
_NONE: Final = _any(
    r"\W*(?:none(?! of\b)|nothing|nil|n/?a\b|not applicable|not? (?:known )?breaking)",
    r"\W*no (?:\w{1,30} )?(?:changes?|breaks?)\b",
    r"\W*(?:there (?:are|were) no(?:ne)?\b|keine\b|aucune?\b|0$|-+$)",
)
_SHOUTED: Final = re.compile(r"(?<![Nn][Oo] )(?<!NON[ -])\bBREAKING[ -]CHANGES?\b(?P<rest>.{0,40})", re.DOTALL)
_DASHES: Final = "\u2013\u2014-"
_LABELLED: Final = _any(
    r"[^\w\n]{0,12}(?:potentially |api |minor )?"
    r"(?:breaking(?:[ -](?:api )?changes?)?|(?:backwards?[ -])?incompatible(?: changes?)?)[^\w\n:]{0,4}"
    rf"(?:(?::|\]|\)| [{_DASHES}])\W{{0,4}}(?P<rest>.*)|$)"
)
# A label behind its entry: "Removed the v1 API (breaking)", "... [BREAKING]", "... **BREAKING**".
_TRAILING: Final = _any(r"(?:\(|\[|\*\*)\s?(?:this is (?:a )?)?breaking(?: change)?\s?!?(?:\)|\]|\*\*)")
_SENTENCE: Final = _any(r"\b(?:this is|is|are|as) (?:a |an )?(?!no |not )(?:\w{1,30} )?breaking (?:api )?change")
_DENIED: Final = _any(r"\b(?:not|never|n't|no longer|without)\b[^.]{0,20}breaking")

# The end of support. Between verb and noun stand at most a few words of the same clause; a dot inside 14.2 is no end.
_CLAUSE: Final = r"(?:[^.,;:!?\n]|\.(?=\w)){0,80}?"
_GONE: Final = r"(?:has been|have been|was|were|is|are) (?:now )?(?:removed|dropped|discontinued|gone)\b"
_HELPDESK: Final = r"(?! (?:ticket|page|link|button|file|script|code|article|request|form|e-?mail|chat))"
_SUPPORT_ENDS: Final = (
    _any(rf"(?<![\w-])(?:remove[sd]?|drop(?:s|ped)?|discontinue[sd]?|end(?:s|ed))\b{_CLAUSE}\bsupport\b{_HELPDESK}"),
    _any(rf"^\W{{0,10}}(?:remov|dropp)ing\b{_CLAUSE}\bsupport\b{_HELPDESK}"),
    _any(rf"\bsupport (?:for|of)\b{_CLAUSE}\b{_GONE}"),
    _any(r"\b(?:is|are) no longer supported\b", r"\bno longer supports?\b", r"\bnot supported any ?more\b"),
    _any(r"\bnicht mehr unterstützt\b", r"\bplus prise?s? en charge\b", r"\bya no (?:es|son) compatibles?\b"),
)
# A sentence about a fault, about what is still to come, or about what is there again, ends no support.
_NOT_NOW: Final = _any(
    r"\b(?:will be|to be|planned|scheduled|in a future|in the next|next major|soon|until)\b",
)
_FAULT: Final = _any(
    r"\b(?:when|while|where|after|if|whether|that|which|bug|crash(?:es|ed)?|error|warning|message|regression)\b",
)
_RESTORED: Final = _any(r"\b(?:restor|re-?add|bring|brought|revert|reinstat|accidental|mistaken)\w*\b")

# What others call by its name, so that they notice when it is gone or is called something else.
_INTERFACE: Final = (
    r"(?:`|\b(?:apis?|options?|flags?|setting|param(?:eter)?s?|arguments?|methods?|functions?|class(?:es)?|endpoints?"
    r"|fields?|commands?|packages?|modules?|propert(?:y|ies)|variables?|hooks?|events?|headers?|columns?|keys?|props?"
    r"|exports?|routes?|plugins?|interfaces?|binar(?:y|ies)|formats?|alias(?:es)?|helpers?|constructors?|types?)\b)"
)
_HARMLESS: Final = _any(
    r"\b(?:unused|unnecessary|unneeded|obsolete|redundant|superfluous|dead|duplicated?|leftover|debug|internal|private)\b",
    r"\b(?:stale|extra|trailing|imports?|whitespace|logging|log line|warnings?|typos?|animation|tests?|experimental)\b",
    r"\b(?:limit(?:ation)?|restriction|flicker|delay|dependency on|dependencies)\b",
)
_PLATFORM: Final = r"(?:\d|node|java|python|php|windows|macos|ios|android|linux|\.net|at least)"
_RUNTIME: Final = (
    r"(?:node(?:\.?js)?|python|php|ruby|perl|java|jdk|go|rust|\.net|django|rails|windows|macos|os x|ios|android|ubuntu"
    r"|debian|fedora|electron|internet explorer|ie|safari|chrome|firefox|postgres(?:ql)?|mysql|glibc)"
)
_NEWER: Final = r"\b(?:or|and) (?:newer|later|higher|above|up)\b"
_USERS: Final = r"\b(?:you|users|clients|callers|plugins|extensions|projects|themes|everyone)\b"
_WORK: Final = (
    r"(?:updat|upgrad|migrat|chang|renam|re-?index|re-?install|re-?export|re-?buil|adapt|re-?compil|convert|re-?creat|pass"
    r"|call|use)"
)
_CONTRACT: Final = (
    r"(?:signature|return (?:type|value)|default port|(?:file|config(?:uration)?|wire|database) format)s?"
)
_LIKELY: Final = (
    _any(r"\b(?:backwards?[ -])?incompatible (?:with|change|api|format)", r"\bnot backwards?[ -]compatible\b"),
    _any(rf"\b(?:now|(?:this|the) (?:version|release|update)|it) (?:also )?requires? (?=.{{0,30}}{_PLATFORM})"),
    _any(r"^\W{0,10}requires? (?=.{0,40}\d)"),
    _any(r"\b(?:minimum|minimal|lowest)\b.{0,40}\b(?:now|(?:raised|bumped|increased|changed|updated) to)\b"),
    _any(rf"\d[\w.+]{{0,10}} {_NEWER}.{{0,20}}\b(?:is|are) (?:now )?(?:required|needed)\b"),
    _any(rf"^\W{{0,10}}(?:drop|remove)\w{{0,3}} {_RUNTIME}\b.{{0,20}}\d"),
    _any(r"\b(?:older|old|previous|earlier|1\.x|2\.x|3\.x)\b.{0,60}\b(?:cannot|can't|can no longer|will not|won't)\b"),
    _any(rf"^\W{{0,10}}renam\w{{1,3}}\b(?=.{{0,200}}{_INTERFACE})(?=.{{0,200}} (?:to|into|as|->|=>|→) )"),
    _any(r"^\W{0,10}mov\w{1,3}\b.{0,20}`.{0,100}(?:to|into|under|->|=>|→) .{0,20}`"),
    _any(rf"{_INTERFACE}.{{0,60}}\b(?:was|were|has been|have been|is now|are now) renamed\b"),
    _any(rf"^\W{{0,10}}(?:remove|delete|drop)\w{{0,3}} (?=.{{0,80}}{_INTERFACE})", rf"{_INTERFACE}.{{0,60}}\b{_GONE}"),
    _any(r"\bno longer (?:works?|available|accepts?|accepted|returns?|runs?|exports?|exported|compatible|includes?)\b"),
    _any(rf"{_USERS}.{{0,20}}\b(?:must|need to|needs to|have to|has to) (?:now )?(?:be )?(?:\w{{1,20}}ly )?{_WORK}"),
    _any(rf"\b{_CONTRACT}\b.{{0,50}}\bchang(?:ed|es)\b", rf"^\W{{0,10}}chang(?:e|ed|es) the {_CONTRACT}\b"),
)
# These are no house-keeping, whatever the commit calls them.
_MINIMUM: Final = _any(r"\b(?:rais|bump|increas)\w{1,4} (?:the )?(?:minimum|minimal|required)\b", r"\bMSRV\b.{0,30}\d")
_NEVER_LIKELY: Final = frozenset({Kind.FIXED, Kind.INTERNAL, Kind.DEPRECATED, Kind.ADDED, Kind.SECURITY})


class Break(StrEnum):
    """How sure it is that an entry breaks something."""

    NONE = "none"
    LIKELY = "likely"
    DECLARED = "declared"


def break_of(entry: Entry) -> Break:
    """Return whether an entry breaks something."""
    if _is_declared(entry):
        return Break.DECLARED
    return Break.LIKELY if _is_likely(entry) else Break.NONE


def without_label(text: str) -> str:
    """Return the text of an entry without the words that mark it as breaking."""
    labelled = _LABELLED.fullmatch(text)
    if labelled and labelled["rest"]:
        return labelled["rest"]
    return _TRAILING.sub("", text).strip()


def _is_declared(entry: Entry) -> bool:
    if entry.is_announced:
        return True
    if entry.section == Kind.BREAKING:
        return not _NONE.match(entry.text)
    text = _INLINE_CODE.sub("``", entry.text)
    return _is_labelled(text) or _ends_support(text, entry.kind)


def _is_labelled(text: str) -> bool:
    if "breaking" not in text.lower() and "incompatible" not in text.lower():
        return False
    labelled = _LABELLED.fullmatch(text)
    if labelled:
        return bool(labelled["rest"]) and not _NONE.match(labelled["rest"])
    if _TRAILING.search(text):
        return True
    if _DENIED.search(text):
        return False
    shouted = _SHOUTED.search(text)
    if shouted and shouted["rest"].lstrip(" *_")[:1] in (":", "#"):
        return not _NONE.match(shouted["rest"].lstrip(" *_:#"))
    return bool(shouted or _SENTENCE.search(text)) and not _RESTORED.search(text)


def _ends_support(text: str, kind: Kind) -> bool:
    for pattern in _SUPPORT_ENDS:
        found = pattern.search(text)
        if found is None:
            continue
        before = text[: found.start()]
        is_excused = _NOT_NOW.search(text) or _RESTORED.search(before) or (kind == Kind.FIXED and _FAULT.search(text))
        if not is_excused and not _HARMLESS.search(found[0]):
            return True
    return False


def _is_likely(entry: Entry) -> bool:
    if _NOT_NOW.search(entry.text) or _NONE.match(entry.text) or _HARMLESS.search(entry.text):
        return False
    if _MINIMUM.search(entry.text):
        return True
    if entry.kind in _NEVER_LIKELY:
        return False
    return entry.section == Kind.REMOVED or any(pattern.search(entry.text) for pattern in _LIKELY)
