"""SIGKILL at any moment: what was acknowledged is there afterwards, and nothing is broken."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from gateway.storage.database import sqlite_url
from tests.durability.driver import ENOUGH_ACTS, WRITERS
from tests.durability.evidence import assert_file_is_sound, assert_nothing_lost, opened
from tests.durability.writer import AT_ONCE, Ack, settings_for

# A machine that is busy with other things takes long over so many processes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
LIMIT_S = 500.0
KILLS = 500 if os.environ.get("LUNARBIT_TEST_FULL") == "1" else 120
KILLS_POSTGRES = KILLS // 10
KILLS_OPENING = KILLS // 10
SEED = 20_26


async def driven(mode: str, url: str, folder: Path, kills: int) -> list[Ack]:
    """Let the driver kill so many writers, and return what they acknowledged."""
    command = ("-m", "tests.durability.driver", mode, url, str(folder), str(kills), str(SEED))
    program = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        said, complaints = await asyncio.wait_for(program.communicate(), LIMIT_S)
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    assert program.returncode == 0, complaints.decode()
    return [Ack(*json.loads(line)) for line in said.splitlines()]


async def kill_writers(url: str, folder: Path, kills: int) -> list[Ack]:
    """Kill so many writers of one database, and return what they acknowledged; they must have worked."""
    acks = await driven("working", url, folder, kills)
    # Most writers were killed at work, and some before.
    assert kills // 2 < sum(ack.action == "open" for ack in acks) < kills + WRITERS
    acts = [ack for ack in acks if ack.action != "open"]
    assert len(acts) > kills
    return acts


async def test_no_acknowledged_act_is_lost_when_writers_are_killed(tmp_path: Path) -> None:
    """Keys, rotations, revocations and audit rows, on the embedded database."""
    url = sqlite_url(tmp_path / "data.sqlite3")
    acts = await kill_writers(url, tmp_path, KILLS)
    async with opened(settings_for(url, tmp_path)) as stores:
        await assert_nothing_lost(stores, acts, AT_ONCE * (KILLS + WRITERS))
    assert_file_is_sound(tmp_path / "data.sqlite3")


async def test_no_acknowledged_act_is_lost_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    """The same with a database that goes on when its clients die."""
    acts = await kill_writers(postgres_url, tmp_path, KILLS_POSTGRES)
    async with opened(settings_for(postgres_url, tmp_path)) as stores:
        await assert_nothing_lost(stores, acts, AT_ONCE * (KILLS_POSTGRES + WRITERS))


async def test_a_start_that_was_killed_is_finished_by_the_next_one(tmp_path: Path) -> None:
    """Half a migration would keep every later start from its work."""
    acks = await driven("opening", sqlite_url(tmp_path) + "/{}/data.sqlite3", tmp_path, KILLS_OPENING)
    for number in range(KILLS_OPENING):
        file = tmp_path / str(number) / "data.sqlite3"
        acts = [ack for ack in acks if ack.name.startswith(f"{number}-") and ack.action != "open"]
        async with opened(settings_for(sqlite_url(file), tmp_path)) as stores:
            assert len(acts) >= ENOUGH_ACTS
            await assert_nothing_lost(stores, acts, WRITERS * AT_ONCE)
        assert_file_is_sound(file)
