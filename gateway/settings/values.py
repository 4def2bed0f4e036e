"""The kinds of value that settings are made of: what each accepts, and the sentence that says so in an error.

No message here holds the value it refuses, because it may be a secret that stands in the wrong place.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

# These belong to the connection or to the body, which the gateway writes itself.
_FORBIDDEN_HEADERS: Final = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

_HTTP_URL: Final = "must be an http:// or https:// address, or empty"
_ORIGIN_RULE: Final = (
    "must be an exact origin, scheme://host or scheme://host:port, as browsers send it:"
    " without a path, a closing slash or the scheme's default port"
)


@dataclass(frozen=True, slots=True)
class Allowed:
    """Says what a setting accepts, as the end of a sentence: "must be ..."."""

    text: str


@dataclass(frozen=True, slots=True)
class Hidden:
    """Marks a table whose values are secrets: its names are shown, its values never."""


def _refuse_bool(value: Any) -> Any:
    """Refuse `true` where a number belongs, which pydantic would read as 1."""
    if isinstance(value, bool):
        raise ValueError  # noqa: TRY004 - pydantic turns only ValueError into a listed problem.
    return value


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _log_level(value: Any) -> Any:
    """Accept `warn`, the name that Node's loggers use, beside Python's `warning`."""
    level = _lower(value)
    return "warning" if level == "warn" else level


def _filled(value: Any) -> Any:
    if isinstance(value, str) and not value.strip():
        raise ValueError
    return value


def check_http_url(value: str) -> str:
    """Return `value` without a closing slash; an empty text stands for "not given".

    Raises ValueError when it is no http(s) address, or holds a query, a fragment or credentials.
    """
    if not value:
        return ""
    if re.search(r"\s", value):
        raise ValueError(_HTTP_URL)
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(_HTTP_URL) from None
    if parts.scheme not in _DEFAULT_PORTS or not host:
        raise ValueError(_HTTP_URL)
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or password: give them as api_key or in headers")
    if "?" in value or "#" in value:
        raise ValueError("must be an http:// or https:// address without a query or a fragment")
    return value.rstrip("/")


def _url_with_scheme(schemes: tuple[str, ...], text: str) -> AfterValidator:
    def check(value: str) -> str:
        scheme, separator, rest = value.partition("://")
        if value and (scheme.partition("+")[0] not in schemes or not separator or not rest or re.search(r"\s", value)):
            raise ValueError(text)
        return value

    return AfterValidator(check)


def check_origin(value: str) -> str:
    """Return the CORS origin `value` in lower case (RFC 6454, section 6.2).

    Raises ValueError when it is not exact, and says why `*` is refused.
    """
    origin = value.lower()
    if "*" in origin:
        raise ValueError("must be exact origins: `*` would let every web page call the gateway in its visitors' name")
    if not _ORIGIN.fullmatch(origin):
        raise ValueError(_ORIGIN_RULE)
    parts = urlsplit(origin)
    try:
        port = parts.port
    except ValueError:
        raise ValueError(_ORIGIN_RULE) from None
    if port is not None and port == _DEFAULT_PORTS.get(parts.scheme):
        raise ValueError(_ORIGIN_RULE)
    return origin


def check_network(value: str) -> str:
    """Return `value` if it is an IP address or a network in CIDR notation; raises ValueError otherwise."""
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError("must be IP addresses or networks, such as 10.0.0.0/8") from None
    return value


def check_headers(value: dict[str, str]) -> dict[str, str]:
    """Return the headers with one entry per name; a name given twice in different case keeps its last value.

    Raises ValueError when a name or a value cannot stand in an HTTP message (RFC 9110, section 5).
    """
    last: dict[str, tuple[str, str]] = {}
    for name, text in value.items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _FORBIDDEN_HEADERS:
            raise ValueError(f"must not hold a header named {name[:40]!r}")
        if not _HEADER_VALUE.fullmatch(text):
            raise ValueError(f"must hold plain printable text in the header {name!r}")
        last[name.lower()] = (name, text)
    return dict(last.values())


def check_secret(value: SecretStr) -> SecretStr:
    """Refuse a secret that could not be sent in an HTTP header; raises ValueError without showing it."""
    text = value.get_secret_value()
    if text != text.strip() or any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError("must be without spaces around it and without line breaks or control characters")
    return value


Port = Annotated[
    int,
    BeforeValidator(_refuse_bool),
    Field(ge=0, le=65535),
    Allowed("must be a whole number from 0 to 65535"),
]
Count = Annotated[int, BeforeValidator(_refuse_bool), Field(ge=1), Allowed("must be a whole number, 1 or more")]
CountOrZero = Annotated[int, BeforeValidator(_refuse_bool), Field(ge=0), Allowed("must be a whole number, 0 or more")]
Whole = Annotated[int, BeforeValidator(_refuse_bool), Allowed("must be a whole number")]
Seconds = Annotated[
    float,
    BeforeValidator(_refuse_bool),
    Field(gt=0, allow_inf_nan=False),
    Allowed("must be a number of seconds above 0"),
]
SecondsOrZero = Annotated[
    float,
    BeforeValidator(_refuse_bool),
    Field(ge=0, allow_inf_nan=False),
    Allowed("must be a number of seconds, 0 or more"),
]
Flag = Annotated[bool, Allowed("must be true or false")]
Text = Annotated[str, Allowed("must be text")]
FilledText = Annotated[str, BeforeValidator(_filled), Allowed("must be a text that is not empty")]
Texts = Annotated[list[str], Allowed("must be a list of texts")]
Targets = Annotated[list[str], Field(min_length=1), Allowed("must be a list of at least one provider/model")]
Folder = Annotated[Path, BeforeValidator(_filled), Allowed("must be the path of a folder")]
FilePath = Annotated[Path, BeforeValidator(_filled), Allowed("must be the path of a file")]
Secret = Annotated[SecretStr, AfterValidator(check_secret), Allowed("must be text")]
HttpUrl = Annotated[str, AfterValidator(check_http_url), Allowed(_HTTP_URL)]
_REDIS_RULE: Final = "must begin with redis://, rediss:// or unix://, or be empty"
RedisUrl = Annotated[str, _url_with_scheme(("redis", "rediss", "unix"), _REDIS_RULE), Allowed(_REDIS_RULE)]
_DATABASE_RULE: Final = (
    "must begin with sqlite:// or postgresql:// (a driver may be named: postgresql+asyncpg://), or be empty"
)
DatabaseUrl = Annotated[
    str, _url_with_scheme(("sqlite", "postgresql", "postgres"), _DATABASE_RULE), Allowed(_DATABASE_RULE)
]
Origins = Annotated[
    list[Annotated[str, AfterValidator(check_origin)]],
    Allowed("must be a list of origins, such as https://app.example.com"),
]
Networks = Annotated[
    list[Annotated[str, AfterValidator(check_network)]], Allowed("must be a list of IP addresses or networks")
]
Headers = Annotated[
    dict[str, str],
    AfterValidator(check_headers),
    Hidden(),
    Allowed("must be a table of header names and texts"),
]
Options = Annotated[dict[str, Any], Hidden(), Allowed("must be a table")]

AppEnv = Annotated[
    Literal["development", "production", "test"],
    BeforeValidator(_lower),
    Allowed("must be development, production or test"),
]
Strategy = Annotated[
    Literal["priority", "round_robin", "least_loaded", "fastest"],
    BeforeValidator(_lower),
    Allowed("must be priority, round_robin, least_loaded or fastest"),
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error", "critical"],
    BeforeValidator(_log_level),
    Allowed("must be debug, info, warning, error or critical"),
]
LogFormat = Annotated[Literal["json", "text"], BeforeValidator(_lower), Allowed("must be json or text")]
DownloadUrls = Annotated[Literal["cdn", "gateway"], BeforeValidator(_lower), Allowed("must be cdn or gateway")]
MaxTokensField = Annotated[
    Literal["max_tokens", "max_completion_tokens"], Allowed("must be max_tokens or max_completion_tokens")
]
