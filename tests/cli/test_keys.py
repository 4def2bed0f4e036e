"""`lunarbit keys`: keys without a server, for people and for scripts."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.auth.key_fields import new_key
from gateway.auth.keys import ApiKey
from gateway.auth.secret import StoredSecret, new_secret
from gateway.auth.store import KeyTransaction
from gateway.cli.keys import _os_user
from gateway.settings import load_settings
from gateway.stores import Stores
from tests.cli.conftest import Invoke

SECRET = re.compile(r"lbapi_[0-9A-Za-z]{46}")


def created(invoke: Invoke, name: str, *options: str) -> dict[str, Any]:
    """Make a key and return the answer."""
    result = invoke("keys", "create", name, *options, "--json")
    assert result.exit_code == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def listed(invoke: Invoke, *options: str) -> list[dict[str, Any]]:
    """Return all keys."""
    result = invoke("keys", "list", "--json", *options)
    assert result.exit_code == 0, result.stderr
    keys: list[dict[str, Any]] = json.loads(result.stdout)["keys"]
    return keys


def test_a_new_secret_stands_once_and_on_a_line_of_its_own(invoke: Invoke) -> None:
    """So that it can be copied with one click, and is nowhere else on the screen."""
    result = invoke("keys", "create", "mobile", "--permission", "canUseAI", "--expires-in", "90d")
    assert result.exit_code == 0
    (secret,) = SECRET.findall(result.output)
    assert secret in [line.strip() for line in result.stdout.splitlines()]
    for part in ("created", "mobile", "will not be shown again", "canUseAI"):
        assert part in result.stdout
    assert re.search(r"Expires: 20\d\d-\d\d-\d\d \d\d:\d\d UTC", result.stdout)


def test_every_option_becomes_a_field(invoke: Invoke) -> None:
    """By the names of the HTTP API; options that repeat become lists."""
    (here := Path("config")).mkdir()
    (here / "prices.toml").write_text("currency = 'USD'\n[models.'a/b']\ninput = 1\ncached_input = 1\noutput = 1\n")
    options = {
        "--description": ["for phones"], "--permission": ["canUseAI", "canReadProjects"], "--rate-limit": ["5"],
        "--ai-rate-limit": ["6"], "--project": ["trackly", "csviewer"], "--model": ["gpt-4"], "--tag": ["a", "b"],
        "--max-tokens-per-request": ["7"], "--tokens-per-day": ["8"], "--max-parallel": ["9"], "--budget": ["10.5"],
        "--budget-currency": ["USD"], "--budget-period": ["week"],
    }  # fmt: skip
    answer = created(
        invoke, "mobile", *(part for name, values in options.items() for value in values for part in (name, value))
    )
    assert answer["permissions"]["canUseAI"] is answer["permissions"]["canReadProjects"] is True
    (key,) = listed(invoke)
    expected = {
        "description": "for phones", "rateLimit": 5, "aiRateLimit": 6, "allowedProjects": ["trackly", "csviewer"],
        "allowedModels": ["gpt-4"], "tags": ["a", "b"], "maxTokensPerRequest": 7, "tokensPerDay": 8, "maxParallel": 9,
        "budget": {"amount": 10.5, "currency": "USD", "period": "week"}, "expiresAt": None,
    }  # fmt: skip
    assert {name: key[name] for name in expected} == expected
    shown = invoke("keys", "list").stdout
    for text in ("for phones", "5 requests", "9 at once", "10.5 USD / week", "only gpt-4"):
        assert (text in shown) == (text != "for phones")


def test_lists_show_every_key_with_its_state(invoke: Invoke) -> None:
    """Revoked ones too, masked, with their whole names, which may hold what a terminal could take for markup."""
    name = "[red]mobile[b] with a long name, of which nothing is to be cut"
    secret = created(invoke, name, "--tag", "phone")["key"]
    created(invoke, "other")
    assert invoke("keys", "revoke", "other").exit_code == 0
    result = invoke("keys", "list")
    shown = "".join(line.split("│")[1].strip(" ") if "│" in line else "" for line in result.stdout.splitlines())
    assert name.replace(" ", "") in shown.replace(" ", "")
    assert "2 key(s)" in result.stdout
    assert "revoked" in result.stdout
    assert "active" in result.stdout
    assert f"{secret[:10]}********" in result.stdout
    assert secret not in result.stdout
    assert [key["name"] for key in listed(invoke, "--tag", "phone")] == [name]


def test_a_list_does_not_end_with_the_first_page(invoke: Invoke) -> None:
    """The HTTP API gives a hundred at most; a person wants all, and a script too."""

    async def make(count: int) -> None:
        stores = Stores(load_settings())
        await stores.database.open()
        for number in range(count):
            key = new_key({"name": f"key {number}"}, f"key_{number}", number, "")
            await stores.keys.administer(partial(_insert, key, stores.peppers.store(new_secret(), 1)))
        await stores.database.close()

    asyncio.run(make(203))
    answer = json.loads(invoke("keys", "list", "--json").stdout)
    assert [key["name"] for key in answer["keys"]] == [f"key {number}" for number in range(203)]
    assert (answer["total"], answer["page"], answer["per_page"]) == (203, 1, 203)


async def _insert(key: ApiKey, secret: StoredSecret, tx: KeyTransaction) -> None:
    await tx.insert(key, secret)


def test_a_rotated_key_has_a_new_secret_and_says_until_when_the_old_one_is_good(invoke: Invoke) -> None:
    """By default for a day, or for as long as is asked."""
    first = created(invoke, "mobile")["key"]
    shown = invoke("keys", "rotate", "mobile", "--overlap", "2h")
    (second,) = SECRET.findall(shown.output)
    assert "previous secret is valid until: 20" in shown.stdout
    third = json.loads(invoke("keys", "rotate", "mobile", "--json").stdout)
    assert len({first, second, third["key"]}) == 3
    assert third["previousKeyValidUntil"].endswith("Z")


def test_revoking_prints_nothing_for_scripts(invoke: Invoke) -> None:
    """As the HTTP API answers 204."""
    created(invoke, "mobile")
    assert "within a second" in invoke("keys", "revoke", created(invoke, "other")["name"]).stdout
    result = invoke("keys", "revoke", "mobile", "--json")
    assert (result.exit_code, result.stdout) == (0, "")
    assert {key["status"] for key in listed(invoke)} == {"revoked"}


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["create", "taken"], "KEY_NAME_EXISTS"),
        (["create", "bad/name"], "name: must be"),
        (["create", "x", "--permission", "canFly"], "'canFly' is no permission"),
        (["create", "x", "--rate-limit", "0", "--expires-in", "soon"], "rateLimit"),
        (["create", "x", "--budget", "5", "--budget-currency", "XXX"], "budget.currency"),
        (["revoke", "nobody"], "KEY_NOT_FOUND"),
        (["rotate", "nobody"], "KEY_NOT_FOUND"),
        (["rotate", "taken", "--overlap", "long"], "overlap"),
        (["stats", "nobody"], "KEY_NOT_FOUND"),
    ],
)
def test_what_the_gateway_refuses_is_told_in_one_line(invoke: Invoke, command: list[str], told: str) -> None:
    """On standard error, with exit code 1; nothing was done."""
    created(invoke, "taken")
    result = invoke("keys", *command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert told in result.stderr
    assert result.stderr.count("\n") == 1
    assert [key["name"] for key in listed(invoke)] == ["taken"]


def test_several_mistakes_are_told_together(invoke: Invoke) -> None:
    """Nobody likes to be told one after the other."""
    result = invoke("keys", "create", "x", "--rate-limit", "0", "--max-parallel", "-1", "--expires-in", "soon")
    for field in ("rateLimit", "maxParallel", "expiresIn"):
        assert field in result.stderr


@pytest.mark.parametrize(
    "options", [["--budget", "5"], ["--budget-currency", "USD"], ["--rate-limit", "many"], ["--colour", "red"], []]
)
def test_a_mistyped_command_has_exit_code_2(invoke: Invoke, options: list[str]) -> None:
    """Before anything is opened or made."""
    name = ["x"] if options else []
    assert invoke("keys", "create", *name, *options).exit_code == 2
    assert not Path("data").exists()


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("PORT", "70000", "server.port"),
        ("DATABASE_URL", "sqlite:////dev/null/x.sqlite3", "/dev/null"),
        ("DATABASE_URL", "postgresql://someone:s3cret@127.0.0.1:1/none", "127.0.0.1"),
        ("GATEWAY_DATA_DIR", "/dev/null/x", "data.dir"),
    ],
)
def test_settings_that_cannot_be_used_have_exit_code_2(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str
) -> None:
    """Named, without a traceback and without the password."""
    monkeypatch.setenv(variable, value)
    result = invoke("keys", "list")
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr
    assert "s3cret" not in result.stderr


def test_the_audit_log_names_the_user_of_the_system(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not the one that a variable of the environment pretends; every act leaves a row, and its head in the log."""
    monkeypatch.setenv("USER", "somebody-else")
    monkeypatch.setenv("LOGNAME", "somebody-else")
    created(invoke, "mobile")
    result = invoke("keys", "revoke", "mobile")
    (line,) = [json.loads(line) for line in result.stderr.splitlines()]
    assert (line["event"], line["seq"], line["action"], line["target"]) == ("audit", 2, "key.revoke", "mobile")
    assert line["actor"] == f"command-line ({pwd.getpwuid(os.getuid()).pw_name})"


def test_a_user_without_a_name_is_told_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container; where the system has no such list, what it says is all there is."""

    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert _os_user() == str(os.getuid())
    monkeypatch.setitem(sys.modules, "pwd", None)
    monkeypatch.setenv("LOGNAME", "ada\n")
    assert _os_user() == "ada?"


def test_it_works_the_same_on_postgresql(invoke: Invoke, monkeypatch: pytest.MonkeyPatch, postgres_url: str) -> None:
    """By configuration alone."""
    monkeypatch.setenv("DATABASE_URL", postgres_url)
    first = created(invoke, "mobile", "--tag", "phone", "--permission", "canUseAI")["key"]
    second = json.loads(invoke("keys", "rotate", "mobile", "--json").stdout)["key"]
    assert first != second
    (key,) = listed(invoke, "--tag", "phone")
    assert key["maskedKey"].startswith(second[:10])
    assert invoke("keys", "revoke", "mobile").exit_code == 0
    assert listed(invoke)[0]["status"] == "revoked"
    assert "intact: 3 rows" in invoke("audit", "verify").stdout
    assert not list(Path("data").glob("*.sqlite3"))
