"""One gateway for all documents, as `scripts/serve` starts it in the repository on a machine without configuration."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.architecture.installation import ADMIN_KEY, REPOSITORY, Running, running
from tests.docs.blocks import data_folder
from tests.docs.github import api_url
from tests.docs.programs import install_node_packages

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def documented_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield a gateway in development mode with the echo provider, the example catalogue and the key of the tests."""
    folder = tmp_path_factory.mktemp("documented")
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": str(REPOSITORY),
        "APP_ENV": "development",
        "API_KEY_ADMIN": ADMIN_KEY,
        # The files of the examples do not exist, and nobody should look for them outside this machine.
        "GATEWAY_VERIFICATION__ENABLED": "false",
        "GATEWAY_GITHUB__API_URL": api_url(),
        "GATEWAY_DATA_DIR": str(data_folder(folder)),
        "GATEWAY_USAGE__PRICES": str(REPOSITORY / "config" / "prices.toml"),
    }
    gateway_of = (sys.executable, "-m", "gateway")
    catalogue = REPOSITORY / "config" / "catalog.example.toml"
    subprocess.run(
        (*gateway_of, "releases", "import", str(catalogue)), env=environment, cwd=folder, check=True, timeout=60
    )
    with running((*gateway_of, "serve"), environment, cwd=folder, log=folder / "log") as gateway:
        yield gateway


@pytest.fixture(scope="session")
def node_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the JavaScript of the documents imports, for modules in folders below it."""
    root = tmp_path_factory.getbasetemp()
    # Each process of xdist has a folder of its own, in one that all of them share.
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "node-packages"
    install_node_packages(folder)
    return folder
