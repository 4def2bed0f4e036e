"""The gateway installed for real: the locked requirements and the built wheel in a clean environment.

The folder is laid out like the container image, and the steps are those of the Dockerfile.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

REPOSITORY = Path(__file__).parents[2]
ADMIN_KEY = "an-admin-key-of-the-tests"
START_LIMIT_S = 60.0
STOP_LIMIT_S = 60.0
_UNUSED_STDLIB = ("site-packages", "test", "idlelib", "tkinter", "lib2to3", "config-*")


@dataclass(frozen=True)
class Installation:
    """An image-like folder: `opt/venv` with the gateway, `app/config`, an empty `data`, the wheel."""

    root: Path
    wheel: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def bin(self) -> Path:
        """Where `lunarbit` and `python` are."""
        return self.root / "opt/venv/bin"

    @property
    def site_packages(self) -> Path:
        """Where the packages are."""
        return next((self.root / "opt/venv/lib").glob("python*")) / "site-packages"

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run one of the environment's programs outside the repository, and return what it printed."""
        return subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=self.root,
            env={"PATH": os.defpath, "PYTHONSAFEPATH": "1", **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def pip(self, *arguments: str) -> None:
        """Run pip on the environment from outside, since the environment itself holds none."""
        pip = (sys.executable, "-m", "pip", "--python", str(self.bin / "python"))
        _run(*pip, *arguments, env={**os.environ, **self.environment})


def install(root: Path) -> Installation:
    """Build the project's wheel and install it with its locked requirements below `root`."""
    root.chmod(0o755)
    python, environment = _interpreter_for_everyone(root)
    _run(str(python), "-m", "venv", "--without-pip", str(root / "opt/venv"), env={**os.environ, **environment})
    installation = Installation(root, build_wheel(REPOSITORY, root / "dist"), environment)
    requirements = str(REPOSITORY / "requirements.lock")
    installation.pip("install", "-qq", "--require-hashes", "--only-binary", ":all:", "-r", requirements)
    installation.pip("install", "-qq", "--no-deps", "--no-index", str(installation.wheel))
    shutil.copytree(REPOSITORY / "config", root / "app/config")
    (root / "data").mkdir()
    return installation


def build_wheel(project: Path, target: Path) -> Path:
    """Build the wheel of `project` into `target` with the locked build back end."""
    before = set(target.glob("*.whl"))
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target), cwd=project)
    (wheel,) = set(target.glob("*.whl")) - before
    return wheel


@dataclass
class Running:
    """A gateway that runs as a program of its own."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def stop(self) -> int:
        """Send SIGTERM, wait, and return the exit code."""
        self.process.terminate()
        return self.process.wait(STOP_LIMIT_S)


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], *, cwd: Path, log: Path, uid: int | None = None
) -> Iterator[Running]:
    """Start a gateway on a free port of loopback, as user `uid` if given, and wait until it answers."""
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**environment, "HOST": "127.0.0.1", "PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
        )
    gateway = Running(process, f"http://127.0.0.1:{port}", log)
    try:
        _wait_until_it_answers(gateway)
        yield gateway
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def free_port() -> int:
    """Return a port of loopback that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_until_it_answers(gateway: Running) -> None:
    give_up = time.monotonic() + START_LIMIT_S
    with httpx.Client(trust_env=False) as client:
        while gateway.process.poll() is None and time.monotonic() < give_up:
            try:
                client.get(f"{gateway.url}/health/live")
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return
    raise AssertionError("the gateway did not start:\n" + gateway.log.read_text(errors="replace"))


def _run(*command: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def _interpreter_for_everyone(root: Path) -> tuple[Path, dict[str, str]]:
    """Return an interpreter that every user can start, and the environment it needs.

    An interpreter in the home folder of root, which nobody else may enter, is copied below `root`.
    """
    name = f"python{sysconfig.get_python_version()}"
    prefix = Path(sys.base_prefix)
    python = (prefix / "bin" / name).resolve()
    if os.geteuid() != 0 or (_is_open_to_everyone(python) and _is_open_to_everyone(Path(os.__file__).resolve())):
        return python, {}
    home = root / "usr"
    shutil.copytree(
        prefix / "lib" / name,
        home / "lib" / name,
        ignore=shutil.ignore_patterns(*_UNUSED_STDLIB),
        symlinks=True,
    )
    for library in (prefix / "lib").glob("libpython*.so*"):
        shutil.copy2(library, home / "lib", follow_symlinks=False)
    (home / "bin").mkdir()
    shutil.copy2(python, home / "bin" / name)
    return home / "bin" / name, {"LD_LIBRARY_PATH": str(home / "lib")}


def _is_open_to_everyone(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o004) and all(folder.stat().st_mode & 0o001 for folder in path.parents)
