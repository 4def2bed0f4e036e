"""The programs in the documents as files: named ones side by side, as whoever copies them would put them."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.docs.blocks import blocks

if TYPE_CHECKING:
    from tests.docs.blocks import Block

_NODE_PACKAGES = Path(__file__).parent / "node"
JAVASCRIPT = ("js", "javascript", "mjs")
KEY_NAMES = ("YOUR_ADMIN_KEY", "YOUR_API_KEY", "YOUR_KEY", "your_api_key_here")
_INSTALL_LIMIT_S = 100
# The first line of a program that has a name: `// chat.mjs`, or `<!-- chat.html -->` for a page.
_NAME = re.compile(r"\A(?:// |<!-- )([\w.-]+\.(?:mjs|html))")
_NEEDS = re.compile(r"\A# needs: (\S+)")


def filled_in(text: str, url: str, key: str) -> str:
    """Put the address of a gateway that runs and its key into an example."""
    text = re.sub(r"http://(localhost|127\.0\.0\.1):3000\b", url, text)
    text = re.sub(r"\b(localhost|127\.0\.0\.1):3000\b", url.removeprefix("http://"), text)
    for name in KEY_NAMES:
        text = re.sub(rf"\b{name}\b", key, text)
    return text


def file_name(block: Block) -> str:
    """Return the name that a program gives itself in its first line."""
    named = _NAME.match(block.text)
    assert named, f"{block.name}: the first line has to name the file, as in `// chat.mjs`"
    return named[1]


def write_modules(document: Path, folder: Path, url: str, key: str) -> None:
    """Write the JavaScript and the pages of a document into a folder, for a gateway at `url`."""
    for block in blocks(document):
        if block.language in (*JAVASCRIPT, "html"):
            (folder / file_name(block)).write_text(filled_in(block.text, url, key), encoding="utf-8")


def needed_client(block: Block) -> str | None:
    """Return the client whose environment a Python program needs, as its first line `# needs: litellm` says."""
    named = _NEEDS.match(block.text)
    return named and named[1]


def install_node_packages(folder: Path) -> None:
    """Install what the programs import, as locked, into `node_modules` of a folder, unless another process has."""
    npm = shutil.which("npm")
    assert npm is not None, "npm is missing; `scripts/test --install` installs what the tests need"
    folder.mkdir(exist_ok=True)
    with (folder / "guard").open("wb") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if (folder / "complete").exists():
            return
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_NODE_PACKAGES / name, folder)
        command = (npm, "ci", "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts", "--loglevel=error")
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_LIMIT_S, check=False
        )
        assert done.returncode == 0, f"npm could not install what the documents import: {done.stderr}"
        (folder / "complete").touch()
