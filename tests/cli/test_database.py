"""`lunarbit db`: tables up to date, and copies that can be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke


def test_an_upgrade_says_what_it_did(invoke: Invoke) -> None:
    """The second one has nothing to do."""
    first = invoke("db", "upgrade")
    assert first.exit_code == 0
    assert first.stdout.startswith("The sqlite database was at nothing and is now at revision ")
    revision = first.stdout.split()[-1]
    second = invoke("db", "upgrade")
    assert (second.exit_code, second.stdout) == (0, f"The sqlite database is up to date at revision {revision}\n")


def test_a_backup_is_a_database_with_everything_in_it(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and an intact audit log."""
    assert invoke("keys", "create", "mobile").exit_code == 0
    result = invoke("db", "backup", "copy.sqlite3")
    assert result.exit_code == 0, result.stderr
    assert "copy.sqlite3" in result.stdout
    assert invoke("keys", "revoke", "mobile").exit_code == 0
    monkeypatch.setenv("DATABASE_URL", "sqlite:///copy.sqlite3")
    (key,) = json.loads(invoke("keys", "list", "--json").stdout)["keys"]
    assert (key["name"], key["status"]) == ("mobile", "active")
    assert "intact: 1 rows" in invoke("audit", "verify").stdout


def test_a_backup_that_cannot_be_made_has_exit_code_1(invoke: Invoke) -> None:
    """One line says why; nothing is overwritten."""
    invoke("db", "upgrade")
    Path("taken").write_text("mine")
    result = invoke("db", "backup", "taken")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "taken" in result.stderr
    assert result.stderr.count("\n") == 1
    assert Path("taken").read_text() == "mine"


def test_it_works_the_same_on_postgresql(invoke: Invoke, monkeypatch: pytest.MonkeyPatch, postgres_url: str) -> None:
    """By configuration alone; the copy is for pg_restore."""
    monkeypatch.setenv("DATABASE_URL", postgres_url)
    assert invoke("db", "upgrade").stdout.startswith("The postgresql database was at nothing and is now at revision ")
    assert invoke("db", "backup", "copy.dump").exit_code == 0
    assert Path("copy.dump").read_bytes().startswith(b"PGDMP")


def test_help_names_the_nouns_and_their_commands(invoke: Invoke) -> None:
    """Whoever types the name alone learns what there is."""
    told = {(): "keys db audit serve", ("keys",): "create list revoke rotate stats", ("db",): "upgrade backup"}
    for command, words in told.items():
        text = invoke(*command, "--help").stdout
        for word in words.split():
            assert word in text
    assert "verify" in invoke("audit", "--help").stdout
