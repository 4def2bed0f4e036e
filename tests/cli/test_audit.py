"""`lunarbit audit verify`: its report and its exit codes."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke

DATABASE = Path("data/lunarbit.sqlite3")
ACTS = 5


@pytest.fixture
def head(invoke: Invoke) -> str:
    """Fill an audit log, and return its head as an operator finds it."""
    for number in range(ACTS - 1):
        assert invoke("keys", "create", f"key {number}").exit_code == 0
    result = invoke("keys", "revoke", "key 0")
    line = json.loads(result.stderr)
    return f"{line['seq']}:{line['mac']}"


def tamper(*statements: str) -> None:
    """Do what an intruder does who may write to the file."""
    with closing(sqlite3.connect(DATABASE)) as connection:
        for what in ("update", "delete", "replace"):
            connection.execute(f"DROP TRIGGER audit_log_no_{what}")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_an_untouched_log_is_intact(invoke: Invoke, head: str) -> None:
    """Also against a head kept elsewhere; the report has the present head, to be kept."""
    result = invoke("audit", "verify", "--head", head)
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"The audit log is intact: {ACTS} rows." in result.stdout
    assert head in result.stdout
    answer = json.loads(invoke("audit", "verify", "--json").stdout)
    count, mac = head.split(":")
    assert answer == {
        "intact": True,
        "tampered": False,
        "rows": ACTS,
        "head": {"count": int(count), "mac": mac},
        "findings": [],
        "unlisted": 0,
    }


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE audit_log SET actor = 'nobody' WHERE seq = 2", "Row 2 is not what was signed"),
        ("DELETE FROM audit_log WHERE seq IN (2, 3)", "Rows 2 to 3 are missing"),
        ("DELETE FROM audit_log WHERE seq > 3", "Rows 4 to 5 are cut off"),
    ],
)
def test_tampering_is_reported_with_exit_code_1(invoke: Invoke, head: str, statement: str, told: str) -> None:
    """Clearly, for people and for scripts."""
    tamper(statement)
    result = invoke("audit", "verify")
    assert result.exit_code == 1
    assert told in result.stdout
    assert "TAMPERED" in result.stdout
    result = invoke("audit", "verify", "--json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert (answer["intact"], answer["tampered"]) == (False, True)
    (finding,) = answer["findings"]
    assert told in finding["text"]


def test_truncation_is_found_by_a_head_kept_elsewhere(invoke: Invoke, head: str) -> None:
    """The log by itself looks well."""
    tamper(
        "DELETE FROM audit_log WHERE seq > 3",
        "UPDATE audit_head SET count = 3, mac = (SELECT mac FROM audit_log WHERE seq = 3)",
    )
    assert invoke("audit", "verify").exit_code == 0
    result = invoke("audit", "verify", "--head", head)
    assert result.exit_code == 1
    assert "Rows 4 to 5 are cut off" in result.stdout


def test_a_report_does_not_grow_without_end(invoke: Invoke, head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how much it leaves out."""
    monkeypatch.setattr("gateway.audit.verify.MAX_LISTED", 1)
    tamper("UPDATE audit_log SET actor = 'nobody' WHERE seq IN (2, 4)")
    assert "... and 1 findings more" in invoke("audit", "verify").stdout


def test_a_key_that_is_missing_has_exit_code_2(
    invoke: Invoke, head: str, monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    """It is no tampering, and no proof of none; with the previous pepper all is well again."""
    pepper = (here / "data/development-pepper").read_text().strip()
    monkeypatch.setenv("KEY_PEPPER", "a-new-pepper-of-some-length")
    result = invoke("audit", "verify")
    assert result.exit_code == 2
    assert f"Rows 1 to {ACTS} are signed with the key" in result.stdout
    assert "TAMPERED" not in result.stdout
    monkeypatch.setenv("KEY_PEPPER_PREVIOUS", pepper)
    assert invoke("audit", "verify").exit_code == 0
    monkeypatch.setenv("AUDIT_KEY", "a-key-for-the-log-alone")
    assert invoke("keys", "create", "later").exit_code == 0
    assert "intact: 6 rows" in invoke("audit", "verify", "--head", head).stdout
    monkeypatch.delenv("AUDIT_KEY")
    assert invoke("audit", "verify").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "There is no database at"),
        (["--head", "5"], "--head"),
        (["--head", "5:xyz"], "--head"),
        (["--config", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_what_cannot_be_verified_has_exit_code_2(invoke: Invoke, arguments: list[str], told: str) -> None:
    """A log that is not there must not be found intact, nor made."""
    result = invoke("audit", "verify", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr
    assert not DATABASE.exists()


def test_a_database_that_is_damaged_has_exit_code_2(invoke: Invoke, head: str) -> None:
    """Exit code 1 is for tampering alone."""
    tamper("DROP TABLE audit_head")
    result = invoke("audit", "verify")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "cannot be read" in result.stderr
