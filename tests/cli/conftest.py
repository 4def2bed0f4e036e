"""An empty folder to work in, with none of the variables that the gateway reads."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli import app
from tests.gateway.conftest import restored_logging
from tests.services.postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url", "restored_logging"]

Invoke = Callable[..., Result]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in the folder; the database will be in `data` below it."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("GATEWAY_", "API_KEY", "KEY_PEPPER", "AUDIT_", "DATABASE_", "APP_ENV", "NODE_ENV", "LOG_")):
            monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def invoke(here: Path, restored_logging: None) -> Invoke:
    """Run the command line in this process; it must end in order, whatever its exit code."""

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.stderr
        return result

    return run
