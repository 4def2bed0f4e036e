"""The command line as people run it: version, check-config with and without --probe, and serve that cannot start."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.version import VERSION
from tests.architecture.installation import free_port
from tests.cli.program import lunarbit
from tests.gateway.edge import upstream_toml
from tests.upstream import Script, Upstream

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with none of the variables that the gateway reads."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("GATEWAY_", "API_KEY", "OPENAI_", "LMSTUDIO_", "APP_ENV", "NODE_ENV")):
            monkeypatch.delenv(name)
    return tmp_path


def checked(here: Path, toml: str, *arguments: str) -> tuple[int, str, str]:
    """Run check-config in this process over a file that holds `toml`."""
    (here / "gateway.toml").write_text(toml, encoding="utf-8")
    result = CliRunner().invoke(app, ["check-config", "--config", "gateway.toml", *arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("asked", ["version", "--version"])
def test_version_prints_the_version(here: Path, asked: str) -> None:
    """And nothing else, for scripts."""
    result = CliRunner().invoke(app, [asked])
    assert (result.exit_code, result.stdout) == (0, f"{VERSION}\n")


def test_without_a_command_there_is_help(here: Path) -> None:
    """It names the commands."""
    text = CliRunner().invoke(app, []).output
    for command in ("serve", "check-config", "version"):
        assert command in text


def test_a_good_configuration_is_called_valid(here: Path) -> None:
    """With its size, so that a forgotten file is noticed."""
    toml = "[providers.a]\nkind='echo'\n[providers.b]\nkind='echo'\n[routing.routes.chat]\ntargets=['a/echo-1']\n"
    code, out, err = checked(here, toml)
    assert (code, err) == (0, "")
    assert "2 provider(s), 1 route(s)" in out


def test_a_bad_configuration_lists_every_problem(here: Path) -> None:
    """On standard error, with exit code 2 and no traceback."""
    code, out, err = checked(here, "[server]\nport = 'x'\nprot = 1\n[log]\nlevel = 'loud'\n")
    assert (code, out) == (2, "")
    for name in ("server.port", "server.prot", "log.level"):
        assert name in err
    assert "Traceback" not in err


def test_an_unknown_kind_is_named_with_the_known_ones(here: Path) -> None:
    """The setting, the bad value, and what it could be."""
    code, _, err = checked(here, "[providers.mine]\nkind = 'opnai'\n")
    assert code == 2
    for part in ("providers.mine.kind", "opnai", "openai", "azure_openai", "echo", "lmstudio"):
        assert part in err


def test_a_missing_file_is_named(here: Path) -> None:
    """Otherwise the defaults would be checked, and found good."""
    result = CliRunner().invoke(app, ["check-config", "--config", "nowhere.toml"])
    assert result.exit_code == 2
    assert "nowhere.toml" in result.stderr


def test_nothing_is_asked_without_probe(here: Path) -> None:
    """A check of the file works without a network."""
    code, _, _ = checked(here, upstream_toml(f"http://127.0.0.1:{free_port()}/v1"))
    assert code == 0


async def test_probe_shows_the_models_of_a_good_provider(tmp_path: Path) -> None:
    """With exit code 0."""
    async with Upstream() as up:
        up.require_key = "right-key"
        toml = upstream_toml(up.base_url, more="api_key = 'right-key'")
        code, out, err = await lunarbit(tmp_path, "check-config", "--probe", toml=toml)
    assert (code, err) == (0, "")
    assert "ok" in out
    assert "gpt-4" in out


async def test_probe_names_the_setting_of_everything_that_is_wrong(tmp_path: Path) -> None:
    """A wrong key, an address where nobody listens, a model that is not there, a server in trouble; in one run."""
    async with Upstream() as strict, Upstream() as good, Upstream() as bad:
        strict.require_key = "right-key"
        bad.models_script = Script.status(500)
        toml = (
            upstream_toml(strict.base_url, name="wrongkey", more="api_key = 'wrong-canary-key'")
            + upstream_toml(f"http://127.0.0.1:{free_port()}/v1", name="nobody")
            + upstream_toml(good.base_url, name="nomodel").replace("gpt-4", "gpt-99")
            + upstream_toml(bad.base_url, name="broken")
            + upstream_toml(good.base_url, name="fine")
        )
        code, out, err = await lunarbit(tmp_path, "check-config", "--probe", toml=toml)
    assert code == 1, err
    rows = {line.split()[1]: line for line in out.splitlines() if line.startswith("│")}
    assert "providers.wrongkey.api_key" in rows["wrongkey"]
    assert "providers.nobody.base_url" in rows["nobody"]
    assert "providers.nomodel.models" in rows["nomodel"]
    assert "gpt-99" in rows["nomodel"]
    assert "providers.broken" in rows["broken"]
    assert "ok" in rows["fine"]
    assert "wrong-canary-key" not in out + err
    assert "Traceback" not in err


async def test_probe_does_not_mind_an_lmstudio_that_nobody_configured(tmp_path: Path) -> None:
    """It is used when it answers on this machine; here the defaults are checked on one where it does not."""
    code, out, _ = await lunarbit(tmp_path, "check-config", "--probe", toml="", LMSTUDIO_ENABLED="")
    assert "echo" in out
    assert code == 0, out


async def test_serve_with_bad_settings_says_so_once_and_exits_with_2(tmp_path: Path) -> None:
    """One message for all problems, no traceback, nothing listening."""
    toml = "[server]\nport = 70000\nworkers = 0\n[providers.x]\nkind = 'openai'\nunknown = 1\n"
    code, out, err = await lunarbit(tmp_path, "serve", toml=toml, API_KEY_ADMIN="short")
    assert (code, out) == (2, "")
    for name in ("server.port", "server.workers", "unknown", "API_KEY_ADMIN"):
        assert err.count(name) >= 1
    assert "Traceback" not in err
    assert "short" not in err.replace("shorter", "")


async def test_serve_with_an_unknown_kind_says_so_and_exits_with_2(tmp_path: Path) -> None:
    """Found out when the provider is made, told like every other bad setting."""
    code, _, err = await lunarbit(tmp_path, "serve", "--config", "mine.toml", toml=None, HOST="127.0.0.1")
    assert code == 2
    assert "mine.toml" in err
    (tmp_path / "mine.toml").write_text("[providers.x]\nkind = 'nonesuch'\n")
    code, _, err = await lunarbit(tmp_path, "serve", "--config", "mine.toml")
    assert code == 2
    assert "providers.x.kind" in err
    assert "nonesuch" in err
    assert "Traceback" not in err


async def test_serve_in_production_without_an_admin_key_does_not_start(tmp_path: Path) -> None:
    """And says how to make one."""
    code, _, err = await lunarbit(tmp_path, "serve", toml="", APP_ENV="production")
    assert code == 2
    assert "API_KEY_ADMIN" in err
    assert "secrets.token_urlsafe" in err


async def test_a_data_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A traceback would leave the newcomer guessing which of the paths was meant."""
    taken = tmp_path / "taken"
    taken.write_text("not a folder", encoding="utf-8")
    code, out, err = await lunarbit(tmp_path, "serve", GATEWAY_DATA_DIR=str(taken), PORT=str(free_port()))
    assert (code, out) == (2, "")
    assert err.startswith(f"data.dir (GATEWAY_DATA_DIR) is '{taken}'")
    assert "Traceback" not in err


NO_PRICES = {"GATEWAY_USAGE__PRICES": "nowhere.toml"}
TWO_WORKERS = {"GATEWAY_SERVER__WORKERS": "2", "GATEWAY_LIMITS__LIMITS_PER_WORKER_OK": "true"}


@pytest.mark.parametrize("workers", [{}, TWO_WORKERS], ids=["one-worker", "two-workers"])
async def test_prices_that_cannot_be_read_stop_the_start(tmp_path: Path, workers: dict[str, str]) -> None:
    """Workers that cannot be made would otherwise be started again and again."""
    environ = {**NO_PRICES, **workers, "PORT": str(free_port())}
    code, _, err = await lunarbit(tmp_path, "serve", toml="", **environ)
    assert (code, err.count("nowhere.toml")) == (2, 1)
    assert "Traceback" not in err


async def test_check_config_reads_the_prices_too(tmp_path: Path) -> None:
    """A configuration that cannot be served is not valid."""
    code, out, err = await lunarbit(tmp_path, "check-config", toml="", **NO_PRICES)
    assert (code, out) == (2, "")
    assert "nowhere.toml" in err
