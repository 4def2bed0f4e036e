"""Helpers of the settings tests: load a configuration, or get the error that it is refused with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GOOD_KEY = "Zq7wJx0pL3vTn8sRk2Yb"
GOOD_PEPPER = "Hm4cVb9yKd2wQx6tRz1s"
# What production asks for.
PRODUCTION = {"APP_ENV": "production", "API_KEY_ADMIN": GOOD_KEY, "KEY_PEPPER": GOOD_PEPPER}


def load(tmp_path: Path, toml: str = "", **environ: str) -> Settings:
    """Load a file that holds `toml` together with the variables given."""
    path = tmp_path / "gateway.toml"
    path.write_text(toml, encoding="utf-8")
    return load_settings(environ, path)


def refused(tmp_path: Path, toml: str = "", **environ: str) -> SettingsError:
    """Return the error that the file and the variables are refused with."""
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, toml, **environ)
    return caught.value


def only_problem(tmp_path: Path, toml: str = "", **environ: str) -> str:
    """Return the one line of a refusal that must have exactly one problem."""
    error = refused(tmp_path, toml, **environ)
    assert len(error.problems) == 1, str(error)
    return str(error.problems[0])


def value_of(settings: Settings, dotted: str) -> object:
    """Return what stands at a dotted path of the settings, with secrets in plain text."""
    value: object = settings
    for part in dotted.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    secret: Mapping[str, object] | object = getattr(value, "get_secret_value", lambda: value)()
    return secret
