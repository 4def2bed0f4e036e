"""What troubleshooting.md quotes is what the gateway says: messages, codes, settings, metrics, words of the log."""

from __future__ import annotations

import re
from functools import cache

import pytest

from tests.architecture.installation import REPOSITORY

PAGE = REPOSITORY / "docs" / "troubleshooting.md"
# Words of other programs: proxies, browsers, shells.
OTHERS = {
    "address already in use",
    "proxy_buffering off",
    "proxy_read_timeout 600s",
    "flush_interval -1",
    "gzip",
    "encode",
}
OTHERS |= {
    "reverse_proxy",
    "X-Accel-Buffering: no",
    "Access-Control-Allow-Origin",
    "Failed to fetch",
    "EventSource",
    "ANTHROPIC_API_KEY",
}
_FENCES = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_QUOTED = re.compile(r"`\"([^`]+)\"`")
# A name that only its own program has: with an underscore, or with capitals inside.
_NAME = re.compile(r"[A-Za-z]\w*_\w+|[A-Z][a-z]+(?:[A-Z][a-z]+)+|[a-z]+[A-Z]\w+")


def spans() -> list[str]:
    """Return what the page sets as code within its sentences and tables."""
    prose = _FENCES.sub("", PAGE.read_text(encoding="utf-8"))
    return sorted({span for span in _SPAN.findall(prose) if span not in OTHERS})


@cache
def sources() -> str:
    """Return all code that is installed, with texts that are written in several pieces put together."""
    files = [path for package in ("gateway", "providers", "routing") for path in (REPOSITORY / package).rglob("*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return re.sub(r'"\s*\n\s*f?"', "", text)


MESSAGES = [span.strip('"') for span in spans() if _QUOTED.fullmatch(f"`{span}`")]
NAMES = sorted({name for span in spans() if '"' not in span for name in _NAME.findall(span)})


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_is_the_gateways_own(message: str) -> None:
    """Somebody looks for the words that they have on their screen."""
    assert message in sources()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_exists(name: str) -> None:
    """A setting, metric, field or word of the log that was renamed would lead nowhere."""
    configuration = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")
    # Metrics for counters are named in the code without their ending.
    assert name in configuration or name.removesuffix("_total") in sources()
