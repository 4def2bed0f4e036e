"""Where settings come from: defaults, file and environment, and which of them wins."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from gateway.settings import Settings, SettingsError, load_settings
from tests.gateway.settings_files import GOOD_KEY, GOOD_PEPPER, PRODUCTION, load, only_problem, refused, value_of

PAGE = [
    ("APP_ENV", "test", "app_env", "test"),
    ("NODE_ENV", "test", "app_env", "test"),
    ("HOST", "0.0.0.0", "server.host", "0.0.0.0"),  # noqa: S104 - the image listens on every address.
    ("PORT", "4000", "server.port", 4000),
    ("GATEWAY_DATA_DIR", "/data", "data.dir", Path("/data")),
    ("DATABASE_URL", "postgresql+asyncpg://u:p@h/db", "database.url", "postgresql+asyncpg://u:p@h/db"),
    ("REDIS_URL", "redis://h:6379/0", "redis.url", "redis://h:6379/0"),
    ("API_KEY_ADMIN", GOOD_KEY, "auth.admin_key", GOOD_KEY),
    ("API_KEY_READ", GOOD_KEY, "auth.read_key", GOOD_KEY),
    ("KEY_PEPPER", GOOD_KEY, "auth.pepper", GOOD_KEY),
    ("KEY_PEPPER_PREVIOUS", GOOD_KEY, "auth.pepper_previous", GOOD_KEY),
    ("AUDIT_KEY", GOOD_KEY, "audit.key", GOOD_KEY),
    ("METRICS_TOKEN", "token", "metrics.token", "token"),
    ("LOG_LEVEL", "WARN", "log.level", "warning"),
    ("LOG_FORMAT", "text", "log.format", "text"),
    ("GITHUB_TOKEN", "ghp_x", "github.token", "ghp_x"),
    ("GITHUB_WEBHOOK_SECRET", "hook", "github.webhook_secret", "hook"),
    ("CACHE_TTL", "1000", "releases.cache_ttl_ms", 1000),
    ("LMSTUDIO_ENABLED", "true", "providers.lmstudio.enabled", True),
    ("LMSTUDIO_ENABLED", "false", "providers.lmstudio.enabled", False),
    ("LMSTUDIO_BASE_URL", "http://localhost:1234", "providers.lmstudio.base_url", "http://localhost:1234"),
    (
        "LMSTUDIO_BASE_URL",
        "http://localhost:1234/v1/",
        "providers.lmstudio.base_url",
        "http://localhost:1234",
    ),
    ("OPENAI_API_KEY", "sk-1", "providers.openai.api_key", "sk-1"),
    ("OPENAI_API_KEY", "sk-1", "providers.openai.enabled", True),
    ("OPENAI_API_KEY", "sk-1", "providers.openai.kind", "openai"),
    ("OPENAI_ENABLED", "false", "providers.openai.enabled", False),
    ("OPENAI_BASE_URL", "http://localhost:8000/v1", "providers.openai.base_url", "http://localhost:8000/v1"),
]

PREFIXED = [
    ("GATEWAY_APP_ENV", "production", "app_env", "production"),
    ("GATEWAY_SERVER__PORT", "4000", "server.port", 4000),
    ("GATEWAY_DATA__DIR", "/data", "data.dir", Path("/data")),
    ("GATEWAY_SERVER__CORS_ORIGINS", "https://a.example, https://b.example:8443",
     "server.cors_origins", ["https://a.example", "https://b.example:8443"]),
    ("GATEWAY_SERVER__TRUSTED_PROXIES", '["10.0.0.0/8", "::1"]',
     "server.trusted_proxies", ["10.0.0.0/8", "::1"]),
    ("GATEWAY_LIMITS__LIMITS_PER_WORKER_OK", "yes", "limits.limits_per_worker_ok", True),
    ("GATEWAY_PROVIDERS__OPENAI__API_KEY", "sk-1", "providers.openai.api_key", "sk-1"),
    ("GATEWAY_PROVIDERS__OPENAI__MODELS", "gpt-4,o3", "providers.openai.models", ["gpt-4", "o3"]),
    ("GATEWAY_PROVIDERS__OPENAI__TIMEOUTS__IDLE_S", "2.5", "providers.openai.timeouts.idle_s", 2.5),
    ("GATEWAY_PROVIDERS__OPENAI__HEADERS", '{"X-A": "1"}', "providers.openai.headers", {"X-A": "1"}),
    ("GATEWAY_PROVIDERS__OPENAI__HEADERS__X_A", "1", "providers.openai.headers", {"x-a": "1"}),
    ("GATEWAY_PROVIDERS__OPENAI__OPTIONS__DEPTH", "3", "providers.openai.options", {"depth": 3}),
    ("GATEWAY_PROVIDERS__OPENAI__OPTIONS__REGION", "eu", "providers.openai.options", {"region": "eu"}),
    ("GATEWAY_PROVIDERS__OPENAI__MODEL_OPTIONS", '{"o3": {"omit_params": ["temperature"]}}',
     "providers.openai.model_options.o3.omit_params", ["temperature"]),
]  # fmt: skip


def test_without_file_and_environment_the_defaults_of_the_specification_apply(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newcomer starts with nothing, so nothing may be required."""
    monkeypatch.chdir(tmp_path)
    settings = load_settings({})
    assert (settings.app_env, settings.is_production) == ("development", False)
    assert (settings.server.host, settings.server.port, settings.server.workers) == ("127.0.0.1", 3000, 1)
    assert settings.server.docs_url == "https://docs.lunarbit.dev/api-errors"
    assert (settings.server.max_body_bytes, settings.server.max_ai_body_bytes) == (1_048_576, 33_554_432)
    assert (settings.stream.ping_s, settings.stream.send_timeout_s, settings.server.drain_s) == (15, 30, 8)
    assert (settings.routing.strategy, settings.routing.default_route) == ("priority", "chat")
    assert settings.routing.default_route_explicit is False
    assert settings.providers == {}
    assert settings.auth.admin_key.get_secret_value() == ""


@pytest.mark.parametrize(("variable", "text", "dotted", "expected"), PAGE + PREFIXED)
def test_a_variable_sets_its_key(tmp_path: Path, variable: str, text: str, dotted: str, expected: object) -> None:
    """Deployments rely on these names."""
    needed = PRODUCTION if text == "production" else {}
    if dotted == "auth.pepper_previous":
        needed = {"KEY_PEPPER": GOOD_PEPPER}
    assert value_of(load(tmp_path, **{**needed, variable: text}), dotted) == expected


def test_a_route_can_be_made_in_the_environment_alone(tmp_path: Path) -> None:
    """A container is configured without a file."""
    settings = load(
        tmp_path,
        GATEWAY_ROUTING__ROUTES__CHAT__TARGETS="lmstudio/a, openai/b/c",
        GATEWAY_ROUTING__ROUTES__CHAT__STRATEGY="fastest",
        GATEWAY_ROUTING__ROUTES__JSON__TARGETS='["openai/a,b"]',
        LMSTUDIO_ENABLED="1",
        OPENAI_API_KEY="sk-1",
    )
    assert settings.routing.routes["chat"].targets == ["lmstudio/a", "openai/b/c"]
    assert settings.routing.routes["chat"].strategy == "fastest"
    assert settings.routing.routes["json"].targets == ["openai/a,b"]


def test_environment_overrides_file_which_overrides_defaults(tmp_path: Path) -> None:
    """The precedence holds key by key, not table by table."""
    toml = """
        [server]
        port = 4000
        workers = 1
        host = "0.0.0.0"
        [providers.openai]
        priority = 7
        base_url = "https://one.example/v1"
        """
    settings = load(tmp_path, toml, PORT="5000", OPENAI_BASE_URL="https://two.example/v1/")
    assert (settings.server.port, settings.server.host, settings.server.drain_s) == (5000, "0.0.0.0", 8)  # noqa: S104
    assert settings.providers["openai"].priority == 7
    assert settings.providers["openai"].base_url == "https://two.example/v1"


def test_providers_keep_the_order_of_the_file(tmp_path: Path) -> None:
    """Ties between targets break by configured order, also when the environment touches one of them."""
    toml = "[providers.zeta]\nkind = 'echo'\n[providers.openai]\n[providers.alpha]\nkind = 'echo'"
    assert list(load(tmp_path, toml, OPENAI_API_KEY="sk-1", LMSTUDIO_ENABLED="true").providers) == [
        "zeta",
        "openai",
        "alpha",
        "lmstudio",
    ]


def test_an_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    """Compose files pass an unset variable on as an empty one."""
    settings = load(tmp_path, OPENAI_API_KEY="", PORT=" ", API_KEY_ADMIN_FILE="", GATEWAY_CONFIG="")
    assert (settings.providers, settings.server.port) == ({}, 3000)


def test_names_with_a_hyphen_or_a_dot_are_reached_by_underscores(tmp_path: Path) -> None:
    """A shell's variable cannot hold these characters, but names in the file can."""
    toml = """
        [providers.my-gpu.1]
        kind = "openai"
        [routing.routes.best-chat]
        targets = ["my-gpu.1/a"]
        """.replace("my-gpu.1]", '"my-gpu.1"]')
    settings = load(
        tmp_path,
        toml,
        GATEWAY_PROVIDERS__MY_GPU_1__PRIORITY="3",
        GATEWAY_ROUTING__ROUTES__BEST_CHAT__STRATEGY="fastest",
    )
    assert list(settings.providers) == ["my-gpu.1"]
    assert settings.providers["my-gpu.1"].priority == 3
    assert settings.routing.routes["best-chat"].strategy == "fastest"


def test_a_header_of_the_environment_replaces_the_same_header_of_the_file(tmp_path: Path) -> None:
    """Header names are the same in any case (RFC 9110, section 5.1)."""
    toml = "[providers.openai]\nheaders = { X-Title = 'file', X-Other = 'kept' }"
    settings = load(tmp_path, toml, GATEWAY_PROVIDERS__OPENAI__HEADERS__X_TITLE="environment")
    assert settings.providers["openai"].headers == {"x-title": "environment", "X-Other": "kept"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("PORT", "1"), ("GATEWAY_SERVER__PORT", "2")),
        (("APP_ENV", "test"), ("NODE_ENV", "development")),
        (("GATEWAY_DATA_DIR", "/a"), ("GATEWAY_DATA__DIR", "/b")),
        (("OPENAI_API_KEY", "sk-1"), ("GATEWAY_PROVIDERS__OPENAI__API_KEY", "sk-2")),
    ],
)
def test_two_variables_that_contradict_each_other_are_both_named(
    tmp_path: Path, first: tuple[str, str], second: tuple[str, str]
) -> None:
    """Nobody should have to guess which of two names wins."""
    line = only_problem(tmp_path, **dict([first, second]))
    assert first[0] in line
    assert second[0] in line
    assert "sk-" not in line


def test_two_variables_that_agree_are_fine(tmp_path: Path) -> None:
    """An image that sets one name may be started with the other."""
    assert load(tmp_path, PORT="4000", GATEWAY_SERVER__PORT="4000 ").server.port == 4000


def test_the_file_is_the_argument_then_gateway_config_then_the_usual_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test or a command line names its file; a container names it by a variable."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    for name, port in (("config/gateway.toml", 1), ("variable.toml", 2), ("argument.toml", 3)):
        (tmp_path / name).write_text(f"[server]\nport = {port}")
    named = {"GATEWAY_CONFIG": "variable.toml"}
    assert load_settings({}).server.port == 1
    assert load_settings(named).server.port == 2
    assert load_settings(named, Path("argument.toml")).server.port == 3


def test_without_arguments_the_process_environment_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is how the server starts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEWAY_SERVER__PORT", "4321")
    monkeypatch.delenv("PORT", raising=False)
    assert load_settings().server.port == 4321


def test_building_the_model_by_hand_reads_nothing_from_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """pydantic-settings would by itself read variables such as `SERVER`, which mean other things."""
    monkeypatch.setenv("SERVER", '{"port": 1}')
    assert Settings().server.port == 3000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[server]\nport = = 3", "line 2"),
        (b"[server]\nport = 1\nport = 2", "line 3"),
        (b"[server]\n\nhost = '\xff'", "UTF-8 (line 3"),
        (b"x = " + b"[" * 100_000, "nested too deeply"),
        (b"# " + b"x" * 5_000_000, "larger"),
    ],
)
def test_a_file_that_is_not_toml_is_one_problem_that_says_where(tmp_path: Path, content: bytes, reason: str) -> None:
    """Problems that only follow from the missing file would bury the cause."""
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load_settings({"PORT": "bad"}, path)
    assert len(caught.value.problems) == 1
    assert reason in str(caught.value)
    assert "broken.toml" in str(caught.value)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    """Some editors write one."""
    path = tmp_path / "bom.toml"
    path.write_bytes(b"\xef\xbb\xbf[server]\nport = 5")
    assert load_settings({}, path).server.port == 5


def test_a_missing_file_and_a_folder_are_one_problem_each(tmp_path: Path) -> None:
    """A typing mistake in GATEWAY_CONFIG must not start the gateway with the defaults."""
    for path, reason in ((tmp_path / "missing.toml", "no such file"), (tmp_path, "folder")):
        with pytest.raises(SettingsError) as caught:
            load_settings({"GATEWAY_CONFIG": str(path)})
        assert len(caught.value.problems) == 1
        assert reason in str(caught.value)


def test_a_file_that_cannot_be_opened_is_a_problem(tmp_path: Path) -> None:
    """The reason of the operating system is passed on."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"cannot be read \(Not a directory\)"):
        load_settings({}, tmp_path / "file" / "gateway.toml")


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("[server]\nprot = 3000", "server.prot: no such key; did you mean server.port?"),
        ("[sever]\nport = 3000", "sever: no such key; did you mean server?"),
        ("port = 3000", "port: no such key; did you mean server.port?"),
        ("[providers.x]\nkind = 'echo'\napikey = 's'", "did you mean providers.x.api_key?"),
        (
            "[providers.x]\nkind = 'echo'\ntimeouts = { idle = 3 }",
            "did you mean providers.x.timeouts.idle_s?",
        ),
        ("[providers.x]\nkind = 'echo'\nmodel_options = { m = { omit_param = [] } }", "did you mean"),
        ("[server]\nqqqqqqqq = 1", "server.qqqqqqqq: no such key"),
    ],
)
def test_an_unknown_key_stops_the_start_and_the_nearest_is_named(tmp_path: Path, toml: str, expected: str) -> None:
    """A misspelt key that is silently ignored is the worst kind of mistake."""
    assert expected in only_problem(tmp_path, toml)


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("GATEWAY_SERVER_PORT", "GATEWAY_SERVER__PORT"),
        ("GATEWAY_SERVER__PROT", "GATEWAY_SERVER__PORT"),
        ("GATEWAY_PROVIDERS__OPENAI__APIKEY", "GATEWAY_PROVIDERS__OPENAI__API_KEY"),
        ("GATEWAY_CONFIGS", "GATEWAY_CONFIG"),
        ("GATEWAY_AUTH__PEPER_FILE", "GATEWAY_AUTH__PEPPER_FILE"),
        ("GATEWAY_PORT", ""),
        ("GATEWAY_", ""),
        (
            "GATEWAY_PROVIDERS__OPENAI__MODEL_OPTIONS__O3__OMIT_PARAMS",
            "GATEWAY_PROVIDERS__OPENAI__MODEL_OPTIONS",
        ),
        ("GATEWAY_SERVER__PORT_FILE", "GATEWAY_SERVER__PORT"),
    ],
)
def test_an_unknown_gateway_variable_stops_the_start(tmp_path: Path, variable: str, nearest: str) -> None:
    """The same for the environment; the value is not shown, for it may be a secret under a wrong name."""
    line = only_problem(tmp_path, **{variable: "hidden-value"})
    assert line.startswith(f"{variable}: no such setting")
    assert nearest in line
    assert "hidden-value" not in line


def test_variables_that_kubernetes_makes_for_a_service_named_gateway_are_ignored(tmp_path: Path) -> None:
    """Every pod of the namespace gets them, whether it wants them or not."""
    load(
        tmp_path,
        GATEWAY_SERVICE_HOST="10.0.0.1",
        GATEWAY_SERVICE_PORT="3000",
        GATEWAY_SERVICE_PORT_HTTP="3000",
        GATEWAY_PORT="tcp://10.0.0.1:3000",
        GATEWAY_PORT_3000_TCP="tcp://10.0.0.1:3000",
        GATEWAY_PORT_3000_TCP_ADDR="10.0.0.1",
        GATEWAY_ADMIN_SERVICE_HOST="10.0.0.2",
    )


@pytest.mark.parametrize(
    ("variable", "text", "allowed"),
    [
        ("GATEWAY_SERVER__CORS_ORIGINS", "[not json", "JSON list"),
        ("GATEWAY_PROVIDERS__OPENAI__MODEL_OPTIONS", "[1]", "JSON object"),
        ("GATEWAY_PROVIDERS__OPENAI__HEADERS", "hidden-value", "JSON object"),
    ],
)
def test_a_list_or_table_that_cannot_be_read_is_a_problem(
    tmp_path: Path, variable: str, text: str, allowed: str
) -> None:
    """The form is named, and a header's value is not."""
    line = only_problem(tmp_path, **{variable: text})
    assert variable in line
    assert allowed in line
    assert "hidden-value" not in line


def test_the_error_survives_being_handed_to_another_process(tmp_path: Path) -> None:
    """A worker's refusal reaches the process that started it by pickle."""
    error = refused(tmp_path, PORT="bad")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - it was made one line above.
    assert isinstance(again, SettingsError)
    assert str(again) == str(error)
