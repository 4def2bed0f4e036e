"""Every example of the documents works as it stands, and every link leads somewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.settings import load_settings
from gateway.usage.prices import load_prices
from tests.architecture.installation import ADMIN_KEY, REPOSITORY, Running
from tests.docs.blocks import Block, anchors, blocks, data_folder, links, relative
from tests.docs.github import api_url
from tests.docs.programs import JAVASCRIPT, file_name, filled_in, needed_client, write_modules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.docs.blocks import Link

pytestmark = pytest.mark.slow

LIMIT_S = 60.0
KEY_VARIABLES = ("API_KEY_ADMIN", "API_KEY", "ADMIN_KEY", "LUNARBIT_API_KEY", "LUNARBIT_KEY", "KEY")
SHELL = ("bash", "sh")
# Why a block in one of these languages is only shown.
SHOWN_ONLY = {
    "text": "output, pictures, and what its document says cannot run here",
    "html": "test_streaming_clients.py opens it in a browser",
    "promql": "no Prometheus is at hand",
    "yaml": "for programs that are not at hand",
}
RUN = (*SHELL, *JAVASCRIPT, "python", "toml", "json")
# Why a command inside a shell block is left out when the rest of the block runs.
NOT_RUN_HERE = {
    "docker": "no container engine is at hand",
    "systemctl": "no service manager is at hand",
    "sudo": "a test changes nothing about its machine",
    "apt-get": "a test changes nothing about its machine",
    "pip": "a test installs nothing into its own environment",
    "kill": "the process belongs to whoever reads the document",
    "export": "the values are the reader's own",
    "lunarbit serve": "it would not end; every other block runs against one that serves",
}
# What differs from run to run.
_VARYING = (
    (re.compile(r"req_[0-9a-f]+"), "req_ID"),
    (re.compile(r"lbapi_[0-9A-Za-z]+"), "lbapi_SECRET"),
    (re.compile(r'"(processing_time_ms|latency_ms|created)": ?[\d.]+'), r'"\1":0'),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d[\d:.]*"), "TIME"),
    (re.compile(r"(?im)^date: .*$"), "date:"),
    (re.compile(r"(?m)^(x-ratelimit-reset|retry-after): \d+"), r"\1: 0"),
    (re.compile(r"(?m)^(ratelimit: .*;t)=\d+"), r"\1=0"),
    (re.compile(r"\b\d+( rows)|\b\d+:[0-9a-f]{64}|\b[\d,]+( bytes)"), r"N\1\2"),
)

EXAMPLES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
DOCUMENTS = [*EXAMPLES, REPOSITORY / "CHANGELOG.md", REPOSITORY / "benchmarks/README.md"]
BLOCKS = [block for document in EXAMPLES for block in blocks(document)]
LINKS = [link for document in DOCUMENTS for link in links(document)]


def every(*languages: str) -> pytest.MarkDecorator:
    """Run a test for each block in one of the languages, named by its place.

    What needs a client's own environment is for test_client_snippets.py.
    """
    chosen = [block for block in BLOCKS if block.language in languages and not needed_client(block)]
    return pytest.mark.parametrize("block", chosen, ids=[block.name for block in chosen])


def with_gateway(text: str, gateway: Running) -> str:
    """Put the address of a gateway that runs and its key into an example."""
    return filled_in(text, gateway.url, ADMIN_KEY)


def run(command: Sequence[str], gateway: Running, folder: Path) -> str:
    """Run an example in an empty folder and return what it printed; it has to end with 0 and in time."""
    environment = {
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(REPOSITORY),
        "GATEWAY_DATA_DIR": str(data_folder(gateway.log.parent)),
        "GATEWAY_GITHUB__API_URL": api_url(),
        **dict.fromkeys(KEY_VARIABLES, ADMIN_KEY),
        "OPENAI_BASE_URL": f"{gateway.url}/v1",
        "OPENAI_API_KEY": ADMIN_KEY,
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alike(text: str) -> str:
    """Return output without what differs from run to run."""
    for pattern, stand_in in _VARYING:
        text = pattern.sub(stand_in, text)
    return text.strip()


def commands(text: str) -> Iterator[str]:
    """Yield the commands of a shell block: lines, with those that continue them."""
    whole = ""
    for line in text.splitlines():
        whole += line + "\n"
        if not line.endswith("\\"):
            yield whole
            whole = ""
    yield whole


def only_checked(command: str) -> bool:
    """Return whether a command is left out here; a program of the repository has to exist and be executable."""
    bare = re.sub(r"^\s*(\w+=\S*\s+)*", "", command).split("#")[0].strip()
    program = bare.split()[0] if bare else ""
    if program.startswith(("scripts/", "./scripts/", ".ci/")):
        assert os.access(REPOSITORY / program, os.X_OK), f"{program} is not a program of the repository"
        return True
    # Programs of the environment would run the tests from within a test, or serve for ever.
    if program.startswith(".venv/bin/"):
        return True
    return any(bare == name or bare.startswith(f"{name} ") for name in NOT_RUN_HERE)


def test_every_block_names_a_language_that_is_run_or_known_not_to_be() -> None:
    """A block without a language would never run, and nobody would see that its example is out of date."""
    known = {*RUN, *SHOWN_ONLY}
    unknown = [f"{block.name} ({block.language or 'none'})" for block in BLOCKS if block.language not in known]
    assert unknown == [], "fence what cannot run as text"


def runnable(block: Block) -> str:
    """Return what of a shell block is run here."""
    rest = "".join(command for command in commands(block.text) if not only_checked(command))
    return "\n".join(line for line in rest.splitlines() if line.strip() and not line.lstrip().startswith("#"))


@pytest.fixture(scope="session")
def paste(documented_gateway: Running, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Block], str]:
    """Return a function that gives what a shell block prints to somebody who pastes its document's from the top on.

    Each runs once, in one folder for each document: a key that one block makes is there for the next.
    """
    printed: dict[Block, str] = {}
    folders: dict[Path, Path] = {}

    def paste_up_to(block: Block) -> str:
        if block.document not in folders:
            folders[block.document] = folder = tmp_path_factory.mktemp("pasted")
            # The reader is in the repository; commands may take this file from there.
            (folder / "config").mkdir()
            shutil.copy(REPOSITORY / "config" / "catalog.example.toml", folder / "config")
        for earlier in BLOCKS:
            belongs = earlier.document == block.document and earlier.language in SHELL and earlier.line <= block.line
            text = runnable(earlier) if belongs and earlier not in printed else ""
            if text:
                script = "set -euo pipefail\n" + with_gateway(text, documented_gateway) + "\n"
                printed[earlier] = run(("bash", "-c", script), documented_gateway, folders[block.document])
        return printed[block]

    return paste_up_to


@every(*SHELL)
def test_a_shell_example_works(block: Block, paste: Callable[[Block], str], documented_gateway: Running) -> None:
    """People paste these lines; what they print stands below them where it is shown, an error always."""
    text = runnable(block)
    if not text:
        return
    missing = [name for name in ("curl", "jq") if re.search(rf"\b{name}\b", text) and not shutil.which(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)}: not on this machine")
    printed = paste(block)
    assert '"error":' not in printed or '"error":' in (block.output or ""), printed
    if block.output is not None:
        assert alike(printed) == alike(with_gateway(block.output, documented_gateway))


@every("python")
def test_a_python_example_works(block: Block, documented_gateway: Running, tmp_path: Path) -> None:
    """Each one runs by itself, in a process of its own, as it does for whoever copies it."""
    program = tmp_path / "example.py"
    program.write_text(with_gateway(block.text, documented_gateway), encoding="utf-8")
    printed = run((sys.executable, str(program)), documented_gateway, tmp_path)
    if block.output is not None:
        assert alike(printed) == alike(with_gateway(block.output, documented_gateway))


@pytest.fixture(scope="session")
def modules(documented_gateway: Running, node_packages: Path) -> Callable[[Path], Path]:
    """Return a function that gives a folder with the JavaScript of a document, and what it imports."""
    folders: dict[Path, Path] = {}

    def folder_of(document: Path) -> Path:
        if document not in folders:
            # Node looks for packages in the folders above, too.
            folders[document] = folder = node_packages / document.stem
            folder.mkdir()
            write_modules(document, folder, documented_gateway.url, ADMIN_KEY)
        return folders[document]

    return folder_of


@every(*JAVASCRIPT)
def test_a_javascript_example_works(block: Block, modules: Callable[[Path], Path], documented_gateway: Running) -> None:
    """Each is a module beside the others of its page, so that one may import another."""
    node = shutil.which("node")
    assert node is not None, "node is missing; `scripts/test --install` installs what the tests need"
    folder = modules(block.document)
    printed = run((node, file_name(block)), documented_gateway, folder)
    if block.output is not None:
        assert alike(printed) == alike(with_gateway(block.output, documented_gateway))


@every("toml")
def test_a_toml_example_is_a_configuration(block: Block, tmp_path: Path) -> None:
    """A key that was renamed would otherwise live on in the documents and stop somebody's start."""
    parsed = tomllib.loads(block.text)
    if {"project", "build-system"} & parsed.keys():
        return
    if "models" in parsed:
        prices = tmp_path / "prices.toml"
        prices.write_text(block.text, encoding="utf-8")
        load_prices(prices)
        return
    existing = tmp_path / "secret"
    existing.write_text("a-secret-of-the-tests", encoding="utf-8")
    text = re.sub(r'(?m)^(\s*\w+_(?:file|cert|key)\s*=\s*)"/[^"]*"', rf'\1"{existing}"', block.text)
    path = tmp_path / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    # A part of a file may refer to the two providers that every page takes for granted, and to variables.
    environ = dict.fromkeys(re.findall(r'api_key_env\s*=\s*"(\w+)"', text), "sk-of-the-tests")
    environ |= {"OPENAI_API_KEY": "sk-of-the-tests", "LMSTUDIO_ENABLED": "true", "API_KEY_ADMIN": ADMIN_KEY}
    load_settings(environ, path)


@every("json")
def test_a_json_example_is_json(block: Block) -> None:
    """One document, or one a line as in a log."""
    try:
        json.loads(block.text)
    except ValueError:
        for line in block.text.splitlines():
            if line.strip():
                json.loads(line)


@pytest.mark.parametrize("link", LINKS, ids=[link.name for link in LINKS])
def test_a_link_leads_somewhere(link: Link) -> None:
    """Also to the heading: a renamed one breaks links in documents that nobody has touched."""
    path, _, anchor = link.target.partition("#")
    target = (link.document.parent / path).resolve() if path else link.document
    assert target.is_relative_to(REPOSITORY), "the link leaves the repository"
    assert target.exists(), f"{path} does not exist"
    if anchor and target.suffix == ".md":
        assert anchor in anchors(target), f"{relative(target)} has no such heading"
