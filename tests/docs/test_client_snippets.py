"""The programs of clients.md that need other packages than the tests have, each in its client's own environment.

`scripts/test-clients` makes those environments and runs this file.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.architecture.installation import ADMIN_KEY, REPOSITORY
from tests.clients.programs import Program, command
from tests.docs.blocks import blocks
from tests.docs.programs import filled_in, needed_client

if TYPE_CHECKING:
    from pathlib import Path

    from tests.architecture.installation import Running
    from tests.docs.blocks import Block

LIMIT_S = 60.0
CLIENTS = REPOSITORY / "docs" / "clients.md"
SNIPPETS = [block for block in blocks(CLIENTS) if needed_client(block)]

pytestmark = pytest.mark.skipif(
    os.environ.get("LUNARBIT_TEST_CLIENTS") != "1", reason="scripts/test-clients makes the environments and runs these"
)


@pytest.mark.parametrize("block", SNIPPETS, ids=needed_client)
def test_the_example_of_a_client_works(block: Block, documented_gateway: Running, tmp_path: Path) -> None:
    """As it stands, in the environment that the client's own tests run in."""
    example = tmp_path / "example.py"
    python = command(Program(needed_client(block) or "", "Python", example))[0]
    example.write_text(filled_in(block.text, documented_gateway.url, ADMIN_KEY), encoding="utf-8")
    # Otherwise litellm fetches a table of prices from the network.
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    done = subprocess.run(
        (python, str(example)),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == (block.output or "").strip()


def test_the_entry_for_llm_works(documented_gateway: Running, tmp_path: Path) -> None:
    """Its file lies where llm looks for it, and the command is the one of the page."""
    (entry,) = (block for block in blocks(CLIENTS) if block.language == "yaml")
    (tmp_path / "extra-openai-models.yaml").write_text(
        filled_in(entry.text, documented_gateway.url, ADMIN_KEY), encoding="utf-8"
    )
    python = command(Program("llm", "Python", tmp_path))[0]
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "LLM_USER_PATH": str(tmp_path)}

    def llm(*words: str) -> str:
        done = subprocess.run(
            (python, "-m", "llm", *words),
            stdin=subprocess.DEVNULL,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    llm("keys", "set", "lunarbit", "--value", ADMIN_KEY)
    assert llm("-m", "lunarbit", "Hello") == "Hello"
