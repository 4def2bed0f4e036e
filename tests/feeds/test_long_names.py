"""Names in the addresses of feeds that are as long as a head may be: what reads them must not take them apart.

Some patterns take seconds for them, in which nobody else is answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.releases.feeds.packages import is_full, read_package
from gateway.releases.feeds.velopack import read_channel
from tests.feeds.package_catalogue import FEEDS, feeds, make_notes, package

if TYPE_CHECKING:
    from pathlib import Path

LONG = "a" + "-1.1.1" * 8_000


def test_a_name_longer_than_any_file_has_is_no_package() -> None:
    """The limit is that of the names in the catalogue."""
    ending = "-1.0.0-full.nupkg"
    assert is_full("a" * (255 - len(ending)) + ending)
    assert read_package("a" * (256 - len(ending)) + ending) is None
    assert read_package(LONG) is None


def test_a_channel_longer_than_any_name_says_nothing() -> None:
    """Also if there are words in it."""
    assert read_channel("win-x64" + "-x" * 200) == (None, None)


@pytest.mark.parametrize("place", ["velopack/{}", "squirrel-win/{}", "electron/{}.yml", "velopack/releases.{}.json"])
async def test_a_long_name_is_answered_like_any_other(tmp_path: Path, place: str) -> None:
    """What is not there is 404; a channel that says no platform is answered for the only one that there is."""
    async with feeds(tmp_path) as found:
        await make_notes(found.client, {"id": "1.0.0", "builds": [package("1.0.0")]})
        response = await found.client.get(f"{FEEDS}/{place.format(LONG)}")
        assert response.status_code == (200 if place.endswith(".json") else 404)
