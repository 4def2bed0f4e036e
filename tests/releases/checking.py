"""What tests of the verification share: a good file, what is declared of it, and checks that hold for every outcome."""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from gateway.releases.addresses import AddressRules, Lookup
from gateway.releases.model import Architecture, BuildState, Platform
from gateway.releases.outcome import Outcome, Reason
from gateway.releases.outgoing import Limits
from gateway.releases.verify import Expectation, Verifier
from tests.releases import binaries
from tests.releases.fileserver import FileServer

GOOD: Final = binaries.elf(binaries.ELF_X64) + bytes(range(256)) * 1000
LOOPBACK: Final = ["127.0.0.0/8", "::1"]
# No sentence may hold an address, a path, a name of the code, or anything else that is longer than a word.
_LEAKS: Final = re.compile(r"[0-9]+\.[0-9]+\.|::|/|\\|_|[A-Z][a-z]+[A-Z]|localhost|example|https?:|Error|\S{16}")
_SENTENCE: Final = re.compile(r"[A-Z].*\.")


async def loopback(host: str, port: int) -> Sequence[str]:
    """Stand in for the name servers: every name leads to this machine."""
    return ["127.0.0.1"]


@asynccontextmanager
async def verifier(
    limits: Limits | None = None,
    *,
    allow: Sequence[str] = LOOPBACK,
    tls: ssl.SSLContext | None = None,
    lookup: Lookup = loopback,
) -> AsyncIterator[Verifier]:
    """Lend a verifier that may reach this machine."""
    made = Verifier(AddressRules(allow), limits=limits, ssl_context=tls, lookup=lookup)
    try:
        yield made
    finally:
        made.close()


def declared(content: bytes, url: str, **other: Any) -> Expectation:
    """Return the right declaration of a Linux program for x64, but for `other`."""
    right = Expectation(
        url=url,
        size=len(content),
        platform=Platform.LINUX,
        architecture=Architecture.X64,
        sha256=hashlib.sha256(content).hexdigest(),
    )
    return replace(right, **other)


def assert_good(outcome: Outcome, content: bytes) -> None:
    """Check that an outcome praises a file and knows it."""
    assert outcome.state is BuildState.VERIFIED, outcome
    assert (outcome.reason, outcome.message, outcome.status) == (None, "", 200)
    assert outcome.size == len(content)
    assert outcome.digests is not None
    for name in ("sha256", "sha512", "sha1", "md5"):
        assert getattr(outcome.digests, name) == hashlib.new(name, content).hexdigest()


def assert_bad(outcome: Outcome, reason: Reason) -> None:
    """Check that an outcome has this reason, the state that belongs to it, and a sentence that gives nothing away."""
    assert outcome.reason is reason, outcome
    assert outcome.state is reason.state
    assert outcome.state in {BuildState.FAILED, BuildState.UNREACHABLE, BuildState.PENDING}
    assert _SENTENCE.fullmatch(outcome.message)
    assert not _LEAKS.search(outcome.message.replace("SHA-", "sha-")), outcome.message


async def check(server: FileServer, expected: Expectation, limits: Limits | None = None) -> Outcome:
    """Verify a build and see that nothing of it stays open."""
    async with verifier(limits) as one, asyncio.timeout(60):
        outcome = await one.verify(expected)
    await server.all_closed()
    return outcome
