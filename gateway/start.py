"""`lunarbit serve`: load the settings, say clearly what is wrong with them, and run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gateway.errors import CannotStart
from gateway.settings import SettingsError, load_settings
from gateway.settings.keys import CONFIG_VARIABLE
from providers.registry import ProviderSetupError

EXIT_BAD_SETTINGS = 2


def serve(config: Path | None = None, *, reload: bool = False) -> None:
    """Serve until a signal. A problem with the settings is told on standard error, and the exit code is 2."""
    try:
        settings = load_settings(config_path=config)
        if config is not None:
            # Workers and a reload are processes of their own, which load the configuration anew.
            os.environ[CONFIG_VARIABLE] = str(config.absolute())
        from gateway.server import run

        run(settings, reload=reload)
    except (SettingsError, ProviderSetupError, CannotStart) as exc:
        print(exc, file=sys.stderr)
        sys.exit(EXIT_BAD_SETTINGS)
