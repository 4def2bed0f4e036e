"""The cheap check between verifications: is the file there, and does it seem to be the same."""

from __future__ import annotations

from typing import Final

import pytest

from gateway.releases.model import BuildState
from gateway.releases.outcome import Outcome, Reason
from gateway.releases.outgoing import Limits
from tests.releases import fileserver as fs
from tests.releases.checking import GOOD, assert_bad, declared, verifier
from tests.releases.fileserver import Answer, FileServer

SIZE: Final = len(GOOD)
DATE: Final = "Mon, 23 Nov 2026 10:00:00 GMT"
LATER: Final = "Tue, 24 Nov 2026 10:00:00 GMT"
TAG: Final = '"abc"'


async def _probe(
    answer: Answer, *, etag: str | None = TAG, last_modified: str | None = DATE, limits: Limits | None = None
) -> tuple[Outcome, list[str]]:
    """Return the outcome of a probe for `GOOD`, and the methods of the requests that it took."""
    async with FileServer({"/file": answer, "/there": fs.file(GOOD, etag=TAG)}) as server, verifier(limits) as one:
        outcome = await one.probe(server.url("/file"), size=SIZE, etag=etag, last_modified=last_modified)
        await server.all_closed()
        # aiohttp repeats by itself what was asked on a connection that was dropped.
        asked = dict.fromkeys((request.method, request.path) for request in server.requests)
        return outcome, [method for method, _ in asked]


def _by_method(head: Answer, get: Answer) -> Answer:
    async def send(request: fs.Request, writer: fs.Writer) -> None:
        await (head if request.method == "HEAD" else get)(request, writer)

    return send


UNCHANGED: Final[dict[str, tuple[Answer, list[str]]]] = {
    "all the same": (fs.file(GOOD, etag=TAG, Last_Modified=DATE), ["HEAD"]),
    "same tag, other date": (fs.file(GOOD, etag=TAG, Last_Modified=LATER), ["HEAD"]),
    "weak tag": (fs.file(GOOD, etag=f"W/{TAG}"), ["HEAD"]),
    "date only": (fs.file(GOOD, etag="", Last_Modified=DATE), ["HEAD"]),
    "no validators": (fs.file(GOOD, etag=""), ["HEAD"]),
    "redirected": (fs.redirect("/there"), ["HEAD", "HEAD"]),
    "refuses HEAD with 405": (fs.file(GOOD, etag=TAG, refuses_head=405), ["HEAD", "GET"]),
    # Addresses that are signed for GET are refused otherwise.
    "refuses HEAD with 403": (fs.file(GOOD, etag=TAG, refuses_head=403), ["HEAD", "GET"]),
    "hides from HEAD": (fs.file(GOOD, etag=TAG, refuses_head=404), ["HEAD", "GET"]),
    "drops HEAD": (_by_method(fs.raw(b""), fs.file(GOOD, etag=TAG)), ["HEAD", "GET"]),
    "wrong length for HEAD": (_by_method(fs.answer(200), fs.file(GOOD, etag=TAG)), ["HEAD", "GET"]),
    "no length for HEAD": (_by_method(fs.until_close(b""), fs.file(GOOD, etag=TAG)), ["HEAD", "GET"]),
    "knows no ranges": (_by_method(fs.answer(501), fs.answer(200, {"ETag": TAG}, GOOD)), ["HEAD", "GET"]),
    "never a length": (fs.chunked(GOOD), ["HEAD", "GET"]),
    "a part of unknown whole": (
        _by_method(fs.answer(405), fs.answer(206, {"Content-Range": "bytes 0-0/*", "ETag": TAG}, b"x")),
        ["HEAD", "GET"],
    ),
}


@pytest.mark.parametrize("name", UNCHANGED)
async def test_an_unchanged_file_is_recognised(name: str) -> None:
    """Servers that treat HEAD badly are asked for one byte, and nobody is asked for more."""
    answer, methods = UNCHANGED[name]
    outcome, asked = await _probe(answer)
    assert outcome.state is BuildState.VERIFIED, outcome
    assert (outcome.reason, outcome.message, outcome.digests) == (None, "", None)
    assert asked == methods


CHANGED: Final = {
    "another tag": fs.file(GOOD, etag='"def"', Last_Modified=DATE),
    "another date without tags": fs.file(GOOD, etag="", Last_Modified=LATER),
    "another length": fs.file(GOOD + b"\0", etag=TAG),
    "a sign-in page": fs.file(b"<html>", etag="", Content_Type="text/html"),
    "packed on the way": fs.gzipped(GOOD),
    "another length of the whole": fs.file(GOOD[:-1], etag=TAG, refuses_head=405),
}


@pytest.mark.parametrize("name", CHANGED)
async def test_a_changed_file_is_asked_to_be_verified_again(name: str) -> None:
    """A length or a validator that differs is a suspicion, which only the whole file can settle."""
    outcome, asked = await _probe(CHANGED[name])
    assert_bad(outcome, Reason.CHANGED)
    assert outcome.state is BuildState.PENDING
    assert asked == ["HEAD", "GET"]


async def test_a_file_swapped_for_one_of_equal_size_is_found_by_probe_and_verification() -> None:
    """The whole way: verified, exchanged, suspected, and found out."""
    other = GOOD[:-1] + bytes([GOOD[-1] ^ 1])
    async with FileServer({"/file": fs.file(GOOD)}) as server, verifier() as one:
        expected = declared(GOOD, server.url("/file"))
        first = await one.verify(expected)
        assert first.state is BuildState.VERIFIED
        server.routes["/file"] = fs.file(other)
        probed = await one.probe(expected.url, size=expected.size, etag=first.etag, last_modified=first.last_modified)
        assert_bad(probed, Reason.CHANGED)
        assert_bad(await one.verify(expected), Reason.SHA256)


@pytest.mark.parametrize(
    ("answer", "reason", "status"),
    [
        (fs.answer(404), Reason.STATUS, 404),
        (fs.answer(416), Reason.STATUS, 416),
        (fs.answer(503), Reason.STATUS, 503),
        (fs.raw(b""), Reason.CONNECTION_LOST, None),
        (fs.redirect("/file"), Reason.REDIRECT_LOOP, None),
    ],
)
async def test_a_file_that_is_gone_is_unreachable(answer: Answer, reason: Reason, status: int | None) -> None:
    """HEAD alone is not believed when it says so."""
    outcome, asked = await _probe(answer)
    assert_bad(outcome, reason)
    assert outcome.state is BuildState.UNREACHABLE
    assert outcome.status == status
    assert asked == ["HEAD", "GET"]


async def test_a_probe_of_a_silent_server_ends_in_time() -> None:
    """It asks twice, and waits no longer than that."""
    outcome, asked = await _probe(fs.silent(), limits=Limits(connect_s=0.1, idle_s=0.1))
    assert_bad(outcome, Reason.STALLED)
    assert asked == ["HEAD", "GET"]


async def test_a_probe_that_is_redirected_inside_is_refused_after_one_request() -> None:
    """A forbidden address stays forbidden whatever is asked of it."""
    outcome, asked = await _probe(fs.redirect("https://10.0.0.1/"))
    assert_bad(outcome, Reason.FORBIDDEN_ADDRESS)
    assert asked == ["HEAD"]


async def test_a_server_without_ranges_sends_no_more_than_its_buffers_hold() -> None:
    """The connection is closed as soon as the head is there."""
    large = fs.large(bytes(1 << 20), 1 << 20)
    async with FileServer({"/file": _by_method(fs.answer(405), large)}) as server, verifier() as one:
        outcome = await one.probe(server.url("/file"), size=1 << 40)
        assert outcome.state is BuildState.VERIFIED
        await server.all_closed()
