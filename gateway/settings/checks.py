"""Rules that look at more than one setting: credentials, names, routes, TLS, and what production asks for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from gateway.settings.errors import NOT_SET, Describer, Problem, mask_path, mask_text, value_at
from gateway.settings.sources import CREDENTIAL_KEYS, read_secret_file
from gateway.settings.values import check_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.settings.keys import KeyPath
    from gateway.settings.model import ProviderSettings, Settings

MIN_KEY_CHARACTERS: Final = 16
MAKE_A_KEY: Final = 'make one with: python3 -c "import secrets; print(secrets.token_urlsafe(32))"'
_NO_PLACEHOLDER: Final = f"must not be a placeholder of the documentation; {MAKE_A_KEY}"

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_NAME_RULE: Final = "must be 1 to 64 characters of a-z, 0-9, `_`, `.` and `-`, and begin with a letter or a digit"
_PLACEHOLDER: Final = re.compile(
    r"((your|my|the|some|test|example|sample|dummy|fake|default|super|bootstrap|lunarbit|gateway|production|prod"
    r"|admin|read|api|key|pepper|secret|password|token|placeholder|here|please|change|replace|fill|insert|enter|set"
    r"|me|this|it|in|with|by|value)(_(a_)?)?)+[0-9]*"
)


def is_placeholder(key: str) -> bool:
    """Tell whether `key` is a stand-in such as `your_admin_key_here` and not a secret that someone made."""
    plain = re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_")
    return _PLACEHOLDER.fullmatch(plain) is not None


def check_settings(settings: Settings, describer: Describer, failed: frozenset[KeyPath]) -> list[Problem]:
    """Return what is wrong across settings; a key in `failed` has its own problem and is left out."""
    problems = [
        *_tls(settings, describer, failed),
        *_names(describer),
        *_targets(settings, describer),
        *_default_route(settings, describer),
    ]
    if not failed & {("redis", "url"), ("limits", "limits_per_worker_ok"), ("server", "workers")}:
        problems += _workers(settings, describer)
    if ("auth", "admin_key") not in failed:
        problems += _admin_key(settings, describer)
    if ("auth", "read_key") not in failed:
        problems += _read_key(settings, describer)
    if not failed & {("auth", "pepper"), ("auth", "pepper_previous"), ("audit", "key")}:
        problems += _peppers(settings, describer)
    return problems


def _tls(settings: Settings, describer: Describer, failed: frozenset[KeyPath]) -> Iterator[Problem]:
    files = {"tls_cert": settings.server.tls_cert, "tls_key": settings.server.tls_key}
    given = [name for name, path in files.items() if path]
    if len(given) == 1 and not failed & {("server", "tls_cert"), ("server", "tls_key")}:
        (missing,) = set(files) - set(given)
        yield Problem(describer.name(("server", missing)), NOT_SET, f"must be given together with server.{given[0]}")
    for name in given:
        try:
            with Path(files[name]).open("rb") as file:
                file.read(1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a path"
            yield describer.problem(
                ("server", name),
                f"the file cannot be read ({reason})",
                value=json.dumps(mask_path(files[name])),
            )


def _workers(settings: Settings, describer: Describer) -> Iterator[Problem]:
    if settings.server.workers > 1 and not settings.redis.url and not settings.limits.limits_per_worker_ok:
        allowed = "more than one worker needs redis.url (REDIS_URL), or limits.limits_per_worker_ok = true"
        yield describer.problem(("server", "workers"), allowed)


def _entries(describer: Describer, *path: str) -> list[str]:
    """Return the names in a table as the operator wrote them, whether or not their entries are valid."""
    table = value_at(describer.data, path)
    return list(table) if isinstance(table, dict) else []


def _names(describer: Describer) -> Iterator[Problem]:
    providers = _entries(describer, "providers")
    routes = _entries(describer, "routing", "routes")
    for kind, names in (("providers", providers), ("routing.routes", routes)):
        for name in names:
            if not _NAME.fullmatch(name):
                yield Problem(f"a name in {kind}", json.dumps(mask_text(name)[:80]), _NAME_RULE)
    for name in routes:
        if name in providers:
            yield Problem(f"routing.routes.{name}", "", "must not have the name of a provider")


def _targets(settings: Settings, describer: Describer) -> Iterator[Problem]:
    providers = _entries(describer, "providers")
    known = f"known providers: {', '.join(providers)}" if providers else "no provider is configured"
    for name, route in settings.routing.routes.items():
        for target in route.targets:
            provider, separator, model = target.partition("/")
            if not separator or not provider or not model or target != target.strip():
                allowed = f"must be written provider/model ({known})"
            elif provider not in providers:
                allowed = f"must name a known provider before the first slash ({known})"
            else:
                continue
            yield describer.problem(
                ("routing", "routes", name, "targets"), allowed, value=json.dumps(mask_text(target)[:80])
            )


def _default_route(settings: Settings, describer: Describer) -> Iterator[Problem]:
    routes = _entries(describer, "routing", "routes")
    if settings.routing.default_route_explicit and settings.routing.default_route not in routes:
        known = f"must name a route ({', '.join(routes)})" if routes else "must name a route, and there is none"
        yield describer.problem(("routing", "default_route"), known)


def _admin_key(settings: Settings, describer: Describer) -> Iterator[Problem]:
    key = settings.auth.admin_key.get_secret_value()
    path = ("auth", "admin_key")
    if not key:
        if settings.is_production:
            yield Problem("API_KEY_ADMIN (auth.admin_key)", NOT_SET, f"must be given in production; {MAKE_A_KEY}")
    elif settings.is_production and is_placeholder(key):
        yield describer.problem(path, _NO_PLACEHOLDER)
    elif len(key) < MIN_KEY_CHARACTERS:
        yield describer.problem(path, f"must be {MIN_KEY_CHARACTERS} characters or more; {MAKE_A_KEY}")


def _read_key(settings: Settings, describer: Describer) -> Iterator[Problem]:
    key = settings.auth.read_key.get_secret_value()
    path = ("auth", "read_key")
    if key and settings.is_production and is_placeholder(key):
        yield describer.problem(path, _NO_PLACEHOLDER)
    elif key and len(key) < MIN_KEY_CHARACTERS:
        yield describer.problem(path, f"must be {MIN_KEY_CHARACTERS} characters or more; {MAKE_A_KEY}")
    elif key and key == settings.auth.admin_key.get_secret_value():
        yield describer.problem(path, "must differ from the admin key, which may do everything")


def _peppers(settings: Settings, describer: Describer) -> Iterator[Problem]:
    secrets = {
        ("auth", "pepper"): settings.auth.pepper.get_secret_value(),
        ("auth", "pepper_previous"): settings.auth.pepper_previous.get_secret_value(),
        ("audit", "key"): settings.audit.key.get_secret_value(),
    }
    pepper, previous, _ = secrets.values()
    if settings.is_production and not pepper:
        yield Problem("KEY_PEPPER (auth.pepper)", NOT_SET, f"must be given in production; {MAKE_A_KEY}")
    for path, secret in secrets.items():
        if settings.is_production and is_placeholder(secret):
            yield describer.problem(path, _NO_PLACEHOLDER)
        elif secret and len(secret) < MIN_KEY_CHARACTERS:
            yield describer.problem(path, f"must be {MIN_KEY_CHARACTERS} characters or more; {MAKE_A_KEY}")
    if previous and not pepper:
        yield describer.problem(("auth", "pepper_previous"), "needs auth.pepper (KEY_PEPPER), which took its place")
    elif previous and previous == pepper:
        yield describer.problem(("auth", "pepper_previous"), "must differ from auth.pepper (KEY_PEPPER)")


def resolve_credentials(
    settings: Settings, environ: Mapping[str, str], describer: Describer
) -> tuple[Settings, list[Problem]]:
    """Return the settings with the enabled providers' keys read in, and what could not be read."""
    problems: list[Problem] = []
    providers: dict[str, ProviderSettings] = {}
    for name, provider in settings.providers.items():
        path = ("providers", name)
        try:
            key = _credential(provider, path, environ, describer)
        except _CredentialError as error:
            problems.append(error.problem)
            key = SecretStr("")
        providers[name] = provider.model_copy(update={"api_key": key})
    return settings.model_copy(update={"providers": providers}), problems


class _CredentialError(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


def _credential(
    provider: ProviderSettings, path: KeyPath, environ: Mapping[str, str], describer: Describer
) -> SecretStr:
    ways = (
        provider.api_key.get_secret_value(),
        provider.api_key_env,
        provider.api_key_file,
        provider.token_file,
        provider.token_command,
    )
    given = [key for key, value in zip(CREDENTIAL_KEYS, ways, strict=True) if value]
    if len(given) > 1:
        allowed = f"give only one of {', '.join(CREDENTIAL_KEYS)}"
        raise _CredentialError(Problem(" and ".join(describer.name((*path, key)) for key in given), "", allowed))
    if not {"api_key_env", "api_key_file"}.intersection(given) or not provider.enabled:
        return provider.api_key
    try:
        if provider.api_key_file:
            secret = read_secret_file(provider.api_key_file)
        else:
            secret = environ.get(provider.api_key_env, "")
            if not secret.strip():
                raise ValueError("must name an environment variable that is set")  # noqa: TRY301
        return check_secret(SecretStr(secret))
    except ValueError as error:
        raise _CredentialError(describer.problem((*path, given[0]), str(error))) from None
