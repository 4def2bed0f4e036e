"""Where settings come from: the TOML file and the environment, as sources for pydantic-settings.

The environment source is our own because pydantic-settings has no `X_FILE` secrets, does not refuse unknown
`GATEWAY_*` variables, and does not notice two variables that contradict each other.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from gateway.settings.errors import Problem, SettingsError, mask_path, show
from gateway.settings.keys import CONFIG_VARIABLE, PAGE_NAMES, PREFIX, Key, KeyPath, KeyTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

CREDENTIAL_KEYS: Final = ("api_key", "api_key_env", "api_key_file", "token_file", "token_command")
_FILE_SUFFIX: Final = "_FILE"
_MAX_SECRET_BYTES: Final = 65_536
_MAX_CONFIG_BYTES: Final = 4_194_304

# Kubernetes describes every service to every pod in variables like these; a service named "gateway" must not
# stop the start. https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_KUBERNETES: Final = re.compile(
    r"GATEWAY_([A-Z0-9]+_)*(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9]+)*|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_KUBERNETES_LINK: Final = re.compile(r"GATEWAY_([A-Z0-9]+_)*PORT")


class _Unprinted(dict[str, Any]):
    """A table that does not print its values, since pydantic-settings can be told to log its sources."""

    def __repr__(self) -> str:
        return "{...}"


class TableSource(PydanticBaseSettingsSource):
    """A source that is a ready-made table.

    Where a source of higher precedence names a provider's credential, the ways to name it that stand in this
    table give way, so that `OPENAI_API_KEY` overrides an `api_key_env` of the file.
    """

    def __init__(self, settings_cls: type[BaseSettings], table: Mapping[str, Any]) -> None:
        super().__init__(settings_cls)
        self._table = table

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Return the value of one top-level field; the interface of pydantic-settings asks for it."""
        return self._table.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the whole table."""
        stronger = self.current_state.get("providers")
        providers = self._table.get("providers")
        if not isinstance(stronger, dict) or not isinstance(providers, dict):
            return _Unprinted(self._table)
        kept = {name: _without_credentials(entry, stronger.get(name)) for name, entry in providers.items()}
        return _Unprinted({**self._table, "providers": kept})


class MergedState(PydanticBaseSettingsSource):
    """The last source: adds nothing, and remembers what the others came to, for messages and cross-checks."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Return nothing for any field."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return an empty table."""
        return {}


def _without_credentials(entry: Any, stronger: Any) -> Any:
    overridden = isinstance(stronger, dict) and any(key in stronger for key in CREDENTIAL_KEYS)
    if not overridden or not isinstance(entry, dict):
        return entry
    return {key: value for key, value in entry.items() if key not in CREDENTIAL_KEYS}


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of the TOML file at `path`; raises SettingsError with the one reason."""
    try:
        return _parse_toml(_read_limited(path, _MAX_CONFIG_BYTES))
    except ValueError as error:
        problem = Problem("the configuration file", json.dumps(str(path)), str(error))
    raise SettingsError([problem])


def _read_limited(path: Path, most_bytes: int) -> bytes:
    """Return what the file at `path` holds; raises ValueError with the reason when it cannot be read."""
    try:
        if path.is_dir():
            raise ValueError("it is a folder, and must be a file")
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except FileNotFoundError:
        raise ValueError("there is no such file") from None
    except OSError as error:
        raise ValueError(f"the file cannot be read ({error.strerror})") from None
    if len(content) > most_bytes:
        raise ValueError(f"the file must not be larger than {most_bytes // 1024} KiB")
    return content


def _parse_toml(content: bytes) -> dict[str, Any]:
    try:
        # A byte order mark, which some editors write, is no part of TOML.
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"it must be encoded in UTF-8 (line {line} is not)") from None
    except tomllib.TOMLDecodeError as error:
        # The parser counts lines for every mistake but one at the very end.
        line = content.count(b"\n") + 1
        reason = str(error).replace("end of document", f"line {line}, the end of the file")
        raise ValueError(f"it is not valid TOML: {reason}") from None
    except RecursionError:
        raise ValueError("it is not valid TOML: nested too deeply") from None


def read_secret_file(path: Path) -> str:
    """Return the secret in the file at `path`, without its closing line break.

    Raises ValueError with the reason when it cannot be read, is empty, is larger than 64 KiB or not UTF-8.
    """
    try:
        secret = _read_limited(path, _MAX_SECRET_BYTES).decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("the file must be encoded in UTF-8") from None
    if not secret.strip():
        raise ValueError("the file must not be empty")
    return secret


class EnvironmentSource:
    """Reads settings out of environment variables: the product page's names and `GATEWAY_<SECTION>__<KEY>`.

    After `read`, `data` holds the nested tables, `origins` the variable that each key came from, `problems`
    what could not be used, and `failed` the keys that have no value because of it. A variable that is empty
    counts as not set, because that is how an unset variable arrives through compose files.
    """

    def __init__(self, table: KeyTable, environ: Mapping[str, str], file_data: Mapping[str, Any]) -> None:
        self._table = table
        self._environ = environ
        self._file_data = file_data
        self._texts: dict[KeyPath, tuple[str, str]] = {}
        self.data: dict[str, Any] = {}
        self.origins: dict[KeyPath, str] = {}
        self.problems: list[Problem] = []
        self.failed: set[KeyPath] = set()

    def read(self) -> None:
        """Read every variable that concerns the gateway, in the order of their names."""
        for variable in sorted(self._environ):
            text = self._environ[variable]
            if text.strip():
                self._read_variable(variable, text)
        # Whole tables come before their entries, so that an entry adds to its table.
        for path in sorted(self._texts, key=len):
            variable, text = self._texts[path]
            self._put(path, variable, text)
        self._leave_claimed_openai_key()

    def _read_variable(self, variable: str, text: str) -> None:
        if variable in PAGE_NAMES:
            self._take(PAGE_NAMES[variable], variable, text)
            return
        page_name = variable.removesuffix(_FILE_SUFFIX)
        if variable.endswith(_FILE_SUFFIX) and page_name in PAGE_NAMES:
            path = PAGE_NAMES[page_name]
            key = self._table.find(path)
            if key is not None and key.from_file:
                self._take_file(path, variable, text)
                return
        if variable.startswith(PREFIX) and variable != CONFIG_VARIABLE:
            self._read_prefixed(variable, text)

    def _read_prefixed(self, variable: str, text: str) -> None:
        path = self._named(tuple(variable.removeprefix(PREFIX).lower().split("__")))
        key = self._table.find(path)
        without_suffix = (*path[:-1], path[-1].removesuffix("_file"))
        base = self._table.find(without_suffix) if without_suffix != path else None
        if key is not None and key.in_environment:
            self._take(path, variable, text)
        elif base is not None and base.from_file:
            self._take_file(without_suffix, variable, text)
        elif not _from_kubernetes(variable, text):
            nearest = self._table.nearest_variable(variable)
            self.problems.append(
                Problem(variable, "", f"no such setting{f'; did you mean {nearest}?' if nearest else ''}")
            )

    def _named(self, path: KeyPath) -> KeyPath:
        """Give back the `-` and `.` of a name in the file, which a variable's name cannot hold."""
        places = {("providers",): 1, ("routing", "routes"): 2}
        for parents, index in places.items():
            if path[:index] != parents or len(path) <= index:
                continue
            entries = self._file_table(*parents)
            written = {name.replace("-", "_").replace(".", "_"): name for name in entries}
            if path[index] not in entries and path[index] in written:
                path = (*path[:index], written[path[index]], *path[index + 1 :])
        if len(path) == 4 and path[0] == "providers" and path[2] == "headers":
            path = (*path[:3], path[3].replace("_", "-"))
        return path

    def _file_table(self, *path: str) -> Mapping[str, Any]:
        data: Any = self._file_data
        for part in path:
            data = data.get(part) if isinstance(data, dict) else None
        return data if isinstance(data, dict) else {}

    def _take_file(self, path: KeyPath, variable: str, text: str) -> None:
        if path[0] == "providers" and path[-1] == "api_key":
            # Read later, and only when the provider is enabled.
            self._take((*path[:-1], "api_key_file"), variable, text)
            return
        try:
            secret = read_secret_file(Path(text.strip()))
        except ValueError as error:
            self.problems.append(Problem(variable, json.dumps(mask_path(text.strip())), str(error)))
            self.failed.add(path)
        else:
            self._take(path, variable, secret)

    def _take(self, path: KeyPath, variable: str, text: str) -> None:
        earlier, known = self._texts.get(path, ("", text))
        if known.strip() != text.strip():
            key = self._table.find(path)
            allowed = f"must agree with {earlier}, which is {show(known, key)}; set only one of them"
            self.problems.append(Problem(f"{variable} ({'.'.join(path)})", show(text, key), allowed))
        elif not earlier:
            self._texts[path] = (variable, text)

    def _put(self, path: KeyPath, variable: str, text: str) -> None:
        key = self._table.find(path)
        if key is None:
            return
        try:
            value = _decode(key, path, text)
        except ValueError as error:
            self.problems.append(Problem(f"{variable} ({'.'.join(path)})", show(text, key), str(error)))
            self.failed.add(path)
            return
        table = self.data
        for part in path[:-1]:
            table = table.setdefault(part, {})
        table[path[-1]] = value
        self.origins[path] = variable

    def _leave_claimed_openai_key(self) -> None:
        """Make no provider of an `OPENAI_API_KEY` that the file gives to a provider of another name."""
        providers = self.data.get("providers", {})
        in_file = self._file_table("providers")
        claimed = any(
            isinstance(entry, dict) and entry.get("api_key_env") == "OPENAI_API_KEY" for entry in in_file.values()
        )
        only_the_key = set(providers.get("openai", {})) == {"api_key"}
        origin = self.origins.get(("providers", "openai", "api_key"))
        if claimed and only_the_key and origin == "OPENAI_API_KEY" and "openai" not in in_file:
            del providers["openai"]


def _from_kubernetes(variable: str, text: str) -> bool:
    if "__" in variable:
        return False
    if _KUBERNETES.fullmatch(variable):
        return True
    return _KUBERNETES_LINK.fullmatch(variable) is not None and text.startswith(("tcp://", "udp://", "sctp://"))


def _decode(key: Key, path: KeyPath, text: str) -> Any:
    """Return the value that a variable's text stands for; raises ValueError with what is allowed."""
    if len(path) > len(key.path):
        return text if path[-2] == "headers" else _json_or_text(text)
    if key.shape == "list":
        return _decode_list(text)
    if key.shape == "table":
        value = _json_or_text(text)
        if not isinstance(value, dict):
            raise ValueError("must be a JSON object")
        return value
    return text if key.secret else text.strip()


def _decode_list(text: str) -> list[Any]:
    if not text.strip().startswith("["):
        return [item.strip() for item in text.split(",") if item.strip()]
    value = _json_or_text(text)
    if not isinstance(value, list):
        raise ValueError("must be a JSON list, or texts with commas between them")  # noqa: TRY004
    return value


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
