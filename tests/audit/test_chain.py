"""The chain of MACs and its keys: what is signed, with what, and that nothing else gives the same MAC."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.chain import AuditKeys, AuditRow, Head, mac
from tests.audit.logs import log_of, row

KEY = b"a key of the tests"
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
ROWS = st.builds(
    AuditRow,
    seq=st.integers(1, 20),
    at=st.integers(0, 2**62),
    actor_id=TEXTS,
    actor=TEXTS,
    action=TEXTS,
    target=TEXTS,
    before=st.none() | TEXTS,
    after=st.none() | TEXTS,
    client_ip=TEXTS,
    request_id=TEXTS,
    key_id=TEXTS,
    mac=TEXTS,
)


def test_the_mac_is_over_this_text_and_no_other() -> None:
    """Logs of years must verify with a gateway of today, and with a few lines of anybody's."""
    one = AuditRow(
        7, 1770458400123, "key_1", 'a"da', "key.create", "é", None, '{"a": 1}', "::1", "req_1", "0a1b2c3d", "any"
    )
    text = (
        b'["f00d",7,1770458400123,"key_1","a\\"da","key.create","\\u00e9",null,"{\\"a\\": 1}","::1","req_1","0a1b2c3d"]'
    )
    assert mac(KEY, "f00d", one) == hmac.new(KEY, text, hashlib.sha256).hexdigest()


@given(ROWS, ROWS, TEXTS, TEXTS)
def test_rows_that_differ_have_macs_that_differ(one: AuditRow, other: AuditRow, before: str, previous: str) -> None:
    """In any column but the MAC itself, or in what they follow; a text moved to the next column is a difference."""
    same = one[:-1] == other[:-1] and before == previous
    assert (mac(KEY, before, one) == mac(KEY, previous, other)) == same
    assert mac(KEY, before, one) != mac(KEY + b"!", before, one)


@pytest.mark.parametrize("value", [b"bytes", float("inf"), float("nan")])
def test_a_column_that_nothing_was_signed_with_has_no_mac(value: object) -> None:
    """SQLite keeps what an intruder puts into a column, whatever its type; it must not pass for something else."""
    with pytest.raises((TypeError, ValueError)):
        mac(KEY, "", row(1, "")._replace(actor=value))  # type: ignore[arg-type]


def test_an_explicit_key_signs_and_the_peppers_go_on_verifying() -> None:
    """So that a key can be introduced without the log up to then becoming unverifiable."""
    before = AuditKeys.derive("", "old pepper", "")
    between = AuditKeys.derive("", "new pepper", "old pepper")
    after = AuditKeys.derive("an audit key", "new pepper", "old pepper")
    assert len({before.current_id, between.current_id, after.current_id}) == 3
    assert after.current == b"an audit key"
    for keys in (before, between, after):
        assert after.find(keys.current_id) == keys.current
    assert before.find(after.current_id) is None


def test_the_key_of_a_pepper_is_not_the_pepper() -> None:
    """One pepper per purpose: what signs the log must tell nothing about what protects the keys."""
    keys = AuditKeys.derive("", "the pepper", "")
    assert keys.current == hmac.new(b"the pepper", b"lunarbit audit chain v1", hashlib.sha256).digest()
    assert keys.current_id == hashlib.sha256(keys.current).hexdigest()[:8]


def test_there_is_no_log_without_a_key() -> None:
    """An empty text as key would sign for everybody."""
    with pytest.raises(ValueError, match="needs a key"):
        AuditKeys.derive("", "", "")


def test_a_head_is_read_as_it_was_written() -> None:
    """Operators copy it from a log line or an answer into the command line."""
    rows = log_of(3)
    for head in (Head(0, ""), Head(3, rows[-1].mac)):
        assert Head.parse(str(head)) == head


@pytest.mark.parametrize(
    "text", ["", ":", "3", "3:", "0:" + "a" * 64, "-1:" + "a" * 64, "3:" + "A" * 64, "3:" + "a" * 63]
)
def test_something_that_is_no_head_is_refused(text: str) -> None:
    """A mistyped one must not be taken for proof of tampering."""
    with pytest.raises(ValueError, match="number of rows"):
        Head.parse(text)
