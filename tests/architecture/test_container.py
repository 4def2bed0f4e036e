"""The container image, as far as it can be tried without a container engine.

The Dockerfile is read, and its start command runs with its environment as a user without rights over a
read-only copy of what the image holds.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.architecture.dockerfile import stages
from tests.architecture.installation import ADMIN_KEY, REPOSITORY, Installation, running

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BUILD, FINAL = stages(REPOSITORY / "Dockerfile")
NOBODY = 65534


@pytest.fixture
def image(installation: Installation) -> Iterator[Installation]:
    """Make the installation read-only except for its data folder, which belongs to the user of the test."""
    data = installation.root / "data"
    _chmod(installation.root, "a-w")
    _chmod(data, "u+w")
    if _uid() is not None:
        os.chown(data, NOBODY, NOBODY)
    yield installation
    _chmod(installation.root, "u+w")
    shutil.rmtree(data)
    data.mkdir()


def test_image_is_built_in_stages_on_a_base_of_one_exact_version() -> None:
    """A moving tag makes two builds of one commit differ; a second stage leaves the build tools out."""
    assert BUILD.base == FINAL.base
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", FINAL.base)
    assert not [argument for name, argument in FINAL.instructions if name == "RUN" and "pip" in argument]


def test_image_installs_only_what_the_lock_files_name() -> None:
    """Every install step either checks hashes or may not look at any index."""
    steps = [part for name, line in BUILD.instructions if name == "RUN" for part in line.split("&&")]
    installs = [step for step in steps if " install " in step]
    assert installs
    for step in installs:
        assert "--require-hashes" in step or "--no-index" in step


def test_image_runs_without_rights_and_keeps_state_in_one_volume() -> None:
    """The defaults of the image are those of production."""
    user, _, group = FINAL.last("USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert FINAL.last("VOLUME") == '["/data"]'
    assert FINAL.last("STOPSIGNAL") == "SIGTERM"
    assert FINAL.command() == ["lunarbit", "serve"]
    expected = {
        "PYTHONSAFEPATH": "1",
        "HOST": "0.0.0.0",  # noqa: S104 - inside a container, every interface is the container's own.
        "PORT": "3000",
        "APP_ENV": "production",
        "GATEWAY_DATA_DIR": "/data",
    }
    assert expected.items() <= FINAL.environment().items()


def test_start_command_serves_as_nobody_over_a_read_only_tree(image: Installation, tmp_path: Path) -> None:
    """What the image starts must need no right and no place to write but the volume, and stop when told."""
    environment = {
        name: value.replace("/opt/venv", f"{image.root}/opt/venv").replace("/data", f"{image.root}/data")
        for name, value in FINAL.environment().items()
    }
    environment |= {
        "API_KEY_ADMIN": ADMIN_KEY,
        "KEY_PEPPER": "a-pepper-of-the-tests-32-characters",
        **image.environment,
    }
    before = _snapshot(image.root)
    command = [str(image.bin / FINAL.command()[0]), *FINAL.command()[1:]]
    with running(command, environment, cwd=image.root / "app", log=tmp_path / "log", uid=_uid()) as gateway:
        health = httpx.get(f"{gateway.url}/health", timeout=60, trust_env=False)
        check = subprocess.run(
            FINAL.health_check(),
            env={**environment, "PORT": str(httpx.URL(gateway.url).port)},
            capture_output=True,
            text=True,
            check=False,
        )
        code = gateway.stop()
    log = gateway.log.read_text()
    assert health.status_code == 200, health.text + log
    assert check.returncode == 0, check.stderr
    assert code == 0, log
    assert _snapshot(image.root) == before
    assert list((image.root / "data").iterdir()), "nothing was kept in the volume"


def _uid() -> int | None:
    """Return the user to run as: nobody, or None for oneself when that is not root."""
    return NOBODY if os.geteuid() == 0 else None


def _chmod(path: Path, mode: str) -> None:
    subprocess.run([shutil.which("chmod") or "chmod", "-R", mode, str(path)], check=True)


def _snapshot(root: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of change of everything below `root` except the data folder."""
    paths = [path for path in root.rglob("*") if "data" not in path.relative_to(root).parts[:1]]
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in paths}
