"""The secret of a key: its form and checksum, and what is kept of it under a pepper."""

from __future__ import annotations

import hashlib
import hmac
import string
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.secret import Peppers, is_well_formed, masked, new_secret
from tests.gateway.settings_files import GOOD_KEY, GOOD_PEPPER

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
# Written down once, so that keys which were handed out stay valid whatever becomes of the code.
KNOWN = "lbapi_0123456789ABCDEFGHIJabcdefghij0123456789" + "091N2Q"


def checksum(body: str) -> str:
    """Return the CRC-32 of a text as six base62 digits."""
    number, digits = zlib.crc32(body.encode()), ""
    while len(digits) < 6:
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return digits


def test_a_secret_has_the_form_of_the_shared_page() -> None:
    """The prefix, forty characters, and six of the checksum over all that stands before them."""
    for _ in range(200):
        secret = new_secret()
        assert len(secret) == 52
        assert secret.startswith("lbapi_")
        assert set(secret[6:]) <= set(BASE62)
        assert secret[-6:] == checksum(secret[:-6])
        assert is_well_formed(secret)


def test_a_secret_that_was_handed_out_stays_valid() -> None:
    """The checksum is a promise to whoever keeps keys."""
    assert checksum(KNOWN[:-6]) == KNOWN[-6:]
    assert is_well_formed(KNOWN)


def test_every_character_is_used_evenly() -> None:
    """As far as a few thousand of them can show: a biased choice would be seen."""
    drawn = "".join(new_secret()[6:46] for _ in range(500))
    counts = [drawn.count(character) for character in BASE62]
    mean = len(drawn) / 62
    assert all(0.6 * mean < count < 1.4 * mean for count in counts)


@given(position=st.integers(0, 51), character=st.sampled_from(BASE62 + "_-/. ü\0"))
def test_one_wrong_character_is_found(position: int, character: str) -> None:
    """Anywhere, in the prefix and in the checksum itself too."""
    wrong = KNOWN[:position] + character + KNOWN[position + 1 :]
    assert is_well_formed(wrong) is (wrong == KNOWN)


@given(position=st.integers(0, 50))
def test_two_characters_in_the_wrong_order_are_found(position: int) -> None:
    """What happens when somebody types it."""
    pair = KNOWN[position : position + 2]
    wrong = KNOWN[:position] + pair[::-1] + KNOWN[position + 2 :]
    assert is_well_formed(wrong) is (wrong == KNOWN)


@given(st.text(max_size=80))
def test_nothing_else_is_a_secret(text: str) -> None:
    """Whatever it is, and nothing raises."""
    assert not is_well_formed(text)
    assert not is_well_formed("lbapi_" + text)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "lbapi_",
        KNOWN[:-1],
        KNOWN + "0",
        " " + KNOWN[1:],
        KNOWN.upper(),
        KNOWN.replace("lbapi_", "LBAPI_"),
        "\udcff" * 52,
    ],
)
def test_a_part_or_another_spelling_is_no_secret(wrong: str) -> None:
    """Keys are compared letter by letter."""
    assert not is_well_formed(wrong)


def test_a_masked_key_shows_ten_characters() -> None:
    """Enough to tell keys apart, far too few to guess the rest."""
    stored = Peppers(GOOD_PEPPER).store(KNOWN, 7)
    assert stored.prefix == KNOWN[:10] == "lbapi_0123"
    assert masked(stored.prefix) == "lbapi_0123********"


def test_what_is_kept_is_an_hmac_under_the_pepper() -> None:
    """HMAC-SHA-256 with the key's own purpose in it, so that a pepper used elsewhere gives another value."""
    stored = Peppers(GOOD_PEPPER).store(KNOWN, 7)
    message = b"lunarbit api key v1\n" + KNOWN.encode()
    assert stored.digest == hmac.new(GOOD_PEPPER.encode(), message, hashlib.sha256).hexdigest()
    assert stored.digest != hmac.new(GOOD_PEPPER.encode(), KNOWN.encode(), hashlib.sha256).hexdigest()
    assert (stored.created_at, stored.valid_until) == (7, None)
    kept = repr(stored)
    assert KNOWN[10:] not in kept
    assert GOOD_PEPPER not in kept


def test_the_digests_under_both_peppers_are_looked_for() -> None:
    """The present one first; the id says which it was and nothing of what it is."""
    old, new, both = Peppers(GOOD_KEY), Peppers(GOOD_PEPPER), Peppers(GOOD_PEPPER, GOOD_KEY)
    assert both.digests(KNOWN) == [new.digest(KNOWN), old.digest(KNOWN)]
    assert both.digest(KNOWN) == new.digest(KNOWN) != old.digest(KNOWN)
    assert both.ids == (*new.ids, *old.ids)
    assert len(set(both.ids)) == 2
    assert all(len(pepper_id) == 8 and set(pepper_id) <= set("0123456789abcdef") for pepper_id in both.ids)
    assert new.ids[0] != hashlib.sha256(GOOD_PEPPER.encode()).hexdigest()[:8]


def test_any_bytes_have_a_digest() -> None:
    """A header may hold what is no UTF-8."""
    peppers = Peppers(GOOD_PEPPER)
    assert len({peppers.digest(text) for text in ("", "ü", "\udcff", "日本")}) == 4
