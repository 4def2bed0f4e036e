"""Reading checksum files as different tools write them, and refusing what is none."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.releases.checksums import MAX_CHARS, InvalidChecksums, digest_of, parse_checksums

FULL = 10 if os.environ.get("LUNARBIT_TEST_FULL") else 1
A, B = "a1" * 32, "B2" * 32
SHA512, SHA1, MD5 = "c" * 128, "d" * 40, "e" * 32
needs_sha256sum = pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs GNU coreutils")


@pytest.mark.parametrize(
    "line",
    [
        f"{A}  app.zip",
        f"{A} *app.zip",
        f"{A} app.zip",
        f"{A}\tapp.zip",
        f"{A}  ./dist/app.zip",
        f"{A.upper()} *dist\\app.zip",
        f"SHA256 (app.zip) = {A}",
        f"SHA256(app.zip)= {A}",
        f"SHA2-256(dist/app.zip)= {A.upper()}",
    ],
)
def test_every_way_to_write_a_line_gives_the_same(line: str) -> None:
    """GNU in text and binary mode, BSD and macOS, openssl, and what people write by hand."""
    for text in (line, f"{line}\n", f"\ufeff# made by hand\r\n\r\n{line}\r\n"):
        assert parse_checksums(text) == {"app.zip": A}


def test_a_digest_alone_is_that_of_the_file_the_checksum_lies_beside() -> None:
    """app.zip.sha256 often holds nothing but the digest."""
    assert parse_checksums(f"{B}\n", name="app.zip") == {"app.zip": B.lower()}
    with pytest.raises(InvalidChecksums, match="no file name"):
        parse_checksums(B)


def test_each_algorithm_is_taken_by_itself() -> None:
    """One list may hold several, told by the tag or by the number of digits."""
    text = (
        f"{A}  a\n{SHA512}  a\n{SHA1}  a\n{MD5} *a\nSHA512 (b) = {SHA512}\nBLAKE2b (a) = {SHA512}\nSHA3-256 (c) = {A}\n"
    )
    assert parse_checksums(text) == {"a": A}
    assert parse_checksums(text, algorithm="sha512") == {"a": SHA512, "b": SHA512}
    assert parse_checksums(text, algorithm="sha1") == {"a": SHA1}
    assert parse_checksums(text, algorithm="md5") == {"a": MD5}


def test_names_keep_their_blanks_and_brackets() -> None:
    """GitHub turns blanks into dots, but the list was made before the upload."""
    assert parse_checksums(f"{A}  App Setup (x64).exe\nSHA256 (b (2).exe) = {B}") == {
        "App Setup (x64).exe": A,
        "b (2).exe": B.lower(),
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"app.zip  {A}", "Line 1 is no checksum line"),
        (f"app.zip:{A}", "no checksum line"),
        (f"{A}  a\n<html>", "Line 2 is no checksum line"),
        (f"{A[:-1]}  a", "63 digits"),
        (f"{A}0  a", "65 digits"),
        (f"SHA512 (a) = {A}", "none of sha512"),
        (f"{A}  a\n{B}  a", "another digest than before of a"),
        (f"{A}  x/a\n{B}  y/a", "another digest than before of a"),
        (f"{A}  dist/", "names no file"),
        (f"{A}  ..", "names no file"),
        (f"{A}  a\x00b", "names no file"),
        (f"{A}  {'a' * 1100}", "1024 characters"),
        ("\n" * 10_001, "10000 lines"),
        (" " * (MAX_CHARS + 1), "1048576 characters"),
        ("-----BEGIN PGP SIGNED MESSAGE-----", "no checksum line"),
    ],
)
def test_what_is_no_list_of_checksums_is_refused_as_a_whole(text: str, why: str) -> None:
    """Half a list looks like a whole one in which files are missing."""
    with pytest.raises(InvalidChecksums, match=why):
        parse_checksums(text)


def test_an_algorithm_that_is_not_known_is_refused() -> None:
    """An empty answer would look as if the list were empty."""
    with pytest.raises(InvalidChecksums, match="crc32"):
        parse_checksums("", algorithm="crc32")


def test_the_same_line_twice_is_no_contradiction() -> None:
    """Lists that are put together from parts repeat lines."""
    assert parse_checksums(f"{A}  a\n{A} *a\n") == {"a": A}


def test_a_digest_is_found_under_the_name_that_github_made_of_the_files() -> None:
    """The list says `App Setup.exe`, the release has `App.Setup.exe`."""
    digests = parse_checksums(f"{A}  App Setup (x64).exe\n{B}  b.zip\n{A}  c d.zip\n{B}  c~d.zip\n")
    assert digest_of(digests, "App.Setup.x64.exe") == A
    assert digest_of(digests, "b.zip") == B.lower()
    assert digest_of(digests, "c.d.zip") is None
    assert digest_of(digests, "e.zip") is None


@settings(max_examples=500 * FULL, deadline=None)
@given(st.text(max_size=400))
def test_any_text_is_read_or_refused_with_the_one_error(text: str) -> None:
    """The list comes from somewhere else, and one error type is what the caller handles."""
    try:
        found = parse_checksums(text, name="a")
    except InvalidChecksums:
        return
    assert all(len(digest) == 64 for digest in found.values())


@needs_sha256sum
@pytest.mark.parametrize("options", [[], ["--binary"], ["--tag"]])
def test_what_coreutils_writes_is_read(tmp_path: Path, options: list[str]) -> None:
    """The real program is the judge of its own formats."""
    contents = {"app.zip": b"one", "App Setup (2).exe": b"two", "a*b.deb": b"three"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    command = ["sha256sum", *options, *contents]
    written = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    expected = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    assert parse_checksums(written.stdout) == expected
