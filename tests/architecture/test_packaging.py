"""The distribution, installed for real into a clean environment."""

from __future__ import annotations

import os
import zipfile
from typing import TYPE_CHECKING

import httpx
import pytest

from gateway.version import VERSION
from tests.architecture.installation import ADMIN_KEY, REPOSITORY, Installation, build_wheel, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CONFIGURATION = """
[providers.loud]
kind = "shout"
"""


@pytest.fixture
def with_plugin(installation: Installation, tmp_path: Path) -> Iterator[Installation]:
    """Add the example plug-in to the installation for one test."""
    wheel = build_wheel(REPOSITORY / "tests/plugin_example", tmp_path)
    installation.pip("install", "-qq", "--no-deps", "--no-index", str(wheel))
    yield installation
    installation.pip("uninstall", "-qq", "--yes", "lunarbit-shout")


def test_wheel_holds_the_three_packages_and_nothing_else(installation: Installation) -> None:
    """A stray top-level folder such as config or tests would become importable on every machine."""
    names = zipfile.ZipFile(installation.wheel).namelist()
    metadata = f"lunarbit_gateway-{VERSION}.dist-info"
    assert {name.split("/")[0] for name in names} == {"gateway", "providers", "routing", metadata}


def test_wheel_holds_the_files_of_the_reference(installation: Installation) -> None:
    """They are no modules, and `/docs` is empty without them; the licence has to go with the renderer."""
    static = REPOSITORY / "gateway/openapi/static"
    files = {path.relative_to(REPOSITORY).as_posix() for path in static.rglob("*") if path.is_file()}
    assert "gateway/openapi/static/swagger-ui/LICENSE" in files
    assert files <= set(zipfile.ZipFile(installation.wheel).namelist())


def test_data_and_tests_are_not_importable_when_installed(installation: Installation) -> None:
    """Code that imports them works in the repository and fails everywhere else."""
    for module in ("config", "tests"):
        done = installation.run("python", "-c", f"import {module}")
        assert f"No module named '{module}'" in done.stderr


def test_installation_runs_nothing_at_interpreter_start(installation: Installation) -> None:
    """A .pth file is code that runs unseen in every Python process of the image."""
    assert list(installation.site_packages.glob("*.pth")) == []


def test_console_script_says_the_version_of_the_package(installation: Installation) -> None:
    """The constant, the package's metadata and the command must not drift apart."""
    done = installation.run("lunarbit", "version")
    assert done.returncode == 0, done.stderr
    assert VERSION in done.stdout
    metadata = installation.run("python", "-c", "import importlib.metadata as m; print(m.version('lunarbit-gateway'))")
    assert metadata.stdout.strip() == VERSION


def test_provider_of_another_package_answers_a_chat(with_plugin: Installation, tmp_path: Path) -> None:
    """Third parties add a provider with an entry point alone, without a change in the gateway."""
    (tmp_path / "gateway.toml").write_text(CONFIGURATION)
    environment = {
        "PATH": f"{with_plugin.bin}{os.pathsep}{os.defpath}",
        "API_KEY_ADMIN": ADMIN_KEY,
        "GATEWAY_CONFIG": str(tmp_path / "gateway.toml"),
        "GATEWAY_DATA_DIR": str(tmp_path / "data"),
        **with_plugin.environment,
    }
    command = [str(with_plugin.bin / "lunarbit"), "serve"]
    with running(command, environment, cwd=tmp_path, log=tmp_path / "log") as gateway:
        answer = httpx.post(
            f"{gateway.url}/ai/chat",
            json={"model": "loud/shout-1", "messages": [{"role": "user", "content": "to the moon"}]},
            headers={"Authorization": f"Bearer {ADMIN_KEY}"},
            timeout=60,
            trust_env=False,
        )
    assert answer.status_code == 200, answer.text
    assert answer.json()["response"].split() == ["TO", "THE", "MOON"]
    assert answer.json()["provider"] == "loud"
