"""What settings accept: every rule about a value, and every rule that looks at two of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

import gateway.settings
from gateway.settings import Problem, ProviderSettings, TimeoutSettings
from tests.gateway.settings_files import load, only_problem, refused, value_of

if TYPE_CHECKING:
    from pathlib import Path

ECHO = "[providers.e]\nkind = 'echo'\n"


def test_the_package_exports_what_others_build_on() -> None:
    """The composition root and the command line import these names."""
    assert sorted(gateway.settings.__all__) == [
        "ModelOptions",
        "Problem",
        "ProviderSettings",
        "RouteSettings",
        "Settings",
        "SettingsError",
        "TimeoutSettings",
        "load_settings",
    ]


BAD_VALUES = [
    ("app_env = 'prod'", "app_env", "development, production or test"),
    ("[server]\nport = 65536", "server.port", "from 0 to 65535"),
    ("[server]\nport = -1", "server.port", "from 0 to 65535"),
    ("[server]\nport = 'http'", "server.port", "from 0 to 65535"),
    ("[server]\nport = true", "server.port", "from 0 to 65535"),
    ("[server]\nport = 3.5", "server.port", "from 0 to 65535"),
    ("[server]\nport = []", "server.port", "from 0 to 65535"),
    ("[server]\nhost = ''", "server.host", "not empty"),
    ("[server]\nworkers = 0", "server.workers", "1 or more"),
    ("[server]\ndrain_s = -1", "server.drain_s", "0 or more"),
    ("[server]\nmax_body_bytes = 0", "server.max_body_bytes", "1 or more"),
    ("[server]\nmax_ai_body_bytes = 'big'", "server.max_ai_body_bytes", "1 or more"),
    ("[server]\ntrusted_proxies = ['10.0.0.0/33']", "server.trusted_proxies", "IP addresses or networks"),
    ("[server]\ntrusted_proxies = ['proxy.local']", "server.trusted_proxies", "IP addresses or networks"),
    ("[server]\ntrusted_proxies = '10.0.0.1'", "server.trusted_proxies", "list"),
    ("[server]\ncors_origins = ['*']", "server.cors_origins", "every web page"),
    ("[server]\ncors_origins = ['https://*.example.com']", "server.cors_origins", "every web page"),
    ("[server]\ncors_origins = ['https://a.example/']", "server.cors_origins", "exact origin"),
    ("[server]\ncors_origins = ['https://a.example/path']", "server.cors_origins", "exact origin"),
    ("[server]\ncors_origins = ['https://a.example:443']", "server.cors_origins", "default port"),
    ("[server]\ncors_origins = ['https://a.example:99999']", "server.cors_origins", "exact origin"),
    ("[server]\ncors_origins = ['a.example']", "server.cors_origins", "exact origin"),
    ("[server]\ncors_origins = ['null']", "server.cors_origins", "exact origin"),
    ("[server]\npublic_url = 'api.example.com'", "server.public_url", "http:// or https://"),
    ("[server]\ndocs_url = 'ftp://docs.example'", "server.docs_url", "http:// or https://"),
    ("[data]\ndir = ' '", "data.dir", "folder"),
    ("[database]\nurl = 'mysql://h/db'", "database.url", "sqlite://"),
    ("[redis]\nurl = 'h:6379'", "redis.url", "redis://"),
    ("[redis]\nurl = 'redis://'", "redis.url", "redis://"),
    ("[auth]\nread_key = 'short'", "auth.read_key", "16 characters"),
    ("[auth]\npepper = 7", "auth.pepper", "text"),
    ("[limits]\nper_key = -1", "limits.per_key", "0 or more"),
    ("[limits]\nper_ip_window_s = 0", "limits.per_ip_window_s", "1 or more"),
    ("[limits]\nlimits_per_worker_ok = 'perhaps'", "limits.limits_per_worker_ok", "true or false"),
    ("[stream]\nping_s = 0", "stream.ping_s", "above 0"),
    ("[stream]\nping_s = nan", "stream.ping_s", "above 0"),
    ("[stream]\nsend_timeout_s = inf", "stream.send_timeout_s", "above 0"),
    ("[metrics]\ntoken = ' spaced '", "metrics.token", "without spaces around it"),
    ("[log]\nlevel = 'loud'", "log.level", "debug, info, warning"),
    ("[log]\nformat = 'xml'", "log.format", "json or text"),
    ("[usage]\nretention_days = 0", "usage.retention_days", "1 or more"),
    ("[releases]\ndownload_urls = 'ftp'", "releases.download_urls", "cdn or gateway"),
    ("[releases]\ncache_ttl_ms = -1", "releases.cache_ttl_ms", "0 or more"),
    ("[verification]\nallow_networks = ['intranet']", "verification.allow_networks", "networks"),
    ("[routing]\nstrategy = 'random'", "routing.strategy", "priority, round_robin, least_loaded or fastest"),
    ("[routing]\nroutes = 3", "routing.routes", "must be a table"),
    ("[routing.routes.c]\ntargets = []", "routing.routes.c.targets", "at least one"),
    ("[routing.routes.c]", "routing.routes.c.targets", "at least one"),
    (
        ECHO + "[routing.routes.c]\ntargets = ['e/m']\nstrategy = 'best'",
        "routing.routes.c.strategy",
        "fastest",
    ),
    ("server = 3", "server", "must be a table"),
    ("providers = 3", "providers", "must be a table"),
    ("[providers]\nopenai = 3", "providers.openai", "must be a table"),
    ("[providers.x]", "providers.x.kind", "not empty"),
    ("[providers.openai]\nkind = ''", "providers.openai.kind", "not empty"),
    ("[providers.openai]\nenabled = 'maybe'", "providers.openai.enabled", "true or false"),
    ("[providers.openai]\nbase_url = 'localhost:8000'", "providers.openai.base_url", "http:// or https://"),
    ("[providers.openai]\nbase_url = 'https://'", "providers.openai.base_url", "http:// or https://"),
    ("[providers.openai]\nbase_url = 'https://h:port'", "providers.openai.base_url", "http:// or https://"),
    ("[providers.openai]\nbase_url = 'https://[::1'", "providers.openai.base_url", "http:// or https://"),
    ("[providers.openai]\nbase_url = 'https://a b'", "providers.openai.base_url", "http:// or https://"),
    ("[providers.openai]\nbase_url = 'https://h/v1?a=b'", "providers.openai.base_url", "without a query"),
    ("[providers.openai]\nbase_url = 'https://h/v1#a'", "providers.openai.base_url", "without a query"),
    (
        "[providers.openai]\nbase_url = 'https://u:p@h/v1'",
        "providers.openai.base_url",
        "user name or password",
    ),
    ("[providers.openai]\nmodels = 'gpt-4'", "providers.openai.models", "list"),
    ("[providers.openai]\nmodels = [4]", "providers.openai.models", "list"),
    ("[providers.openai]\npriority = 'high'", "providers.openai.priority", "whole number"),
    ("[providers.openai]\nmax_in_flight = 0", "providers.openai.max_in_flight", "1 or more"),
    ("[providers.openai.timeouts]\nidle_s = 0", "providers.openai.timeouts.idle_s", "above 0"),
    ("[providers.openai]\ntimeouts = 5", "providers.openai.timeouts", "must be a table"),
    ("[providers.openai]\nheaders = { 'X A' = '1' }", "providers.openai.headers", "a header named"),
    ("[providers.openai]\nheaders = { Host = 'x' }", "providers.openai.headers", "a header named"),
    ('[providers.openai]\nheaders = { X-A = "a\\r\\nb" }', "providers.openai.headers", "printable"),
    ("[providers.openai]\nomit_params = 'temperature'", "providers.openai.omit_params", "list"),
    (
        "[providers.openai]\nmax_tokens_field = 'max'",
        "providers.openai.max_tokens_field",
        "max_completion_tokens",
    ),
    ("[providers.openai]\nmodel_options = 3", "providers.openai.model_options", "table"),
    ("[providers.openai]\nmodel_options = { o3 = 3 }", "providers.openai.model_options.o3", "table"),
    ("[providers.openai]\napi_version = 2024", "providers.openai.api_version", "text"),
    ("[providers.echo]\nchunk_delay_s = -1", "providers.echo.chunk_delay_s", "0 or more"),
    ("[providers.echo]\nchunk_chars = 0", "providers.echo.chunk_chars", "1 or more"),
    ("[providers.openai]\noptions = 3", "providers.openai.options", "table"),
]


@pytest.mark.parametrize(("toml", "name", "allowed"), BAD_VALUES)
def test_a_bad_value_is_one_problem_that_names_the_key_and_what_is_allowed(
    tmp_path: Path, toml: str, name: str, allowed: str
) -> None:
    """The operator should be able to mend it without opening the documentation."""
    (problem,) = refused(tmp_path, toml).problems
    assert problem.name == name
    assert allowed in problem.allowed


GOOD_VALUES = [
    ("[server]\nport = 0", "server.port", 0),
    ("[server]\nport = '80'", "server.port", 80),
    ("[server]\ndrain_s = 0", "server.drain_s", 0),
    ("[server]\ncors_origins = ['https://A.example', 'tauri://localhost', 'http://[::1]:8080']",
     "server.cors_origins", ["https://a.example", "tauri://localhost", "http://[::1]:8080"]),
    ("[server]\ntrusted_proxies = ['10.0.0.1', 'fd00::/8', '10.1.2.3/16']",
     "server.trusted_proxies", ["10.0.0.1", "fd00::/8", "10.1.2.3/16"]),
    ("[server]\npublic_url = 'https://api.example.com/'", "server.public_url", "https://api.example.com"),
    ("[database]\nurl = 'sqlite+aiosqlite:///x.db'", "database.url", "sqlite+aiosqlite:///x.db"),
    ("[redis]\nurl = 'unix:///run/redis.sock'", "redis.url", "unix:///run/redis.sock"),
    ("[limits]\nper_key = 0", "limits.per_key", 0),
    ("[routing]\nstrategy = 'Least_Loaded'", "routing.strategy", "least_loaded"),
    ("[providers.x]\nkind = 'openai'\npriority = -5", "providers.x.priority", -5),
    ("[providers.x]\nkind = 'openai'\nbase_url = 'http://[::1]:80/v1/'", "providers.x.base_url", "http://[::1]:80/v1"),
    ("[providers.x]\nkind = 'lmstudio'\nbase_url = 'http://h:1/v1'", "providers.x.base_url", "http://h:1"),
    ("[providers.openai]\nheaders = { X-A = '1', x-a = '2' }", "providers.openai.headers", {"x-a": "2"}),
    ("[providers.openai]\nmodels = []", "providers.openai.models", []),
    ("[providers.openai]\npriority = 1", "providers.openai.models", None),
]  # fmt: skip


@pytest.mark.parametrize(("toml", "dotted", "expected"), GOOD_VALUES)
def test_values_are_read_as_they_are_meant(tmp_path: Path, toml: str, dotted: str, expected: object) -> None:
    """The edges of what is allowed, and what is tidied on the way in."""
    assert value_of(load(tmp_path, toml), dotted) == expected


def test_defaults_of_a_provider(tmp_path: Path) -> None:
    """An entry with a kind is enough; LM Studio gets more time, for it may have to load a model."""
    toml = """
        [providers.a]
        kind = "openai"
        [providers.lmstudio]
        [providers.patient]
        kind = "lmstudio"
        timeouts = { idle_s = 5 }
        [providers.hasty]
        kind = "lmstudio"
        timeouts = { first_token_s = 60 }
        """
    providers = load(tmp_path, toml).providers
    assert providers["a"] == ProviderSettings(kind="openai")
    assert (providers["a"].enabled, providers["a"].priority, providers["a"].max_in_flight) == (True, 100, 200)
    assert providers["a"].timeouts == TimeoutSettings(connect_s=3, first_token_s=60, idle_s=30, total_s=600)
    assert providers["lmstudio"].kind == "lmstudio"
    assert providers["lmstudio"].timeouts.first_token_s == 300
    assert (providers["patient"].timeouts.first_token_s, providers["patient"].timeouts.idle_s) == (300, 5)
    assert providers["hasty"].timeouts.first_token_s == 60


def test_every_problem_is_listed_at_once(tmp_path: Path) -> None:
    """Mending one mistake per start is a waste of the operator's time; rules across keys count too."""
    toml = """
        [server]
        port = "bad"
        workers = 2
        tls_key = "/nowhere.pem"
        cors_origins = ["https://ok.example", "*", "x"]
        unknown = 1
        [routing]
        default_route = "nope"
        [routing.routes.a]
        targets = ["opnai/x", "broken/y"]
        [routing.routes.b]
        [providers.broken]
        kind = "openai"
        priority = "x"
        [providers.kindless]
        """
    error = refused(tmp_path, toml, APP_ENV="production", LOG_LEVEL="loud", GATEWAY_X="1")
    assert sorted(problem.name for problem in error.problems) == [
        "API_KEY_ADMIN (auth.admin_key)",
        "GATEWAY_X",
        "KEY_PEPPER (auth.pepper)",
        "LOG_LEVEL (log.level)",
        "providers.broken.priority",
        "providers.kindless.kind",
        "routing.default_route",
        "routing.routes.a.targets",
        "routing.routes.b.targets",
        "server.cors_origins",
        "server.cors_origins",
        "server.port",
        "server.tls_cert",
        "server.tls_key",
        "server.unknown",
        "server.workers",
    ]
    text = str(error)
    assert "16 problems" in text
    assert "gateway.toml" in text
    assert len(text.splitlines()) == 17
    assert all(str(problem) in text for problem in error.problems)


def test_a_problem_carries_name_value_and_what_is_allowed(tmp_path: Path) -> None:
    """The command line shows these three in columns."""
    assert refused(tmp_path, PORT="70000").problems == (
        Problem("PORT (server.port)", '"70000"', "must be a whole number from 0 to 65535"),
    )


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    """A message stays readable whatever was pasted into a variable."""
    assert len(only_problem(tmp_path, LOG_LEVEL="x" * 5000)) < 300


def test_values_that_are_not_text_for_a_terminal_are_shown_safely(tmp_path: Path) -> None:
    """The environment may hold any bytes, which Python keeps as lone surrogates."""
    only_problem(tmp_path, LOG_LEVEL="a\udcffb").encode()


def test_more_than_one_worker_needs_shared_state_or_consent(tmp_path: Path) -> None:
    """Each worker would otherwise count its own limits, and nobody would notice."""
    assert "limits_per_worker_ok" in only_problem(tmp_path, "[server]\nworkers = 2")
    assert load(tmp_path, "[server]\nworkers = 2", REDIS_URL="redis://h").server.workers == 2
    assert load(tmp_path, "[server]\nworkers = 2\n[limits]\nlimits_per_worker_ok = true").server.workers == 2
    assert "redis.url" in only_problem(tmp_path, "[server]\nworkers = 2", REDIS_URL="bad")


def test_tls_needs_certificate_and_key_and_both_readable(tmp_path: Path) -> None:
    """A gateway that silently speaks plain HTTP is the worst outcome."""
    pem = tmp_path / "one.pem"
    pem.write_text("x")
    both = load(tmp_path, f"[server]\ntls_cert = '{pem}'\ntls_key = '{pem}'")
    assert both.server.tls_cert == str(pem)
    (alone,) = refused(tmp_path, f"[server]\ntls_cert = '{pem}'").problems
    assert alone == Problem("server.tls_key", "not set", "must be given together with server.tls_cert")
    error = refused(tmp_path, f"[server]\ntls_cert = '{pem}'\ntls_key = '{tmp_path / 'no.pem'}'")
    assert [problem.name for problem in error.problems] == ["server.tls_key"]
    assert "No such file" in str(error)
    assert "not a path" in only_problem(tmp_path, f'[server]\ntls_cert = "{pem}"\ntls_key = "/a\\u0000b"')


@pytest.mark.parametrize("name", ["Upper", "-first", "a/b", "a b", "", "x" * 65, "ümlaut"])
def test_names_of_providers_and_routes_are_plain(tmp_path: Path, name: str) -> None:
    """They stand in metrics' labels, in targets before a slash and in variables."""
    assert "a name in providers" in only_problem(tmp_path, f'[providers."{name}"]\nkind = "echo"')
    toml = f'{ECHO}[routing.routes."{name}"]\ntargets = ["e/m"]'
    assert "a name in routing.routes" in only_problem(tmp_path, toml)


def test_a_route_must_not_have_the_name_of_a_provider(tmp_path: Path) -> None:
    """`name/model` would then mean two things."""
    line = only_problem(tmp_path, ECHO + "[routing.routes.e]\ntargets = ['e/m']")
    assert "routing.routes.e" in line
    assert "name of a provider" in line


@pytest.mark.parametrize("target", ["e", "e/", "/m", "", " e/m", "e/m "])
def test_a_target_is_written_provider_slash_model(tmp_path: Path, target: str) -> None:
    """Anything else could only fail on the first request."""
    line = only_problem(tmp_path, f"{ECHO}[routing.routes.c]\ntargets = ['{target}']")
    assert "provider/model" in line


def test_a_target_of_an_unknown_provider_stops_the_start_and_names_the_known(tmp_path: Path) -> None:
    """A provider that is switched off is known; a model may hold slashes."""
    toml = ECHO + "enabled = false\n[routing.routes.c]\ntargets = ['e/org/model', 'opnai/gpt-4']"
    line = only_problem(tmp_path, toml)
    assert '"opnai/gpt-4"' in line
    assert "known providers: e" in line
    assert "no provider is configured" in only_problem(tmp_path, "[routing.routes.c]\ntargets = ['x/y']")


def test_a_default_route_that_the_operator_wrote_must_exist(tmp_path: Path) -> None:
    """The default name may point nowhere, for then all providers serve; a written one is a promise."""
    route = ECHO + "[routing.routes.other]\ntargets = ['e/m']\n"
    silent = load(tmp_path, route)
    assert (silent.routing.default_route, silent.routing.default_route_explicit) == ("chat", False)
    written = load(tmp_path, route + "[routing]\ndefault_route = 'other'")
    assert written.routing.default_route_explicit is True
    assert "(other)" in only_problem(tmp_path, route + "[routing]\ndefault_route = 'chat'")
    assert "there is none" in only_problem(tmp_path, GATEWAY_ROUTING__DEFAULT_ROUTE="chat")
    assert load(tmp_path, "[routing]\ndefault_route = ''").routing.default_route_explicit is False


def test_settings_do_not_change(tmp_path: Path) -> None:
    """Every part of the gateway may keep a reference."""
    settings = load(tmp_path, ECHO)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings.server, "port", 1)  # noqa: B010 - the type checker refuses it already.
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings.providers["e"], "enabled", False)  # noqa: B010
