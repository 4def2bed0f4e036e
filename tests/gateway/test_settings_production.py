"""The secrets that a gateway cannot do without, above all in production: admin key, read key, peppers, audit key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.settings.checks import is_placeholder
from tests.gateway.settings_files import GOOD_KEY, GOOD_PEPPER, PRODUCTION, load, only_problem, refused

if TYPE_CHECKING:
    from pathlib import Path

PLACEHOLDERS = [
    "your_admin_key",
    "your_admin_key_here",
    "YOUR-ADMIN-KEY-HERE",
    "<your_admin_key_here>",
    "my_super_secret_key",
    "changeme",
    "change_me_please",
    "changeme_changeme",
    "changeme12345678",
    "replace_me_with_a_secret",
    "please-change-me",
    "replace-me-with-a-key",
    "admin_key",
    "adminkeyadminkey",
    "api_key_admin",
    "secret_token_here",
]


@pytest.mark.parametrize("key", PLACEHOLDERS)
def test_production_refuses_a_placeholder_and_says_how_to_make_a_key(tmp_path: Path, key: str) -> None:
    """The product page's own examples are public."""
    (problem,) = refused(tmp_path, NODE_ENV="production", API_KEY_ADMIN=key, KEY_PEPPER=GOOD_PEPPER).problems
    assert "placeholder" in problem.allowed
    assert 'python3 -c "import secrets; print(secrets.token_urlsafe(32))"' in problem.allowed
    assert problem.value_masked == "***"


@given(st.binary(min_size=16, max_size=48))
def test_a_key_made_at_random_is_never_taken_for_a_placeholder(content: bytes) -> None:
    """Else a start would fail once in a while, for no reason that anyone could see."""
    assert not is_placeholder(content.hex())


def test_production_needs_an_admin_key(tmp_path: Path) -> None:
    """Without one nobody could use the gateway, and inventing one would hide it in a log."""
    line = only_problem(tmp_path, APP_ENV="production", KEY_PEPPER=GOOD_PEPPER)
    assert line.startswith("API_KEY_ADMIN (auth.admin_key) is not set")
    assert "token_urlsafe" in line
    assert load(tmp_path, **PRODUCTION).is_production


@pytest.mark.parametrize("app_env", ["development", "test", "production"])
def test_a_short_admin_key_is_refused_everywhere(tmp_path: Path, app_env: str) -> None:
    """A guessable key is no key; in development a long placeholder is merely unwise."""
    environ = {**PRODUCTION, "APP_ENV": app_env}
    assert "16 characters or more" in only_problem(tmp_path, **{**environ, "API_KEY_ADMIN": "Zq7wJx0pL3vTn8s"})
    assert load(tmp_path, **{**environ, "API_KEY_ADMIN": "Zq7wJx0pL3vTn8sR"}).app_env == app_env


def test_a_long_placeholder_is_allowed_in_development(tmp_path: Path) -> None:
    """People paste the product page's example to try things out."""
    settings = load(tmp_path, API_KEY_ADMIN="your_admin_key_here")
    assert settings.auth.admin_key.get_secret_value() == "your_admin_key_here"


def test_the_read_key_must_not_be_the_admin_key(tmp_path: Path) -> None:
    """It is handed to readers."""
    assert "differ" in only_problem(tmp_path, API_KEY_ADMIN=GOOD_KEY, API_KEY_READ=GOOD_KEY)


def test_production_needs_a_pepper(tmp_path: Path) -> None:
    """One that was made up would be lost with the data folder, and every key with it; development makes its own."""
    line = only_problem(tmp_path, APP_ENV="production", API_KEY_ADMIN=GOOD_KEY)
    assert line.startswith("KEY_PEPPER (auth.pepper) is not set")
    assert "token_urlsafe" in line
    for app_env in ("development", "test"):
        assert load(tmp_path, APP_ENV=app_env).auth.pepper.get_secret_value() == ""


@pytest.mark.parametrize("variable", ["KEY_PEPPER", "KEY_PEPPER_PREVIOUS", "AUDIT_KEY"])
def test_a_short_pepper_or_audit_key_is_refused(tmp_path: Path, variable: str) -> None:
    """Whoever has the database could try them all; the value is not shown."""
    line = only_problem(tmp_path, **{**PRODUCTION, variable: GOOD_KEY[:15]})
    assert line.startswith(variable)
    assert "16 characters or more" in line
    assert GOOD_KEY[:15] not in line
    assert load(tmp_path, **{**PRODUCTION, variable: GOOD_KEY[:16]}).is_production


def test_a_previous_pepper_needs_another_present_one(tmp_path: Path) -> None:
    """It is on its way out, so there must be what takes its place."""
    assert "needs auth.pepper" in only_problem(tmp_path, KEY_PEPPER_PREVIOUS=GOOD_PEPPER)
    line = only_problem(tmp_path, KEY_PEPPER=GOOD_PEPPER, KEY_PEPPER_PREVIOUS=GOOD_PEPPER)
    assert line.startswith("KEY_PEPPER_PREVIOUS")
    assert "must differ" in line
    assert GOOD_PEPPER not in line
