"""Secrets: from files, from other variables, one way at a time, and never in anything that is printed."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING

import pytest

from gateway.settings import load_settings
from tests.gateway.settings_files import GOOD_KEY, GOOD_PEPPER, load, only_problem, refused, value_of

if TYPE_CHECKING:
    from pathlib import Path

SECRET_FILES = [
    ("API_KEY_ADMIN_FILE", "auth.admin_key"),
    ("API_KEY_READ_FILE", "auth.read_key"),
    ("KEY_PEPPER_FILE", "auth.pepper"),
    ("KEY_PEPPER_PREVIOUS_FILE", "auth.pepper_previous"),
    ("GATEWAY_AUTH__PEPPER_FILE", "auth.pepper"),
    ("AUDIT_KEY_FILE", "audit.key"),
    ("METRICS_TOKEN_FILE", "metrics.token"),
    ("GITHUB_TOKEN_FILE", "github.token"),
    ("GITHUB_WEBHOOK_SECRET_FILE", "github.webhook_secret"),
    ("OPENAI_API_KEY_FILE", "providers.openai.api_key"),
    ("GATEWAY_PROVIDERS__LMSTUDIO__API_KEY_FILE", "providers.lmstudio.api_key"),
]


@pytest.mark.parametrize(("variable", "dotted"), SECRET_FILES)
@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_secret_can_come_from_a_file(tmp_path: Path, variable: str, dotted: str, ending: str) -> None:
    """Container platforms hand secrets over as files, often with a line break that is no part of them."""
    secret = tmp_path / "secret.txt"
    secret.write_bytes(GOOD_KEY.encode() + ending.encode())
    needed = {"KEY_PEPPER": GOOD_PEPPER} if dotted == "auth.pepper_previous" else {}
    assert value_of(load(tmp_path, **{variable: str(secret)}, **needed), dotted) == GOOD_KEY


def test_addresses_with_passwords_and_header_tables_can_come_from_files(tmp_path: Path) -> None:
    """They hold secrets too."""
    (tmp_path / "redis.txt").write_text("redis://:hidden@h:6379\n")
    (tmp_path / "headers.json").write_text('{"Authorization": "Basic abc"}')
    settings = load(
        tmp_path,
        REDIS_URL_FILE=str(tmp_path / "redis.txt"),
        GATEWAY_PROVIDERS__OPENAI__HEADERS_FILE=str(tmp_path / "headers.json"),
    )
    assert settings.redis.url == "redis://:hidden@h:6379"
    assert settings.providers["openai"].headers == {"Authorization": "Basic abc"}


@pytest.mark.parametrize("variable", [name for name, _ in SECRET_FILES])
def test_an_unreadable_secret_file_is_one_problem(tmp_path: Path, variable: str) -> None:
    """A start without the secret that was asked for would be a surprise."""
    line = only_problem(tmp_path, **{variable: str(tmp_path / "missing.txt")})
    assert variable in line
    assert "no such file" in line


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"\n", "empty"), (b"\xff\xfe\xff", "UTF-8"), (b"x" * 70_000, "larger")],
)
def test_a_secret_file_must_hold_a_secret(tmp_path: Path, content: bytes, reason: str) -> None:
    """An empty file, a binary one and an endless one are mistakes."""
    (tmp_path / "s.txt").write_bytes(content)
    assert reason in only_problem(tmp_path, METRICS_TOKEN_FILE=str(tmp_path / "s.txt"))
    assert reason in only_problem(tmp_path, OPENAI_API_KEY_FILE=str(tmp_path / "s.txt"))


def test_a_folder_is_no_secret_file_and_a_missing_admin_file_is_not_also_a_missing_key(
    tmp_path: Path,
) -> None:
    """In production the unreadable file is the one thing to mend."""
    line = only_problem(tmp_path, APP_ENV="production", KEY_PEPPER=GOOD_PEPPER, API_KEY_ADMIN_FILE=str(tmp_path))
    assert "API_KEY_ADMIN_FILE" in line
    assert "folder" in line


def test_a_key_given_in_place_of_its_file_is_not_shown(tmp_path: Path) -> None:
    """People paste the secret into the variable that wants a path."""
    assert GOOD_KEY not in str(refused(tmp_path, METRICS_TOKEN_FILE=GOOD_KEY, OPENAI_API_KEY_FILE=GOOD_KEY))


def test_a_secret_and_its_file_must_agree(tmp_path: Path) -> None:
    """Otherwise one of the two is a secret that somebody forgot to change."""
    (tmp_path / "s.txt").write_text("from-file\n")
    line = only_problem(tmp_path, METRICS_TOKEN="from-variable", METRICS_TOKEN_FILE=str(tmp_path / "s.txt"))
    assert "METRICS_TOKEN_FILE" in line
    assert "from-" not in line


def test_api_key_env_and_api_key_file_are_resolved(tmp_path: Path) -> None:
    """The composition root finds the key in one place, wherever it came from."""
    (tmp_path / "key.txt").write_text("from-file\n")
    toml = f"""
        [providers.a]
        kind = "openai"
        api_key_env = "MY_KEY"
        [providers.b]
        kind = "openai"
        api_key_file = "{tmp_path / "key.txt"}"
        """
    settings = load(tmp_path, toml, MY_KEY="from-variable")
    assert settings.providers["a"].api_key.get_secret_value() == "from-variable"
    assert settings.providers["b"].api_key.get_secret_value() == "from-file"


def test_a_missing_credential_matters_only_for_an_enabled_provider(tmp_path: Path) -> None:
    """A provider that is switched off may lack its secret on this machine."""
    toml = """
        [providers.a]
        kind = "openai"
        enabled = {enabled}
        api_key_env = "MISSING_KEY"
        [providers.b]
        kind = "openai"
        enabled = {enabled}
        api_key_file = "/nowhere/key.txt"
        """
    off = load(tmp_path, toml.format(enabled="false"))
    assert list(off.providers) == ["a", "b"]
    assert off.enabled_providers == {}
    lines = [str(problem) for problem in refused(tmp_path, toml.format(enabled="true")).problems]
    assert len(lines) == 2
    assert 'providers.a.api_key_env is "MISSING_KEY"' in lines[0]
    assert 'providers.b.api_key_file is "/nowhere/key.txt"' in lines[1]


def test_only_one_way_to_name_a_credential_may_be_given(tmp_path: Path) -> None:
    """Two would leave open which one counts, also when the provider is switched off."""
    toml = "[providers.a]\nkind = 'openai'\nenabled = false\napi_key = 'hidden-1'\napi_key_env = 'MY_KEY'"
    line = only_problem(tmp_path, toml, MY_KEY="hidden-2")
    assert "providers.a.api_key and providers.a.api_key_env" in line
    assert "hidden" not in line
    (tmp_path / "k.txt").write_text("hidden-3")
    line = only_problem(tmp_path, OPENAI_API_KEY="hidden-1", OPENAI_API_KEY_FILE=str(tmp_path / "k.txt"))
    assert "OPENAI_API_KEY_FILE" in line
    assert "hidden" not in line


@pytest.mark.parametrize("written", ["api_key = 'old'", "api_key_env = 'OPENAI_API_KEY'", "api_key_file = '/no'"])
def test_a_credential_of_the_environment_replaces_the_one_in_the_file(tmp_path: Path, written: str) -> None:
    """Precedence holds for the credential as a whole."""
    settings = load(tmp_path, f"[providers.openai]\n{written}", OPENAI_API_KEY="sk-new")
    provider = settings.providers["openai"]
    assert provider.api_key.get_secret_value() == "sk-new"
    assert (provider.api_key_env, provider.api_key_file) == ("", None)


def test_openai_api_key_that_the_file_gives_to_another_provider_makes_none_of_its_own(tmp_path: Path) -> None:
    """Otherwise every such file would have the same account twice."""
    toml = "[providers.main]\nkind = 'openai'\napi_key_env = 'OPENAI_API_KEY'"
    settings = load(tmp_path, toml, OPENAI_API_KEY="sk-1")
    assert list(settings.providers) == ["main"]
    assert settings.providers["main"].api_key.get_secret_value() == "sk-1"
    assert list(load(tmp_path, toml, OPENAI_API_KEY="sk-1", OPENAI_ENABLED="true").providers) == [
        "main",
        "openai",
    ]


def test_debugging_of_pydantic_settings_logs_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It can be told to log what every source returned, in plain text."""
    monkeypatch.setenv("PYDANTIC_SETTINGS_DEBUG", "1")
    with caplog.at_level(logging.DEBUG):
        load(tmp_path, "[providers.a]\nkind = 'openai'\napi_key = 'hidden-1'", METRICS_TOKEN="hidden-2")
    assert "hidden" not in caplog.text


CANARY = "canary-5up3r-s3cr3t"
EVERY_SECRET = f"""
    [server]
    public_url = "https://user:{CANARY}@host.example/"
    [database]
    url = "postgresql://user:{CANARY}@host/db?password={CANARY}"
    [redis]
    url = "redis://:{CANARY}@host"
    [auth]
    pepper = "{CANARY}-1"
    pepper_previous = "{CANARY}-2"
    admin_key = "{CANARY}-3"
    read_key = "{CANARY}-4"
    [audit]
    key = "{CANARY}-5"
    [metrics]
    token = "{CANARY}"
    [github]
    token = "{CANARY}"
    webhook_secret = "{CANARY}"
    [providers.a]
    kind = "openai"
    api_key = "{CANARY}"
    headers = {{ Authorization = "Bearer {CANARY}" }}
    options = {{ token = "{CANARY}", deep = {{ list = ["{CANARY}"] }} }}
    """


def test_settings_print_without_secrets(tmp_path: Path) -> None:
    """A settings object ends up in a log or a traceback sooner or later."""
    settings = load(tmp_path, EVERY_SECRET.replace(f"user:{CANARY}@host.example", "host.example"))
    for shown in (repr(settings), str(settings), f"{settings.providers}", f"{settings.redis}"):
        assert CANARY not in shown
    assert settings.providers["a"].headers["Authorization"] == f"Bearer {CANARY}"
    assert CANARY in settings.redis.url


def broken_secrets() -> list[tuple[str, dict[str, str]]]:
    """Return configurations that are wrong at or beside a secret."""
    bad = f"{CANARY}\\u0007"
    return [
        (EVERY_SECRET + "[server.x]", {}),
        (EVERY_SECRET, {"PORT": "bad", "LOG_LEVEL": "bad"}),
        (f'[auth]\nadmin_key = "{bad}"\nread_key = "{bad}"\npepper = ["{CANARY}"]', {}),
        (f'[providers.a]\nkind = "openai"\napi_key = "{bad}"\nheaders = {{ X-A = "{bad}" }}', {}),
        (f'[providers.a]\nkind = "openai"\napi_key = {{ v = "{CANARY}" }}\nheaders = ["{CANARY}"]', {}),
        (f'[providers.a]\nkind = "openai"\nheaders = {{ X-A = ["{CANARY}"] }}\noptions = "{CANARY}"', {}),
        (f'[providers.a]\nkind = "openai"\napi_key_env = "{CANARY}"', {}),
        (f'[providers.a]\nkind = "openai"\napi_key_file = "{CANARY}"', {}),
        (f'[providers.a]\nkind = "openai"\nbase_url = "https://u:{CANARY}@h/"', {}),
        (f'[providers.a]\nkind = "openai"\nbase_url = "https://h/v1?key={CANARY}"', {}),
        (f'[providers.a]\nkind = "openai"\nbase_url = "u:{CANARY}@h"', {}),
        (f'[redis]\nurl = "http://:{CANARY}@h/@x"\n[database]\nurl = "mysql://u:{CANARY}@h"', {}),
        (f'[auth]\nkey = "{CANARY}"\n[providers.a]\nkind = "openai"\napikey = "{CANARY}"', {}),
        (f'auth = "{CANARY}"\nproviders = ["{CANARY}"]', {}),
        (f'[auth]\nadmin_key = "{CANARY}', {}),
        (f'[providers]\nopenai = "{CANARY}"', {}),
        ("", {"PORT": f"sk-{CANARY}", "LOG_LEVEL": f"Bearer {CANARY}"}),
        ("", {"GATEWAY_AUTH__PEPPPER": CANARY, "REDIS_URL": f"{CANARY}@h:1"}),
        ("", {"API_KEY_ADMIN": CANARY[:15], "API_KEY_READ": CANARY[:15]}),
        ("", {"OPENAI_API_KEY": f"{CANARY}\n", "METRICS_TOKEN": f" {CANARY}"}),
    ]


@pytest.mark.parametrize(("toml", "environ"), broken_secrets())
def test_no_secret_is_part_of_a_refusal(tmp_path: Path, toml: str, environ: dict[str, str]) -> None:
    """Pydantic's own message prints the value that it refuses; ours, its repr and its traceback must not."""
    error = refused(tmp_path, toml, **environ)
    for shown in (str(error), repr(error), "".join(traceback.format_exception(error))):
        assert CANARY[:15] not in shown
    assert error.__context__ is None


def test_a_pydantic_error_of_a_model_built_by_hand_hides_its_input() -> None:
    """Code that builds a part of the settings itself is as careful."""
    from pydantic import ValidationError

    from gateway.settings import ProviderSettings, Settings

    with pytest.raises(ValidationError) as caught:
        ProviderSettings.model_validate({"kind": "openai", "api_key": [CANARY], "headers": CANARY})
    assert CANARY not in str(caught.value)
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"auth": {"admin_key": [CANARY]}})
    assert CANARY not in str(caught.value)


def test_a_problem_holds_no_control_characters(tmp_path: Path) -> None:
    """A name from the file goes to a terminal, which would obey them."""
    assert "\x1b" not in str(refused(tmp_path, '"a\\u001b[31mb" = 1'))


def test_the_environment_is_not_changed_by_a_load(tmp_path: Path) -> None:
    """The caller's mapping stays the caller's."""
    (tmp_path / "gateway.toml").write_text("")
    environ = {"OPENAI_API_KEY": "sk-1", "PORT": "1"}
    before = dict(environ)
    load_settings(environ, tmp_path / "gateway.toml")
    assert environ == before
