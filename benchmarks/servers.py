"""The table of servers under test: one entry is one server."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks import wire
from benchmarks.peers import install_litellm, install_portkey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT: Final = Path(__file__).resolve().parent.parent
ADMIN_KEY: Final = "benchmark-admin-key-0123456789abcdef0123456789"
LITELLM_KEY: Final = "sk-benchmark-0123456789"


@dataclass(frozen=True)
class Setting:
    """What a server needs to know to be started."""

    port: int
    upstream_port: int
    folder: Path  # Empty, for this trial alone.
    peers_dir: Path
    gateway_command: str

    @property
    def upstream(self) -> str:
        """The upstream's base URL."""
        return f"http://127.0.0.1:{self.upstream_port}/v1"


@dataclass(frozen=True)
class Launch:
    """How to start a server."""

    command: list[str]
    version: str
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Server:
    """One server under test.

    `ready_path` answers 200 when the server is ready; None means that any answer to `GET /` is enough. `decoded`
    servers rewrite bodies, so their answers are compared after decoding. `slow` servers get fewer arrivals in the
    latency phases (an arrival must not come before the previous answer is possible at all), a longer warm-up, and no
    test of many open streams.
    """

    name: str
    title: str
    launch: Callable[[Setting], Launch] | None
    headers: Mapping[str, str] = field(default_factory=dict)
    upstream_header: str = ""  # A header that carries the upstream's base URL.
    ready_path: str | None = None
    start_limit_s: float = 30.0
    decoded: bool = False
    slow: bool = False
    streams: bool = True
    install: Callable[[Path], tuple[Path, str]] | None = None  # Only peers have to be installed.

    @property
    def peer(self) -> bool:
        """Whether this is somebody else's gateway."""
        return self.install is not None


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return a small environment: no proxies and no provider keys of the person who runs the benchmark."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "NO_PROXY": "127.0.0.1,localhost", "PYTHONUNBUFFERED": "1", **extra}


def _versions(*packages: str) -> str:
    return ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)


def _bare(setting: Setting) -> Launch:
    command = [sys.executable, "-m", "benchmarks.bare", "--port", str(setting.port), "--upstream", setting.upstream]
    return Launch(command, _versions("starlette", "uvicorn", "aiohttp"))


def _floor(setting: Setting) -> Launch:
    command = [sys.executable, "-m", "benchmarks.floor", "--port", str(setting.port)]
    return Launch(command, _versions("starlette", "uvicorn"))


_GATEWAY_TOML: Final = """\
[providers.mock]
kind = "openai"
base_url = "{upstream}"
api_key = "sk-x"
models = ["{model}"]
max_in_flight = 5000

[limits]
per_key = 1000000000
per_ip = 1000000000
ai = 1000000000
unauthenticated = 1000000000
"""


def gateway_version() -> str:
    """Return the gateway's version as its source says it."""
    try:
        found = re.search(r'VERSION\b.*?"([^"]+)"', (ROOT / "gateway" / "version.py").read_text())
    except FileNotFoundError:
        found = None
    return f"lunarbit {found[1]}" if found else "lunarbit, unknown version"


def _gateway(setting: Setting) -> Launch:
    config = setting.folder / "gateway.toml"
    config.write_text(_GATEWAY_TOML.format(upstream=setting.upstream, model=wire.MODEL))
    data = setting.folder / "data"
    data.mkdir()
    script = Path(sys.executable).parent / "lunarbit"
    command = [str(script), "serve"] if script.exists() else [sys.executable, "-m", "gateway", "serve"]
    env = {
        "GATEWAY_CONFIG": str(config),
        "GATEWAY_DATA_DIR": str(data),
        "APP_ENV": "production",
        "API_KEY_ADMIN": ADMIN_KEY,
        "KEY_PEPPER": "benchmark-pepper-0123456789abcdef0123456789",
        "HOST": "127.0.0.1",
        "PORT": str(setting.port),
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "info",
    }
    return Launch(shlex.split(setting.gateway_command) or command, gateway_version(), env)


_LITELLM_YAML: Final = """\
model_list:
  - model_name: {model}
    litellm_params:
      model: openai/{model}
      api_base: {upstream}
      api_key: sk-x
general_settings:
  master_key: {key}
"""


def _litellm(setting: Setting) -> Launch:
    binary, version = install_litellm(setting.peers_dir)
    config = setting.folder / "litellm.yaml"
    config.write_text(_LITELLM_YAML.format(model=wire.MODEL, upstream=setting.upstream, key=LITELLM_KEY))
    command = [str(binary), "--config", str(config), "--host", "127.0.0.1", "--port", str(setting.port)]
    # Production mode and errors only are what its own documentation recommends for speed.
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR"}
    return Launch([*command, "--num_workers", "1", "--telemetry", "False"], version, env)


def _portkey(setting: Setting) -> Launch:
    script, version = install_portkey(setting.peers_dir)
    return Launch(["node", str(script), f"--port={setting.port}", "--headless"], version, {"NODE_ENV": "production"})


DIRECT: Final = Server("direct", "direct", None)
BARE: Final = Server("bare", "bare", _bare)
GATEWAY: Final = Server(
    "gateway",
    "gateway",
    _gateway,
    headers={"Authorization": f"Bearer {ADMIN_KEY}"},
    ready_path="/health/ready",
)
FLOOR: Final = Server("floor", "floor", _floor, streams=False)
LITELLM: Final = Server(
    "litellm",
    "LiteLLM",
    _litellm,
    headers={"Authorization": f"Bearer {LITELLM_KEY}"},
    ready_path="/health/readiness",
    start_limit_s=120,
    decoded=True,
    slow=True,
    install=install_litellm,
)
SERVERS: Final = (
    DIRECT,
    FLOOR,
    BARE,
    GATEWAY,
    LITELLM,
    Server(
        "portkey",
        "Portkey",
        _portkey,
        headers={"Authorization": "Bearer sk-x", "x-portkey-provider": "openai"},
        upstream_header="x-portkey-custom-host",
        decoded=True,
        slow=True,
        install=install_portkey,
    ),
)
