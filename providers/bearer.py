"""Bearer tokens that run out and are renewed: read from a file, or printed by a command.

For upstreams whose credential is not a key but a short-lived token, such as Microsoft Entra's for Azure OpenAI. What is
read may be the bare token, or JSON with the token and its end as the command lines of the clouds print it
(`accessToken` and `expires_on` of `az account get-access-token`, `token` and `expiresOn` of `azd auth token`,
`access_token` and `expires_in` of OAuth 2.0, RFC 6749, section 5.1). Where no end is named, that of a JSON Web Token
(`exp`, RFC 7519, section 4.1.4) counts.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import re
import signal
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from providers import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COMMAND_TIMEOUT_S = 30.0
MAX_OUTPUT_BYTES = 64 << 10
# A token of unknown end is read again this often, and a file at least, since somebody may put a new one there.
UNKNOWN_LIFE_S = 300.0
FILE_LOOK_S = 60.0
# Renewed this long before its end, but never in the first half of its life.
RENEW_BEFORE_S = 300.0
# How long after one reading the next may follow, when it failed or its token was refused.
PAUSE_S = 5.0
_END_S = 2.0
_TOKEN = re.compile(r"[\x21-\x7e]+")
_TOKEN_NAMES = ("accessToken", "access_token", "token")
_BAD_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Token(NamedTuple):
    """A token and its end in Unix seconds, None when that is not known."""

    text: str
    ends_at: float | None


class Source(Protocol):
    """Where tokens come from."""

    # How long a token is used at most before the source is asked again, in seconds.
    look_again_s: float

    async def read(self) -> bytes:
        """Return what the source holds now; raises `errors.CredentialRefused` that says nothing of its content."""
        ...


class FileSource:
    """A file that somebody else keeps up to date."""

    look_again_s = FILE_LOOK_S

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    async def read(self) -> bytes:
        """Read the file, in a thread because it may lie on a network."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                return file.read(MAX_OUTPUT_BYTES + 1)
        except OSError as exc:
            msg = f"the token file cannot be read ({exc.strerror})"
            raise errors.CredentialRefused(msg) from exc


class CommandSource:
    """A command that prints a token. It is run without a shell, and killed after `timeout_s`."""

    look_again_s = float("inf")

    def __init__(self, command: Sequence[str], timeout_s: float = COMMAND_TIMEOUT_S) -> None:
        self._command = tuple(command)
        self._timeout_s = timeout_s

    async def read(self) -> bytes:
        """Run the command and return what it printed; what it says on its standard error is dropped."""
        null = asyncio.subprocess.DEVNULL
        try:
            # A session of its own lets the processes that it starts be ended with it.
            process = await asyncio.create_subprocess_exec(
                *self._command, stdin=null, stdout=asyncio.subprocess.PIPE, stderr=null, start_new_session=True
            )
        except (OSError, ValueError) as exc:
            msg = f"the token command cannot be started ({getattr(exc, 'strerror', None) or type(exc).__name__})"
            raise errors.CredentialRefused(msg) from exc
        try:
            async with asyncio.timeout(self._timeout_s):
                printed = await _read_limited(process)
                # More than any token has; who prints it would wait for us for ever.
                status = await process.wait() if len(printed) <= MAX_OUTPUT_BYTES else 0
        except TimeoutError as exc:
            msg = f"the token command did not end within {self._timeout_s:g} s"
            raise errors.CredentialRefused(msg) from exc
        finally:
            if process.returncode is None:
                await _end(process)
        if status:
            msg = f"the token command ended with status {status}"
            raise errors.CredentialRefused(msg)
        return printed


async def _read_limited(process: asyncio.subprocess.Process) -> bytes:
    printed = b""
    while process.stdout is not None and len(printed) <= MAX_OUTPUT_BYTES:
        part = await process.stdout.read(MAX_OUTPUT_BYTES)
        if not part:
            break
        printed += part
    return printed


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill a process with what it started, and read its output to the end, without which the pipe would stay open."""
    with suppress(ProcessLookupError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    with suppress(TimeoutError):
        async with asyncio.timeout(_END_S):
            await process.communicate()


class BearerToken:
    """The token of one provider, read before its end and shared by all its requests.

    Near its end the old token still serves while one task renews it, so that no request waits. `clock` gives Unix
    seconds.
    """

    def __init__(self, source: Source, clock: Callable[[], float] = time.time) -> None:
        self._source = source
        self._clock = clock
        self._token = Token("", 0.0)
        self._renew_at = 0.0
        self._read_at = 0.0
        self._failure: errors.CredentialRefused | None = None
        self._reading: asyncio.Task[None] | None = None

    async def get(self) -> str:
        """Return a token that has not run out; raises `errors.CredentialRefused` when there is none."""
        now = self._clock()
        if now < self._renew_at:
            return self._token.text
        if now - self._read_at >= PAUSE_S:
            reading = self._read_anew()
            if not self._is_good(now):
                # Shielded, because other requests wait for the same reading.
                await asyncio.shield(reading)
        if self._is_good(self._clock()):
            return self._token.text
        raise self._failure or errors.CredentialRefused("the token has run out")

    async def renew(self, refused: str) -> str:
        """Return the token to use in place of one that was refused; it is the same one when there is no newer."""
        if self._token.text == refused and self._clock() - self._read_at >= PAUSE_S:
            await asyncio.shield(self._read_anew())
        elif self._reading is not None:
            await asyncio.shield(self._reading)
        return self._token.text

    async def aclose(self) -> None:
        """Stop a reading that is under way."""
        if self._reading is not None and not self._reading.done():
            self._reading.cancel()
            await asyncio.wait([self._reading])

    def _is_good(self, now: float) -> bool:
        return bool(self._token.text) and (self._token.ends_at is None or now < self._token.ends_at)

    def _read_anew(self) -> asyncio.Task[None]:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().create_task(self._read(), name="bearer-token")
        return self._reading

    async def _read(self) -> None:
        try:
            token = parse_token(await self._source.read(), self._clock())
        except errors.CredentialRefused as exc:
            self._failure = exc
            return
        finally:
            self._read_at = now = self._clock()
        self._failure = None
        self._token = token
        life_s = UNKNOWN_LIFE_S if token.ends_at is None else token.ends_at - now
        self._renew_at = now + min(max(life_s - RENEW_BEFORE_S, life_s / 2), self._source.look_again_s)


def parse_token(printed: bytes, now: float) -> Token:
    """Read a token out of what a file or a command holds; `now` is in Unix seconds.

    Raises `errors.CredentialRefused`, whose text holds nothing of what was read.
    """
    if len(printed) > MAX_OUTPUT_BYTES:
        msg = f"the token is larger than {MAX_OUTPUT_BYTES} bytes"
        raise errors.CredentialRefused(msg)
    text = printed.decode("latin-1").strip()
    ends_at = None
    if text.startswith("{"):
        text, ends_at = _from_json(printed, now)
    text = text.removeprefix("Bearer ").strip()
    if not _TOKEN.fullmatch(text):
        msg = "what was read is no token: it is empty, or holds what may not stand in a header"
        raise errors.CredentialRefused(msg)
    return Token(text, ends_at or _end_of_jwt(text))


def _from_json(printed: bytes, now: float) -> tuple[str, float | None]:
    try:
        fields: dict[str, Any] = msgspec.json.decode(printed, type=dict[str, Any])
    except _BAD_JSON:
        return "", None
    text = next((fields[name] for name in _TOKEN_NAMES if isinstance(fields.get(name), str)), "")
    life_s = _seconds(fields.get("expires_in"))
    ends_at = _seconds(fields.get("expires_on")) or (None if life_s is None else now + life_s)
    return text, ends_at or _moment(fields.get("expiresOn"))


def _seconds(value: Any) -> float | None:
    try:
        return float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else None
    except ValueError:
        return None


def _moment(value: Any) -> float | None:
    """Read an ISO 8601 time that names its zone; one without it would be read an hour wrong somewhere."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment.timestamp() if moment is not None and moment.tzinfo is not None else None


def _end_of_jwt(token: str) -> float | None:
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        payload = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (*_BAD_JSON, binascii.Error, ValueError):
        return None
    return _seconds(payload.get("exp")) if isinstance(payload, dict) else None
