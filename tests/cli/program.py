"""The command line as people run it: as a program of its own, in a folder of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.architecture.installation import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

ENVIRONMENT = {"PATH": os.defpath, "PYTHONPATH": str(REPOSITORY), "LMSTUDIO_ENABLED": "false"}
KEPT = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG", "COVERAGE_FILE")


async def lunarbit(tmp_path: Path, *arguments: str, toml: str | None = None, **environ: str) -> tuple[int, str, str]:
    """Run the command line in a folder of its own; return exit code, standard output and standard error."""
    if toml is not None:
        (tmp_path / "config").mkdir(exist_ok=True)
        (tmp_path / "config" / "gateway.toml").write_text(toml, encoding="utf-8")
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway",
        *arguments,
        cwd=tmp_path,
        env={**ENVIRONMENT, **kept, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
