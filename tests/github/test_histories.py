"""Random histories of a repository: nothing half-published is ever served, and the catalogue ends as the truth."""

from __future__ import annotations

import os
import random
import sys
from typing import TYPE_CHECKING

import pytest

from tests.github.history import History, fits
from tests.github.scene import scene

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

HISTORIES, STEPS = (200, 40) if os.environ.get("LUNARBIT_TEST_FULL") == "1" else (20, 25)
PER_PAGE = 3


@pytest.mark.parametrize("seed", range(HISTORIES))
async def test_a_history_ends_in_the_truth(tmp_path: Path, seed: int) -> None:
    """Whatever happens on the way: uploads that come late, faults, limits, lost and repeated webhooks, restarts."""
    async with scene(tmp_path, per_page=PER_PAGE, timeout_s=0.3) as at:
        await at.add_project()
        history = History(at, random.Random(seed))
        for _ in range(STEPS):
            await history.step()
        await history.end()
        served = await at.served()
        truth = history.truth()
        assert served.keys() == truth.keys(), history.log
        for place, builds in served.items():
            assert any(fits(builds, files) for files in truth[place]), (place, history.log)
        assert at.github.violations == []
        spent = len(at.github.requests)
        await at.next_poll()
        again = at.github.requests[spent:]
        conditional = [asked for asked in again if asked.etag is not None]
        assert {asked.status for asked in conditional} <= {304}
        looks = len(at.watcher.looks)
        assert spent <= 8 * looks
        assert len(again) <= -(-len(at.github.releases) // PER_PAGE) + 2
        sys.stdout.write(f"history {seed}: {spent} requests in {looks} looks; {len(again)} when nothing has changed\n")
