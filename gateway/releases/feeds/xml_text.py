"""What XML may hold, and bytes of it."""

from __future__ import annotations

import re
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

# XML 1.0, section 2.2, production 2: no escape helps the others.
_FORBIDDEN: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """Return a text without the characters that XML 1.0 forbids."""
    return _FORBIDDEN.sub("", text)


def add(parent: Element, name: str, text: str = "", **attributes: str) -> Element:
    """Add an element with text and attributes; what XML forbids is left out of both."""
    element = SubElement(parent, name, {key: clean(value) for key, value in attributes.items()})
    element.text = clean(text) or None
    return element


def document(root: Element) -> bytes:
    """Return the document in UTF-8."""
    body: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return body
