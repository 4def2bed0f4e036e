"""One or two sentences from the entries of a changelog."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gateway.changelog.entries import Entry, Kind
from gateway.changelog.markers import without_label

if TYPE_CHECKING:
    from collections.abc import Sequence

NOTHING: Final = "The changelog lists no changes."
_MOST_TOLD: Final = 4
_MOST_BREAKS: Final = 3
_PHRASE_CHARS: Final = 120
# What matters to a reader first.
_ORDER: Final = (Kind.SECURITY, Kind.ADDED, Kind.FIXED, Kind.REMOVED, Kind.CHANGED, Kind.DEPRECATED, Kind.OTHER)
# Verbs that entries begin with, in their base form. None of them is a noun as often.
_BASES: Final = (
    "accept", "add", "align", "allow", "avoid", "bump", "change", "clear", "convert", "correct", "create", "delete",
    "deprecate", "detect", "disable", "drop", "enable", "ensure", "expose", "extend", "fix", "handle", "hide",
    "ignore", "implement", "improve", "include", "increase", "introduce", "keep", "make", "merge", "move", "optimise",
    "optimize", "prevent", "recognise", "recognize", "reduce", "remove", "rename", "render", "repair", "replace",
    "resolve", "respect", "restore", "return", "show", "simplify", "skip", "split", "stop", "support", "switch",
    "update", "upgrade", "use", "validate",
)  # fmt: skip
_IRREGULAR: Final = {"kept": "keep", "made": "make", "hid": "hide", "hidden": "hide", "shown": "show"}
_BY_KIND: Final = {
    Kind.SECURITY: "fixes",
    Kind.ADDED: "adds",
    Kind.FIXED: "fixes",
    Kind.REMOVED: "removes",
    Kind.DEPRECATED: "deprecates",
}
# A whole clause cannot follow "adds" or "fixes".
_CLAUSE: Final = re.compile(
    r"\b(?:no longer|now|is|are|was|were|can|could|will|would|does|did|has|have|had|should|must|didn't|doesn't)\b",
    re.IGNORECASE,
)
_DECORATION: Final = re.compile(r"[*`~]|(?<!\w)_|_(?!\w)")
_AFTER_NOUNS: Final = frozenset({"for", "to", "in", "of", "with", "is", "are", "from", "on"})
_END: Final = re.compile(r"(?<=\w[.!?])\s+(?=[A-Z])")


def _forms() -> dict[str, str]:
    """Return the third person of each verb by every form that an entry may begin with."""
    forms: dict[str, str] = {}
    for base in _BASES:
        stem = base[:-1] if base[-1] in "ey" else base
        third = f"{stem}ies" if base.endswith("y") else f"{base}{'es' if base.endswith(('x', 'sh', 'ch')) else 's'}"
        past = f"{stem}ied" if base.endswith("y") else f"{stem}ed"
        forms |= dict.fromkeys((base, third, past, f"{base}{base[-1]}ed"), third)
    return forms | {form: forms[base] for form, base in _IRREGULAR.items()}


_THIRD_PERSON: Final = _forms()


def summary_of(others: Sequence[Entry], breaks: Sequence[Entry]) -> str:
    """Return what changes in a sentence, and what breaks in a second one."""
    others = [entry for entry in others if _shown(entry)]
    told = sorted((each for each in others if each.kind != Kind.INTERNAL), key=lambda each: _ORDER.index(each.kind))
    if not told and others:
        told = others
    sentences = [_changes(told)] if told else []
    if breaks:
        sentences.append(breaks_told(breaks))
    return " ".join(sentences) or NOTHING


def breaks_told(breaks: Sequence[Entry]) -> str:
    """Return the sentence about what breaks."""
    return _list_of("Breaking: ", breaks, _MOST_BREAKS)


def _changes(told: Sequence[Entry]) -> str:
    phrases = [phrase for phrase in map(_phrase, told) if phrase is not None]
    if len(phrases) < min(len(told), _MOST_TOLD):
        return _list_of("Changes: ", told, _MOST_TOLD)
    shown = phrases[:_MOST_TOLD]
    more = len(told) - len(shown)
    if more:
        shown.append(f"makes {more} more {'change' if more == 1 else 'changes'}")
    return f"This update {_and(shown)}."


def _list_of(lead: str, entries: Sequence[Entry], most: int) -> str:
    more = len(entries) - most
    listed = "; ".join(filter(None, map(_shown, entries[:most]))) or "see the changelog"
    return f"{lead}{listed}{f'; and {more} more' if more > 0 else ''}."


def _phrase(entry: Entry) -> str | None:
    """Return an entry as what follows "This update"; None for one that cannot be said so."""
    text = _shown(entry)
    first, _, rest = text.partition(" ")
    verb = _THIRD_PERSON.get(first.lower())
    # Behind "Support for" or "Updates to" it is a noun.
    if verb is not None and rest and rest.split(" ", 1)[0].lower() not in _AFTER_NOUNS:
        return f"{verb} {rest}"
    lead = _BY_KIND.get(entry.kind)
    if lead is None or _CLAUSE.search(text):
        return None
    return f"{lead} {_lower(rest if first.lower() == 'new' and rest else text)}"


def _lower(text: str) -> str:
    """Return the text with a small first letter, unless its first word is a name or an abbreviation."""
    first = text.split(" ", 1)[0]
    return text if any(sign.isupper() or sign.isdigit() for sign in first[1:]) else text[:1].lower() + text[1:]


def _and(phrases: list[str]) -> str:
    if len(phrases) == 1:
        return phrases[0]
    comma = "," if len(phrases) > 2 else ""
    return f"{', '.join(phrases[:-1])}{comma} and {phrases[-1]}"


def _shown(entry: Entry) -> str:
    """Return the first sentence of an entry, without marks of Markdown, not longer than a line."""
    text = _DECORATION.sub("", without_label(entry.text)).strip()
    text = _END.split(text, maxsplit=1)[0].strip(" .;,:-!\u2013\u2014")
    if len(text) <= _PHRASE_CHARS:
        return text
    return text[:_PHRASE_CHARS].rsplit(" ", 1)[0].rstrip(" ,;:") + " …"
