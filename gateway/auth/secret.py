"""The secret of a key: `lbapi_`, 40 random base62 characters, and 6 of a checksum; and what is stored of it.

The checksum tells a mistyped key without a look-up, and lets scanners of leaked secrets be sure of what they found.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
import zlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = "lbapi_"
SHOWN_CHARS = 10
_RANDOM_CHARS = 40
_CHECKSUM_CHARS = 6
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_LETTERS = frozenset(_ALPHABET)
_PURPOSE = b"lunarbit api key v1\n"
_BLOCK_BYTES = 64


class StoredSecret(NamedTuple):
    """What is kept of a secret: its digest, the characters that may be shown, and which pepper was used.

    `valid_until` is in Unix milliseconds, or None for as long as the key itself.
    """

    digest: str
    prefix: str
    pepper_id: str
    created_at: int
    valid_until: int | None = None


def new_secret() -> str:
    """Return a new secret from the system's random source: about 238 bits."""
    body = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARS))
    return body + _checksum(body)


def is_well_formed(secret: str) -> bool:
    """Whether `secret` has the form of a key and its checksum is right, so that it is worth a look-up."""
    if len(secret) != len(PREFIX) + _RANDOM_CHARS + _CHECKSUM_CHARS or not secret.startswith(PREFIX):
        return False
    body, checksum = secret[:-_CHECKSUM_CHARS], secret[-_CHECKSUM_CHARS:]
    return _LETTERS.issuperset(secret[len(PREFIX) :]) and hmac.compare_digest(_checksum(body), checksum)


def masked(prefix: str) -> str:
    """Return how a key is shown in lists."""
    return prefix + "*" * 8


class Peppers:
    """The server's secret parts of the digests: the present one, and one that is on its way out.

    Digests are HMAC-SHA-256, so that who has only the database can neither use nor test a key.
    """

    def __init__(self, current: str, previous: str = "") -> None:
        keys = [pepper.encode() for pepper in (current, previous) if pepper]
        self._digests = [_digest_under(key) for key in keys]
        self.ids = tuple(hashlib.sha256(_PURPOSE + key).hexdigest()[:8] for key in keys)

    def digest(self, secret: str) -> str:
        """Return the digest under the present pepper."""
        return self._digests[0](secret.encode("utf-8", "surrogateescape"))

    def digests(self, secret: str) -> list[str]:
        """Return the digests under every pepper, the present one first."""
        message = secret.encode("utf-8", "surrogateescape")
        return [digest(message) for digest in self._digests]

    def store(self, secret: str, created_at: int) -> StoredSecret:
        """Return what is kept of a new secret."""
        return StoredSecret(self.digest(secret), secret[:SHOWN_CHARS], self.ids[0], created_at)


def _digest_under(key: bytes) -> Callable[[bytes], str]:
    """Return HMAC-SHA-256 (RFC 2104) under `key` of our purpose and what it is called with, in hexadecimal digits.

    Every request needs one, and what depends on the key alone, half of the work, is done here.
    """
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK_BYTES else key).ljust(_BLOCK_BYTES, b"\0")
    begun = hashlib.sha256(bytes(byte ^ 0x36 for byte in block) + _PURPOSE)
    around = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def digest(message: bytes) -> str:
        inner, outer = begun.copy(), around.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.hexdigest()

    return digest


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode("ascii", "replace"))
    digits = []
    for _ in range(_CHECKSUM_CHARS):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
