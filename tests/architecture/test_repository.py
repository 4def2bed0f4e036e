"""Rules about the repository itself: what is committed, what is locked, how big things may get."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest
from pytest_socket import SocketConnectBlockedError

from gateway.version import VERSION
from tests.architecture.installation import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PACKAGES = ("gateway", "providers", "routing")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-build.lock")
REQUIREMENT = re.compile(r"([a-z0-9][a-z0-9-]*)==(\S+)( ; [^\\]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
DESIGN_CARD = {"starlette", "uvicorn", "httpx", "sse_starlette", "anyio", "tenacity", "prometheus_client"}
LEFT_BY_RUNS = {
    *(".git", ".venv", ".venv-lock", "__pycache__", "data", "dist", "build", "htmlcov", "node_modules"),
    *(".venv-docs", "site"),
    *(".hypothesis", ".import_linter_cache", ".mypy_cache", ".pytest_cache", ".ruff_cache"),
}
# Written in pieces, so that this file passes its own test.
FORBIDDEN_NAMES = [
    *(".".join(host) for host in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"))),
    *(".".join(host) for host in (("crates", "io"), ("proxy", "golang", "org"), ("deb", "debian", "org"))),
    *(f"/{folder}/" for folder in ("work", "root", "home")),
]


def committed_files() -> Iterator[Path]:
    """Yield every file that is or would be committed: by git, or without what runs leave behind."""
    git = shutil.which("git")
    listing = ["ls-files", "--cached", "--others", "--exclude-standard"]
    done = git and subprocess.run([git, *listing], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done and done.returncode == 0:
        names = done.stdout.splitlines()
        yield from (REPOSITORY / name for name in names if (REPOSITORY / name).is_file())
        return
    for folder, subfolders, files in os.walk(REPOSITORY):
        subfolders[:] = [name for name in subfolders if name not in LEFT_BY_RUNS]
        yield from (REPOSITORY / folder / name for name in files)


def modules() -> Iterator[tuple[Path, ast.Module]]:
    """Yield every module of the three packages with its syntax tree."""
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            yield path.relative_to(REPOSITORY), ast.parse(path.read_text())


def locked(name: str) -> dict[str, str]:
    """Return the versions in a lock file by `name ; marker`; fail on any other kind of line."""
    found = {}
    for line in (REPOSITORY / name).read_text().splitlines():
        if match := REQUIREMENT.fullmatch(line):
            found[match[1] + (match[3] or "")] = match[2]
        else:
            assert HASH.fullmatch(line), f"{name}: {line}"
    return found


@pytest.mark.parametrize("name", [*LOCKS, "requirements-docs.lock"])
def test_lock_file_holds_names_versions_and_hashes_only(name: str) -> None:
    """An address in it would tie everyone to the index of whoever wrote it."""
    assert locked(name)


@pytest.mark.parametrize("name", LOCKS[1:])
def test_lock_files_agree_with_each_other(name: str) -> None:
    """They are installed together, and the tests must run on the versions that are served."""
    served = locked("requirements.lock")
    other = locked(name)
    assert {key: other[key] for key in served.keys() & other.keys()} == {
        key: served[key] for key in served.keys() & other.keys()
    }
    if name == "requirements-dev.lock":
        assert served.keys() <= other.keys()


def test_every_declared_dependency_is_locked() -> None:
    """A dependency that was added without scripts/lock would be missing on a fresh machine."""
    names = {key.split(" ")[0] for key in locked("requirements.lock")}
    declared = {
        re.split(r"[\[<>=~! ;]", text)[0].lower().replace("_", "-") for text in PROJECT["project"]["dependencies"]
    }
    assert declared <= names


def test_build_back_end_is_the_locked_one() -> None:
    """The back end runs code at build time, so it is as locked as the rest."""
    (requirement,) = PROJECT["build-system"]["requires"]
    assert requirement in [f"{name}=={version}" for name, version in locked("requirements-build.lock").items()]
    assert requirement in PROJECT["dependency-groups"]["build"]


def test_no_committed_file_names_a_package_index_or_a_path_of_one_machine() -> None:
    """The repository must work wherever it is cloned, with whatever index its user has."""
    found = []
    for path in committed_files():
        text = path.read_bytes().decode(errors="replace")
        found += [f"{path.relative_to(REPOSITORY)}: {name}" for name in FORBIDDEN_NAMES if name in text]
    assert found == []


def test_distribution_is_declared_as_agreed() -> None:
    """Other people's scripts rely on the name, the command and the oldest Python."""
    assert PROJECT["project"]["name"] == "lunarbit-gateway"
    assert PROJECT["project"]["requires-python"] == ">=3.11"
    assert PROJECT["project"]["scripts"]["lunarbit"].startswith("gateway.")
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)


def test_files_stay_under_400_lines() -> None:
    """A file that grows without end is the first sign of two things living in one place."""
    too_long = [f"{path}: {size}" for path, _ in modules() if (size := _lines(REPOSITORY / path)) >= 400]
    assert too_long == []


def test_functions_stay_under_60_lines() -> None:
    """A function that fits on a screen can be understood at once."""
    too_long = [
        f"{path}:{node.lineno} {node.name}"
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno >= 59
    ]
    assert too_long == []


def test_every_library_of_the_design_card_is_used() -> None:
    """They were chosen with the user; one that is only installed is a promise not kept."""
    imported = {name.split(".")[0] for _, tree in modules() for name in _imports(tree)}
    assert imported >= DESIGN_CARD


@pytest.mark.parametrize(
    "code",
    [
        "import unittest.mock",
        "from unittest import mock",
        "from starlette.middleware.base import BaseHTTPMiddleware",
        "import config",
        "from config import anything",
        "import tests.conftest",
    ],
)
def test_linter_refuses_what_the_project_bans(code: str) -> None:
    """A ban by lint beats a ban by review, as long as the lint works."""
    assert "TID251" in _lint(code, "gateway/example.py")


def test_linter_lets_modules_through_that_share_a_name_with_a_banned_one() -> None:
    """Only the top-level config folder is data; providers.config is a module."""
    assert "TID251" not in _lint("from providers.config import ProviderConfig", "gateway/example.py")
    assert "TID251" not in _lint("import tests.conftest", "tests/example.py")


def test_documents_name_only_scripts_that_exist() -> None:
    """The first command of a newcomer must not be a dead one."""
    documents = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), REPOSITORY / ".ci/run"]
    named = {name for path in documents for name in re.findall(r"scripts/([a-z][a-z-]*)", path.read_text())}
    assert {"serve", "test"} <= named
    for name in sorted(named | {"serve", "test", "test-full", "check", "format", "build", "dev", "lock"}):
        assert os.access(REPOSITORY / "scripts" / name, os.X_OK), name


def test_scripts_are_valid_and_stop_at_the_first_error() -> None:
    """A script that goes on after a failure reports success for something that did not happen."""
    bash = shutil.which("bash")
    assert bash is not None
    for path in [*(REPOSITORY / "scripts").iterdir(), REPOSITORY / ".ci/run"]:
        text = path.read_text()
        if path.is_file() and "bash" in text.splitlines()[0]:
            subprocess.run([bash, "-n", str(path)], check=True)
            assert "set -euo pipefail" in text or "_common.sh" in text or 'exec "$(dirname' in text, path.name


def test_sockets_of_tests_reach_only_this_machine() -> None:
    """A test that needs the network fails on the machine that has none, so it must fail here too."""
    import socket

    with (
        socket.socket() as client,
        pytest.warns(UserWarning, match="connect"),
        pytest.raises(SocketConnectBlockedError),
    ):
        client.connect(("192.0.2.1", 80))


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def _lint(code: str, name: str) -> str:
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--output-format",
        "concise",
        "--stdin-filename",
        name,
        "-",
    ]
    return subprocess.run(command, cwd=REPOSITORY, input=code, capture_output=True, text=True, check=False).stdout
