"""Bearer tokens that run out: read, kept, renewed before their end and after a refusal, and never shown."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from providers import errors
from providers.anthropic.native import MessagesRequest
from providers.anthropic.provider import AnthropicProvider
from providers.azure_openai import AzureOpenAIProvider
from providers.bearer import MAX_OUTPUT_BYTES, PAUSE_S, BearerToken, CommandSource, FileSource, parse_token
from providers.config import ProviderConfig
from providers.transport import Transport
from tests.providers.support import collect, question, text_of
from tests.upstream import Upstream

NOW = 1_800_000_000.0
CANARY = "canary-of-a-token"


class Source:
    """A source that is told what to say and counts how often it was asked."""

    look_again_s = float("inf")

    def __init__(self, *printed: bytes | Exception) -> None:
        self.printed = list(printed)
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self) -> bytes:
        """Return or raise the next answer; the last one again and again."""
        self.reads += 1
        await self.gate.wait()
        said = self.printed.pop(0) if len(self.printed) > 1 else self.printed[0]
        if isinstance(said, Exception):
            raise said
        return said


class Clock:
    """Unix seconds that a test moves."""

    now = NOW

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


def printed(token: str, **members: Any) -> bytes:
    """Return what a command line of a cloud prints."""
    return json.dumps({"accessToken": token, **members}).encode()


def jwt(ends_at: float) -> str:
    """Return a JSON Web Token that ends then; nobody checks its signature here."""
    parts = ({"alg": "RS256"}, {"exp": int(ends_at)})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + ".sig"


@pytest.mark.parametrize(
    ("text", "token", "ends_at"),
    [
        (b"plain-token\n", "plain-token", None),
        (b"Bearer plain-token", "plain-token", None),
        (jwt(NOW + 60).encode(), jwt(NOW + 60), NOW + 60),
        (printed("t", expires_on=NOW + 5, expiresOn="2027-01-15 09:00:00.000000"), "t", NOW + 5),
        (printed("t", expires_on=str(int(NOW))), "t", NOW),
        (b'{"token":"t","expiresOn":"2027-01-15T08:00:00Z"}', "t", NOW),
        (b'{"access_token":"t","expires_in":3600}', "t", NOW + 3600),
        (printed("t", expiresOn="2027-01-15 08:00:00"), "t", None),
        (printed(jwt(NOW + 9)), jwt(NOW + 9), NOW + 9),
        (b"a.b.c", "a.b.c", None),
    ],
)
def test_tokens_are_read_in_the_forms_that_tools_print(text: bytes, token: str, ends_at: float | None) -> None:
    """A time without a zone is not trusted, everything else that names the end is."""
    assert parse_token(text, NOW) == (token, ends_at)


@pytest.mark.parametrize(
    "text", [b"", b" \n", b"{", b"{}", b'{"token":5}', b"two words", b"line\nbreak", b"\xff\xfe", b"x" * 70_000]
)
def test_what_is_no_token_is_refused_without_being_shown(text: bytes) -> None:
    """It goes into a header, and the text of the error into the log."""
    with pytest.raises(errors.CredentialRefused) as raised:
        parse_token(text, NOW)
    assert "words" not in raised.value.message
    assert len(raised.value.message) < 100


async def test_a_token_is_kept_and_renewed_before_its_end_without_a_wait(clock: Clock) -> None:
    """Requests near its end go on with the old one while one reading fetches the new one."""
    source = Source(printed("old", expires_on=NOW + 3600), printed("new", expires_on=NOW + 7200))
    token = BearerToken(source, clock)
    assert [await token.get() for _ in range(3)] == ["old"] * 3
    assert source.reads == 1
    clock.now = NOW + 3600 - 290
    source.gate.clear()
    assert [await token.get() for _ in range(3)] == ["old"] * 3
    source.gate.set()
    await asyncio.sleep(0.01)
    assert await token.get() == "new"
    assert source.reads == 2


async def test_many_requests_share_one_reading(clock: Clock) -> None:
    """A command that takes a second must not run a hundred times; one request that leaves ends nobody's reading."""
    source = Source(b"token")
    token = BearerToken(source, clock)
    source.gate.clear()
    waiting = [asyncio.create_task(token.get()) for _ in range(20)]
    await asyncio.sleep(0.01)
    waiting[0].cancel()
    source.gate.set()
    assert await asyncio.gather(*waiting[1:]) == ["token"] * 19
    assert source.reads == 1


async def test_a_failed_renewal_leaves_the_old_token_until_its_end(clock: Clock) -> None:
    """The service that hands out tokens may be away for a minute."""
    failure = errors.CredentialRefused("the token command ended with status 1")
    source = Source(printed("old", expires_on=NOW + 100), failure)
    token = BearerToken(source, clock)
    assert await token.get() == "old"
    clock.now = NOW + 99
    assert await token.get() == "old"
    await asyncio.sleep(0.01)
    clock.now = NOW + 101
    with pytest.raises(errors.CredentialRefused, match="status 1"):
        await token.get()
    # Not asked again at once.
    assert source.reads == 2
    clock.now += PAUSE_S
    source.printed = [b"again"]
    assert await token.get() == "again"


async def test_a_refused_token_is_renewed_but_not_in_a_rush(clock: Clock) -> None:
    """An upstream that refuses every token must not run the command for every request."""
    source = Source(b"one", b"two")
    token = BearerToken(source, clock)
    first = await token.get()
    assert await token.renew(first) == "one"
    clock.now += PAUSE_S
    assert list(await asyncio.gather(token.renew(first), token.renew(first))) == ["two", "two"]
    assert await token.renew(first) == "two"
    assert source.reads == 2


async def test_a_file_is_read_again(tmp_path: Path, clock: Clock) -> None:
    """Kubernetes and its like put a new token there long before the old one ends."""
    path = tmp_path / "token"
    path.write_text("one\n")
    token = BearerToken(FileSource(str(path)), clock)
    assert await token.get() == "one"
    path.write_text("two\n")
    clock.now += 61
    assert await token.get() == "one"
    await asyncio.sleep(0.05)
    assert await token.get() == "two"
    await token.aclose()


async def test_a_missing_file_is_a_refused_credential(tmp_path: Path) -> None:
    """The router then asks another provider."""
    with pytest.raises(errors.CredentialRefused, match="cannot be read"):
        await BearerToken(FileSource(str(tmp_path / "none"))).get()


def command(code: str) -> tuple[str, ...]:
    """Return a command that runs Python code."""
    return (sys.executable, "-c", code)


async def test_a_command_is_run_without_a_shell() -> None:
    """Nothing in its arguments means anything."""
    source = CommandSource((sys.executable, "-c", "import sys; print(sys.argv[1])", "$HOME;`id`"))
    assert await source.read() == b"$HOME;`id`\n"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (f"import sys; print('{CANARY}'); print('{CANARY}', file=sys.stderr); sys.exit(3)", "status 3"),
        ("import time; time.sleep(60)", "within 0.5 s"),
    ],
)
async def test_a_command_that_goes_wrong_is_ended_and_not_quoted(code: str, said: str) -> None:
    """It may hang, flood, or fail after it has printed a secret."""
    with pytest.raises(errors.CredentialRefused, match=said) as raised:
        await CommandSource(command(code), timeout_s=0.5 if "sleep" in code else 30.0).read()
    assert CANARY not in str(raised.value)


async def test_a_command_that_prints_without_end_is_ended() -> None:
    """And what it printed is too long for a token."""
    with pytest.raises(errors.CredentialRefused, match="larger"):
        await BearerToken(CommandSource(command("while True: print('x' * 1000)"))).get()


async def test_a_command_is_ended_with_what_it_started(tmp_path: Path) -> None:
    """The command lines of clouds are scripts that start another program, which would stay behind."""
    note = tmp_path / "pid"
    inner = "import time; time.sleep(60)"
    code = f"""import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {inner!r}])
open({str(note)!r}, "w").write(str(child.pid))
child.wait()"""
    with pytest.raises(errors.CredentialRefused):
        await CommandSource(command(code), timeout_s=3.0).read()
    pid = int(note.read_text())
    async with asyncio.timeout(10):
        while _runs(pid):
            await asyncio.sleep(0.01)


def _runs(pid: int) -> bool:
    """Say whether a process is there and is more than an entry that nobody has collected."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


async def test_a_command_that_cannot_be_started_says_why() -> None:
    """Most likely it is not installed."""
    with pytest.raises(errors.CredentialRefused, match="cannot be started"):
        await CommandSource(("/nowhere/az",)).read()


def test_the_largest_output_holds_any_token() -> None:
    """Entra's tokens have a few kilobytes."""
    assert MAX_OUTPUT_BYTES >= 16_384


@pytest.fixture
async def entra(up: Upstream, transport: Transport, tmp_path: Path) -> AsyncIterator[AzureOpenAIProvider]:
    """An Azure resource whose token stands in `token`, a file beside the test."""
    (tmp_path / "token").write_text(f"{CANARY}-1")
    config = ProviderConfig("az", "azure_openai", base_url=up.origin, token_file=str(tmp_path / "token"))
    provider = AzureOpenAIProvider(config, transport)
    yield provider
    await provider.aclose()


async def test_azure_gets_the_token_in_authorization(up: Upstream, entra: AzureOpenAIProvider) -> None:
    """And no empty key beside it, on chats and on the page that shows whether it is well."""
    up.require_key = f"{CANARY}-1"
    assert await entra.is_healthy()
    assert (await entra.chat_completion(question("dep"))).content == "Hello world"
    assert text_of(await collect(entra, question("dep"))) == "Hello world"
    assert len(up.requests) == 3
    assert not any("api-key" in call.headers for call in up.requests)


@pytest.mark.parametrize("ask", ["chat", "health"])
async def test_a_token_that_is_refused_is_renewed_and_asked_with_once(
    up: Upstream, entra: AzureOpenAIProvider, tmp_path: Path, caplog: pytest.LogCaptureFixture, ask: str
) -> None:
    """It was revoked, or the file is newer than what is remembered; the client notices nothing."""
    caplog.set_level(logging.DEBUG)
    await entra.is_healthy()
    up.require_key = f"{CANARY}-2"
    (tmp_path / "token").write_text(f"{CANARY}-2")
    assert entra._bearer is not None
    entra._bearer._read_at = 0.0
    if ask == "chat":
        assert (await entra.chat_completion(question("dep"))).content == "Hello world"
    else:
        assert await entra.is_healthy()
    assert [call.headers["authorization"][-1] for call in up.requests] == ["1", "1", "2"]
    assert CANARY not in caplog.text


async def test_counting_tokens_renews_a_refused_token_too(up: Upstream, transport: Transport, tmp_path: Path) -> None:
    """As chats do; otherwise a gateway behind such a provider would estimate until the next chat."""
    (tmp_path / "token").write_text(f"{CANARY}-1")
    config = ProviderConfig("claude", "anthropic", base_url=up.origin, token_file=str(tmp_path / "token"))
    provider = AnthropicProvider(config, transport)
    assert provider._bearer is not None
    await provider._bearer.get()
    up.require_key, up.counted_tokens = f"{CANARY}-2", 9
    (tmp_path / "token").write_text(f"{CANARY}-2")
    provider._bearer._read_at = 0.0
    body = {"messages": msgspec.Raw(b'[{"role":"user","content":"hi"}]')}
    assert await provider.count_tokens(MessagesRequest("m", body)) == 9
    assert [call.headers["authorization"][-1] for call in up.requests] == ["1", "2"]
    up.require_key = "another"
    with pytest.raises(errors.CredentialRefused):
        await provider.count_tokens(MessagesRequest("m", body))
    await provider.aclose()


async def test_a_token_that_stays_refused_is_a_refused_credential(up: Upstream, entra: AzureOpenAIProvider) -> None:
    """Asking a third time would only be slower."""
    up.require_key = "another"
    with pytest.raises(errors.CredentialRefused) as raised:
        await entra.chat_completion(question("dep"))
    assert CANARY not in str(raised.value)
    assert len(up.requests) == 1
    assert not await entra.is_healthy()
    assert CANARY not in repr(entra.config)
