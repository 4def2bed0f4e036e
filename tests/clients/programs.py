"""The client programs, and the environments that run them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
_PYTHON = _HERE / "python"
_NODE = _HERE / "node"
_INSTALL_LIMIT_S = 600


@dataclass(frozen=True)
class Program:
    """A client's program. `name` is what `--only` and the table call it."""

    name: str
    language: str
    path: Path

    @property
    def locks(self) -> list[Path]:
        """The files that say what is installed for it; `a-b` without a lock of its own shares that of `a`."""
        if self.language == "Node":
            return [_NODE / "package.json", _NODE / "package-lock.json"]
        own = _PYTHON / f"{self.name}.lock"
        return [own if own.exists() else own.with_name(f"{self.name.rpartition('-')[0]}.lock")]


def programs(python: Path = _PYTHON, node: Path = _NODE) -> list[Program]:
    """Find the programs; the names of those for Node that Python has too end in `-node`."""
    found = [Program(path.stem.removeprefix("with_"), "Python", path) for path in sorted(python.glob("with_*.py"))]
    taken = {program.name for program in found}
    for path in sorted(node.glob("*.mjs")):
        if not path.name.startswith("_"):
            name = f"{path.stem}-node" if path.stem in taken else path.stem
            found.append(Program(name, "Node", path))
    return found


def command(program: Program) -> list[str]:
    """Return the command that runs a program, after its environment was made if it was missing."""
    name = "node" if program.language == "Node" else program.locks[0].stem
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lunarbit-gateway" / "clients"
    folder = cache / f"{name}-{_identity(program)}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{folder.name}.guard").open("wb") as guard:
        # Two runs at once must not install into the same folder at once.
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not (folder / ".complete").exists():
            sys.stderr.write(f"Making the environment of {name}\n")
            shutil.rmtree(folder, ignore_errors=True)
            (_install_node if program.language == "Node" else _install_python)(folder, program.locks)
            (folder / ".complete").touch()
        if program.language == "Node":
            # Node looks for packages from where a program is.
            for path in _NODE.glob("*.mjs"):
                shutil.copy(path, folder)
            return ["node", str(folder / program.path.name)]
    return [str(folder / "bin/python"), str(program.path)]


def _identity(program: Program) -> str:
    text = b"".join(path.read_bytes() for path in program.locks)
    if program.language == "Python":
        text += sys.version.encode()
    return hashlib.sha256(text).hexdigest()[:12]


def _install_python(folder: Path, locks: list[Path]) -> None:
    _run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    pip = (sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install", "-qq", "--no-input")
    _run(*pip, "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:", "-r", str(locks[0]))


def _install_node(folder: Path, locks: list[Path]) -> None:
    folder.mkdir()
    for path in locks:
        shutil.copy(path, folder)
    npm = ("npm", "ci", "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts", "--loglevel=error")
    _run(*npm, cwd=folder)


def _run(*words: str, cwd: Path | None = None) -> None:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=_INSTALL_LIMIT_S, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")
