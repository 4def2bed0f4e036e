"""What checks found out, in both databases: written only of the build that was checked, and with its audit row."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest_asyncio

from gateway.audit.chain import AuditKeys
from gateway.audit.entry import AuditEntry, AuditFilters
from gateway.releases.check_rules import CheckRecord, Finding
from gateway.releases.model import Architecture, Build, BuildState, Channel, Platform, Project, Version
from gateway.releases.store import BuildKey, CatalogTransaction
from gateway.storage.audit import AuditTable
from gateway.storage.catalog import CatalogTable
from gateway.storage.checks import CheckTable
from tests.storage.conftest import database, database_url, log, postgres, postgres_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from gateway.storage.database import Database

__all__ = ["database", "database_url", "log", "postgres", "postgres_url"]

KEYS: Final = AuditKeys.derive("a key of the tests", "a pepper", "")
KEY: Final = BuildKey("p", "stable", "1.0.0", "b")
BUILD: Final = Build("b", Platform.LINUX, Architecture.X64, "b.bin", 5, "https://a.test/b", "", created_at=1)
GOOD: Final = replace(BUILD, state=BuildState.VERIFIED, sha256="2" * 64, md5="m" * 32, state_at=7)
RECORD: Final = CheckRecord(1, 7, 7, 1000, 0, '"e"', "a date")
ENTRY: Final = AuditEntry(7, "verification", "verification", "build.state", "p/b", {"state": "pending"}, {}, "", "")


@pytest_asyncio.fixture
async def catalogue(database: Database) -> AsyncIterator[CatalogTable]:
    """Fill a database with one project that has one build."""
    table = CatalogTable(database, KEYS)

    async def fill(tx: CatalogTransaction) -> None:
        await tx.put_project(Project("p"))
        await tx.put_channel("p", Channel("stable"))
        await tx.put_version("p", "stable", Version("1.0.0"))
        await tx.put_build(KEY, BUILD)

    await table.administer(fill)
    yield table


def _put(build: Build) -> Callable[[CatalogTransaction], Awaitable[None]]:
    return lambda tx: tx.put_build(KEY, build)


async def _build(catalogue: CatalogTable) -> tuple[int, Build]:
    revision, changes = await catalogue.changes(0)
    assert changes[0].project is not None
    return revision, changes[0].project.channels[0].versions[0].builds[0]


async def test_a_result_is_written_with_its_audit_and_its_record(database: Database, catalogue: CatalogTable) -> None:
    """And other processes hear of it by the revision."""
    checks = CheckTable(database, KEYS)
    before, _ = await _build(catalogue)
    written = await checks.write(KEY, BUILD, Finding(GOOD, RECORD), ENTRY)
    assert written is not None
    assert written.revision == before + 1
    assert await _build(catalogue) == (before + 1, GOOD)
    assert await checks.load() == {KEY: RECORD}
    page = await AuditTable(database).page(AuditFilters(), 1, 10)
    assert [entry for _, entry in page.entries] == [ENTRY]
    assert page.head == written.head


async def test_a_probe_that_finds_all_as_it_was_changes_no_answer(database: Database, catalogue: CatalogTable) -> None:
    """Only the record is replaced; the revision, on which every ETag rests, stays."""
    checks = CheckTable(database, KEYS)
    await checks.write(KEY, BUILD, Finding(GOOD, RECORD), ENTRY)
    before = await _build(catalogue)
    later = RECORD._replace(checked_at=9, next_at=2000, failures=2, etag=None)
    written = await checks.write(KEY, GOOD, Finding(GOOD, later), None)
    assert written == (None, None)
    assert await _build(catalogue) == before
    assert await checks.load() == {KEY: later}


async def test_nothing_is_written_of_another_build(database: Database, catalogue: CatalogTable) -> None:
    """One that was replaced, declared anew, verified again, or judged by another process meanwhile; or is gone."""
    checks = CheckTable(database, KEYS)
    for other in (
        replace(BUILD, created_at=2),
        replace(BUILD, download_url="https://b.test/b"),
        replace(BUILD, sha256="3" * 64),
        replace(BUILD, file_size=6),
        replace(BUILD, state_at=3),
        replace(BUILD, state=BuildState.FAILED, state_at=3),
    ):
        await catalogue.administer(_put(other))
        before = await _build(catalogue)
        assert await checks.write(KEY, BUILD, Finding(GOOD, RECORD), ENTRY) is None
        assert await checks.write(KEY, BUILD, Finding(BUILD, RECORD), None) is None
        assert await _build(catalogue) == before
    await catalogue.administer(lambda tx: tx.delete_project("p", 5))
    assert await checks.write(KEY, BUILD, Finding(GOOD, RECORD), ENTRY) is None
    assert await checks.load() == {}
    assert (await AuditTable(database).page(AuditFilters(), 1, 10)).entries == []


async def test_records_go_with_the_builds(database: Database, catalogue: CatalogTable) -> None:
    """A channel or project of the same name begins anew."""
    checks = CheckTable(database, KEYS)
    await checks.write(KEY, BUILD, Finding(BUILD, RECORD), None)
    await catalogue.administer(lambda tx: tx.delete_channel("p", "stable"))
    assert await checks.load() == {}
