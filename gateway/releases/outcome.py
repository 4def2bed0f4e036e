"""What a check of a download address found out: a state, a reason for machines and a sentence for people.

No sentence names an address, a URL or an exception: they are shown to whoever may read the build.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.releases.executables import UNKNOWN, Executable
from gateway.releases.model import BuildState


class Reason(StrEnum):
    """Why a build is not verified; `state` is the state that each reason leads to."""

    TOO_LONG = "too_long"
    TOO_SHORT = "too_short"
    SHA256 = "sha256_mismatch"
    SHA512 = "sha512_mismatch"
    MD5 = "md5_mismatch"
    PLATFORM = "wrong_platform"
    ARCHITECTURE = "wrong_architecture"
    HTML_PAGE = "html_page"
    CONTENT_ENCODING = "content_encoding"
    FORBIDDEN_URL = "forbidden_url"
    FORBIDDEN_ADDRESS = "forbidden_address"
    DNS = "dns"
    CONNECT = "connect"
    CONNECT_TIMEOUT = "connect_timeout"
    TLS = "tls"
    STALLED = "stalled"
    TOO_SLOW = "too_slow"
    CONNECTION_LOST = "connection_lost"
    NOT_HTTP = "not_http"
    STATUS = "status"
    BAD_REDIRECT = "bad_redirect"
    REDIRECT_LOOP = "redirect_loop"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    CHANGED = "changed"

    @property
    def state(self) -> BuildState:
        """Failed: the file is wrong. Unreachable: there is no file. Pending: it has to be verified again."""
        if self is Reason.CHANGED:
            return BuildState.PENDING
        return BuildState.FAILED if self in _FAILED else BuildState.UNREACHABLE


_FAILED: Final = frozenset(
    {
        Reason.TOO_LONG,
        Reason.TOO_SHORT,
        Reason.SHA256,
        Reason.SHA512,
        Reason.MD5,
        Reason.PLATFORM,
        Reason.ARCHITECTURE,
        Reason.HTML_PAGE,
        Reason.CONTENT_ENCODING,
    }
)


@dataclass(frozen=True, slots=True)
class Digests:
    """The checksums of a whole file in lower-case hexadecimal."""

    sha256: str
    sha512: str
    sha1: str
    md5: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one check; `reason` is None and `message` empty when nothing is wrong.

    `size` in bytes and `digests` are those of the file that was read whole, right or wrong, and None otherwise; a
    probe knows no digests. `status` is the last HTTP status, `etag` and `last_modified` are the validators that came
    with it, for the next probe.
    """

    state: BuildState
    reason: Reason | None = None
    message: str = ""
    status: int | None = None
    size: int | None = None
    digests: Digests | None = None
    executable: Executable = UNKNOWN
    etag: str | None = None
    last_modified: str | None = None


class Problem(Exception):
    """A check that cannot go on; `message` is a whole sentence that may be shown."""

    def __init__(self, reason: Reason, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.outcome = Outcome(reason.state, reason, message, status)
