"""Loads the settings of one process: defaults, overridden by the TOML file, overridden by the environment."""

from __future__ import annotations

import copy
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from gateway.settings.checks import check_settings, resolve_credentials
from gateway.settings.errors import Describer, SettingsError, value_at
from gateway.settings.keys import CONFIG_VARIABLE
from gateway.settings.model import KEYS, Settings
from gateway.settings.sources import EnvironmentSource, MergedState, TableSource, read_toml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails
    from pydantic_settings import PydanticBaseSettingsSource

    from gateway.settings.keys import KeyPath

DEFAULT_CONFIG_PATH: Final = Path("config/gateway.toml")
_ROUNDS: Final = 4


def load_settings(environ: Mapping[str, str] | None = None, config_path: Path | None = None) -> Settings:
    """Return the settings of this process: defaults, then the TOML file, then `environ` (None: `os.environ`).

    The file is `config_path`, else the one that `GATEWAY_CONFIG` names, else `config/gateway.toml` if any.
    Raises SettingsError with every problem at once.
    """
    variables = os.environ if environ is None else environ
    path = _config_path(variables, config_path)
    file_data = read_toml(path) if path is not None else {}
    environment = EnvironmentSource(KEYS, variables, file_data)
    environment.read()
    merged = MergedState(Settings)
    settings, errors = _build(TableSource(Settings, environment.data), TableSource(Settings, file_data), merged)
    describer = Describer(KEYS, merged.current_state, environment.origins)
    problems = [*environment.problems, *(describer.from_pydantic(error) for error in errors)]
    if settings is None:
        settings = _build_without(merged.current_state, errors)
    if settings is not None:
        failed = environment.failed | {_key_path(error["loc"]) for error in errors}
        problems += check_settings(settings, describer, frozenset(failed))
        settings, unresolved = resolve_credentials(settings, variables, describer)
        problems += unresolved
    if problems or settings is None:
        raise SettingsError(problems, str(path or ""))
    return settings


def _build(*sources: PydanticBaseSettingsSource) -> tuple[Settings | None, list[ErrorDetails]]:
    """Return the settings, or None and what pydantic found wrong.

    The sources go in by the argument that pydantic-settings keeps for sources made beforehand, because those
    of `settings_customise_sources` belong to the class and not to one load.
    """
    try:
        return Settings(_build_sources=(sources, {})), []
    except ValidationError as error:
        # With its input, an entry would hold the secret that it refuses.
        return None, error.errors(include_input=False, include_url=False)


def _build_without(data: Mapping[str, Any], errors: list[ErrorDetails]) -> Settings | None:
    """Return the settings without the keys that were refused, so that the other rules can be checked too.

    Where a refused key leaves its table incomplete, the next round takes the table out.
    """
    rest = copy.deepcopy(dict(data))
    for _ in range(_ROUNDS):
        for error in errors:
            path = _key_path(error["loc"])
            table = value_at(rest, path[:-1])
            if error["type"] == "missing":
                path, table = path[:-1], value_at(rest, path[:-2])
            if path and isinstance(table, dict):
                table.pop(path[-1], None)
        settings, errors = _build(TableSource(Settings, rest))
        if settings is not None:
            return settings
    return None


def _key_path(location: tuple[str | int, ...]) -> KeyPath:
    """Return the part of an error's location that names a key, without the place in a list."""
    names = itertools.takewhile(lambda part: isinstance(part, str) and part != "[key]", location)
    return tuple(str(name) for name in names)


def _config_path(environ: Mapping[str, str], config_path: Path | None) -> Path | None:
    if config_path is not None:
        return config_path
    named = environ.get(CONFIG_VARIABLE, "").strip()
    if named:
        return Path(named)
    return DEFAULT_CONFIG_PATH if DEFAULT_CONFIG_PATH.exists() else None
