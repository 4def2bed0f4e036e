"""Installs the peers on demand, each into a folder of its own below the peers folder."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.processes import StartError, run

_INSTALL_LIMIT_S: Final = 900.0


def _venv_program(folder: Path, program: str, requirement: str) -> Path:
    """Return a program from a virtual environment that holds one requirement; make it when it is missing."""
    binary = folder / "bin" / program
    if not binary.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        run([sys.executable, "-m", "venv", str(folder)], cwd=Path.cwd(), limit_s=_INSTALL_LIMIT_S)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", requirement]
        run(pip, cwd=Path.cwd(), limit_s=_INSTALL_LIMIT_S)
    if not binary.exists():
        msg = f"{requirement} was installed but brought no program {program}"
        raise StartError(msg)
    return binary


def install_litellm(peers_dir: Path) -> tuple[Path, str]:
    """Return the proxy's program and its version."""
    folder = peers_dir / "litellm"
    binary = _venv_program(folder, "litellm", "litellm[proxy]")
    code = "import importlib.metadata as m; print(m.version('litellm'), end='')"
    version = run([str(folder / "bin" / "python"), "-c", code], cwd=folder, limit_s=60)
    return binary, f"litellm {version.decode()}"


def install_portkey(peers_dir: Path) -> tuple[Path, str]:
    """Return the gateway's start script and its version."""
    folder = peers_dir / "portkey"
    package = folder / "node_modules" / "@portkey-ai" / "gateway"
    script = package / "build" / "start-server.js"
    if shutil.which("node") is None:
        msg = "node is not installed"
        raise StartError(msg)
    if not script.exists():
        folder.mkdir(parents=True, exist_ok=True)
        npm = ["npm", "install", "--prefix", str(folder), "--no-fund", "--no-audit", "@portkey-ai/gateway"]
        run(npm, cwd=folder, limit_s=_INSTALL_LIMIT_S)
    manifest = msgspec.json.decode((package / "package.json").read_bytes(), type=dict[str, object])
    return script, f"portkey {manifest['version']}"


def install_py_spy(peers_dir: Path) -> Path:
    """Return the sampling profiler's program."""
    return _venv_program(peers_dir / "py-spy", "py-spy", "py-spy")
