"""Strict JSON: everything that is not plain JSON in UTF-8 is a 400 that says why, never a 500 and never passed on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.json_body import MAX_DEPTH, parse_object, raw_fields, refuse_duplicate_keys
from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import HELLO, JSON_HEADERS, KEY, edge_client, settings_for, upstream_toml
from tests.upstream import Upstream

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

CHATS = ["/ai/chat", "/v1/chat/completions"]
INNER = json.dumps(HELLO)[1:-1].encode()


def body_with(raw: bytes) -> bytes:
    """Return a good chat with more JSON behind its messages."""
    return b"{" + INNER + b"," + raw + b"}"


BAD: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n\t ",
    "nan": body_with(b'"temperature":NaN'),
    "infinity": body_with(b'"temperature":-Infinity'),
    "utf-16": json.dumps(HELLO).encode("utf-16"),
    "utf-16-le": json.dumps(HELLO).encode("utf-16-le"),
    "utf-32": json.dumps(HELLO).encode("utf-32"),
    "bom": b"\xef\xbb\xbf" + json.dumps(HELLO).encode(),
    "bad utf-8": body_with(b'"model":"\xff\xfe"'),
    "overlong utf-8": body_with(b'"model":"\xc0\xaf"'),
    "surrogate in utf-8": body_with(b'"model":"\xed\xa0\x80"'),
    "bad utf-8 in a key": body_with(b'"\xff":1'),
    "cut utf-8": b'{"messages":[{"role":"user","content":"\xe2\x82',
    "lone high surrogate": body_with(b'"model":"\\ud800"'),
    "lone high surrogate before text": body_with(b'"model":"\\ud800abcdefghijkl"'),
    "high surrogate before another escape": body_with(b'"model":"\\ud800\\u0041aaaaaaaa"'),
    "two high surrogates": body_with(b'"model":"\\ud800\\ud800aaaaaaaa"'),
    "lone low surrogate": body_with(b'"model":"\\udc00"'),
    "surrogates the wrong way round": body_with(b'"model":"\\udc00\\ud800"'),
    "lone high surrogate in a key": body_with(b'"\\ud800":1'),
    "lone low surrogate in a key": body_with(b'"\\udc00":1'),
    "lone surrogate in a key further in": body_with(b'"metadata":{"a":[{"\\udfff":1}]}'),
    "lone surrogate in a message": b'{"messages":[{"role":"user","content":"\\udc00"}]}',
    "deep lists": body_with(b'"x":' + b"[" * 100_000 + b"]" * 100_000),
    "deep objects": body_with(b'"x":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "deep and never closed": b'{"messages":' + b"[" * 1_000_000,
    "30 digits": body_with(b'"seed":' + b"1" * 30),
    "-30 digits": body_with(b'"seed":-' + b"1" * 30),
    "5000 digits": body_with(b'"seed":' + b"1" * 5000),
    "30 digits further in": body_with(b'"metadata":{"a":[1,{"b":' + b"9" * 30 + b"}]}"),
    "out of range float": body_with(b'"temperature":1e999'),
    "truncated": json.dumps(HELLO).encode()[:-1],
    "trailing garbage": json.dumps(HELLO).encode() + b" x",
    "two documents": json.dumps(HELLO).encode() * 2,
    "nul behind": json.dumps(HELLO).encode() + b"\x00",
    "trailing comma": b"{" + INNER + b",}",
    "comment": b"{" + INNER + b"/* */}",
    "single quotes": b"{'messages':[]}",
    "leading zero": body_with(b'"seed":012'),
    "plus sign": body_with(b'"seed":+1'),
    "hex": body_with(b'"seed":0x10'),
    "bare point": body_with(b'"temperature":.5'),
    "control character": body_with(b'"model":"\x01"'),
    "bad escape": body_with(b'"model":"\\x41"'),
    "list": b"[]",
    "string": b'"messages"',
    "number": b"1",
    "null": b"null",
    "true": b"true",
    "form": b"messages=hello",
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
}


@pytest.mark.parametrize("path", CHATS)
@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
async def test_what_is_not_strict_json_is_a_400(client: httpx.AsyncClient, path: str, body: bytes) -> None:
    """On both chats, in the canonical shape."""
    response = await client.post(path, content=body, headers=JSON_HEADERS)
    assert_canonical_error(response, "INVALID_REQUEST", 400)
    assert len(response.content) < 2000


@pytest.mark.parametrize("path", CHATS)
@pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"a":', b"}")], ids=["lists", "objects"])
async def test_every_depth_is_answered(client: httpx.AsyncClient, path: str, brackets: tuple[bytes, bytes]) -> None:
    """The decoders give up at depths of their own, close to each other; between them lay a 500."""
    opening, closing = brackets
    for depth in [*range(MAX_DEPTH - 4, MAX_DEPTH + 4), *range(930, 1010), 5000]:
        body = body_with(b'"metadata":' + opening * depth + b"1" + closing * depth)
        response = await client.post(path, content=body, headers=JSON_HEADERS)
        assert response.status_code < 500, depth
        if depth > MAX_DEPTH:
            assert_canonical_error(response, "INVALID_REQUEST", 400)


def test_reasonable_nesting_passes() -> None:
    """Schemas of tools nest, but not by the hundred."""
    assert parse_object(b'{"a":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}")
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        parse_object(b'{"a":' + b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2) + b"}")


@pytest.mark.parametrize("number", [2**64 - 1, -(2**64) + 1, 2**63, 0])
def test_integers_of_64_bits_pass(number: int) -> None:
    """Seeds and ids use all of them."""
    assert parse_object(json.dumps({"a": [number]}).encode()) == {"a": [number]}


@pytest.mark.parametrize("number", [2**64, -(2**64), 10**29])
def test_larger_integers_do_not(number: int) -> None:
    """Most of the world would read them as another number."""
    with pytest.raises(InvalidRequest, match="64 bits"):
        parse_object(json.dumps({"a": [number]}).encode())


DUPLICATES = [
    b'{"messages":[{"role":"user","content":"a"}],"messages":[{"role":"user","content":"b"}]}',
    b'{"messages":[{"role":"user","role":"user","content":"a"}]}',
    b'{"messages":[{"role":"user","content":"a"}],"model":"a","\\u006dodel":"echo-1"}',
]


@pytest.mark.parametrize("body", DUPLICATES, ids=range(len(DUPLICATES)))
async def test_duplicate_keys_are_refused_on_our_own_surface(client: httpx.AsyncClient, body: bytes) -> None:
    """Two readers would take two different values; at any depth, and also when one is written with escapes."""
    for path in ("/ai/chat", "/api/v2/ai/chat"):
        error = assert_canonical_error(
            await client.post(path, content=body, headers=JSON_HEADERS), "INVALID_REQUEST", 400
        )
        assert error["details"]["errors"][0]["field"] in {"messages", "role", "model"}


@pytest.mark.parametrize("body", DUPLICATES, ids=range(len(DUPLICATES)))
async def test_duplicate_keys_pass_where_requests_pass_through(client: httpx.AsyncClient, body: bytes) -> None:
    """There the provider judges; the last value counts, as nearly everywhere."""
    response = await client.post("/v1/chat/completions", content=body, headers=JSON_HEADERS)
    assert response.status_code == 200, response.text


async def test_unusual_but_correct_json_arrives_upstream_as_it_was(tmp_path: Path) -> None:
    """Escapes, pairs of surrogates, U+2028, NUL and numbers in any spelling are all legal."""
    raw = (
        b'{ "messages" : [ {"role":"user","content":"\\ud83d\\ude00 \\u2028 \\u0000 \\"\xc3\xa9"} ] ,\n "x" : 1.50E+1 }'
    )
    async with Upstream() as up, edge_client(tmp_path, upstream_toml(up.base_url)) as client:
        response = await client.post("/v1/chat/completions", content=raw, headers=JSON_HEADERS)
        assert response.status_code == 200, response.text
        sent = up.chat_requests[0]
    assert sent.json["messages"] == json.loads(raw)["messages"]
    assert b"1.50E+1" in sent.body


BAD_TYPES = [
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/octet-stream",
    "application/xml",
    "application/jsonx",
    "application/json-seq",
    "text/plain; application/json",
]


@pytest.mark.parametrize("path", CHATS)
@pytest.mark.parametrize("content_type", BAD_TYPES)
async def test_another_media_type_is_a_415(client: httpx.AsyncClient, path: str, content_type: str) -> None:
    """A browser may send these to anywhere without asking, so they are not taken for JSON."""
    response = await client.post(path, json=HELLO, headers={**KEY, "content-type": content_type})
    assert_canonical_error(response, "UNSUPPORTED_MEDIA_TYPE", 415)


GOOD_TYPES = ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json", "", None]


@pytest.mark.parametrize("path", CHATS)
@pytest.mark.parametrize("content_type", GOOD_TYPES)
async def test_json_under_its_names_is_taken(client: httpx.AsyncClient, path: str, content_type: str | None) -> None:
    """Also without a name, as some small clients send it."""
    headers = KEY if content_type is None else {**KEY, "content-type": content_type}
    response = await client.post(path, content=json.dumps(HELLO), headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize("path", CHATS)
@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd", "identity, gzip", "x"])
async def test_a_compressed_body_is_a_415(client: httpx.AsyncClient, path: str, coding: str) -> None:
    """Unpacking a stranger's bytes costs without limit; the answer says what is taken."""
    response = await client.post(path, json=HELLO, headers={**KEY, "content-encoding": coding})
    assert_canonical_error(response, "UNSUPPORTED_MEDIA_TYPE", 415)
    assert response.headers["accept-encoding"] == "identity"


async def test_identity_is_no_compression(client: httpx.AsyncClient) -> None:
    """It says that nothing was done."""
    response = await client.post("/ai/chat", json=HELLO, headers={**KEY, "content-encoding": "Identity"})
    assert response.status_code == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.dictionaries(
    st.sampled_from(
        ["messages", "model", "stream", "temperature", "max_tokens", "top_p", "stop", "stream_options", "n"]
    )
    | st.text(max_size=5),
    JSON | st.just(HELLO["messages"]),
    max_size=6,
)


@given(body=st.binary(max_size=300))
def test_random_bytes_decode_or_are_refused(body: bytes) -> None:
    """Nothing but the typed error ever leaves the decoder."""
    try:
        value = parse_object(body)
    except InvalidRequest:
        return
    assert set(raw_fields(body)) == set(value)


@given(body=FIELDS)
def test_what_is_accepted_reads_the_same_for_python(body: dict[str, Any]) -> None:
    """Accepted bodies mean to the provider what they meant to the gateway."""
    encoded = json.dumps(body).encode()
    try:
        value = parse_object(encoded)
    except InvalidRequest:
        return
    assert value == body
    refuse_duplicate_keys(encoded)
    assert {name: msgspec.json.decode(raw) for name, raw in raw_fields(encoded).items()} == body


@pytest.fixture
async def quiet_client(tmp_path: Path) -> Any:
    """Call a gateway whose provider answers at once."""
    async with edge_client(tmp_path) as running:
        yield running


@pytest.mark.parametrize("path", CHATS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200) | FIELDS.map(lambda value: json.dumps(value).encode()))
@example(b'{"messages":[{"role":"user","content":"hi"}],"stream":true}')
@example(b'{"messages":[{"role":"user","content":[]}]}')
@example(b'{"messages":[{"role":"user"}]}')
@example(b'{"messages":[{"role":"user","content":{"a":1}}],"n":0}')
@example(b'{"messages":[{"role":"user","content":"a"}],"stream_options":{"include_usage":[]}}')
async def test_no_body_whatever_makes_a_chat_fail_inside(client: httpx.AsyncClient, path: str, body: bytes) -> None:
    """Random bytes and random JSON, with the field names that matter: an answer or a refusal, never a 5xx."""
    response = await client.post(path, content=body, headers=JSON_HEADERS)
    assert response.status_code < 500, (body, response.text)
    if response.status_code == 400:
        assert_canonical_error(response, "INVALID_REQUEST", 400)


def test_the_settings_of_these_tests_are_those_of_the_shared_page(tmp_path: Path) -> None:
    """The key that they use is a real one, so that refusals come from the body alone."""
    assert settings_for(tmp_path).auth.admin_key.get_secret_value() in KEY["authorization"]
