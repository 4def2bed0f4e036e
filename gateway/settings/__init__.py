"""The gateway's settings: defaults, overridden by the TOML file, overridden by the environment.

`load_settings` is the one way in. Everything that is wrong is listed in one `SettingsError`, and no secret is
part of it, nor of the `repr` of what it returns. docs/configuration.md says what each key means.
"""

from gateway.settings.errors import Problem, SettingsError
from gateway.settings.load import load_settings
from gateway.settings.model import ModelOptions, ProviderSettings, RouteSettings, Settings, TimeoutSettings

__all__ = [
    "ModelOptions",
    "Problem",
    "ProviderSettings",
    "RouteSettings",
    "Settings",
    "SettingsError",
    "TimeoutSettings",
    "load_settings",
]
