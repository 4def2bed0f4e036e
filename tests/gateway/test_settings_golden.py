"""The settings model, the example file and the documentation hold the same keys and say the same of them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import Settings, load_settings
from gateway.settings.keys import PAGE_NAMES, variable_of
from gateway.settings.model import KEYS
from tests.gateway.settings_files import value_of

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config" / "gateway.example.toml"
STARTER = ROOT / "config" / "gateway.toml"
DOCS = ROOT / "docs" / "configuration.md"

ALL_KEYS = [key.dotted for key in KEYS.keys]


def leaves(table: dict[str, Any], prefix: tuple[str, ...] = ()) -> set[str]:
    """Return the template of every key in a TOML table; an unknown key stays as it is written."""
    found: set[str] = set()
    for name, value in table.items():
        path = (*prefix, name)
        key = KEYS.find(path)
        if key is not None:
            found.add(key.dotted)
        if isinstance(value, dict) and (key is None or key.path[-1] == "model_options"):
            found |= leaves(value, path)
        elif key is None:
            found.add(".".join(path))
    return found


def documented() -> dict[str, tuple[str, str, str]]:
    """Return the rows of the documentation's tables of keys: environment, default, meaning."""
    rows = {}
    for line in DOCS.read_text(encoding="utf-8").partition("## Every key")[2].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        match = re.fullmatch(r"`([a-z0-9_.<>]+)`", cells[0])
        if match and len(cells) == 4:
            rows[match.group(1)] = (cells[1], cells[2], cells[3])
    return rows


def test_the_example_file_loads_and_holds_every_key_and_no_other() -> None:
    """A newcomer copies from it, so nothing in it may be wrong or missing."""
    load_settings({}, EXAMPLE)
    assert leaves(tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))) == set(ALL_KEYS)


def test_the_example_file_shows_the_defaults() -> None:
    """Apart from providers and routes, copying it whole changes nothing."""
    example, defaults = load_settings({}, EXAMPLE), Settings()
    for name in Settings.model_fields:
        if name not in {"providers", "routing"}:
            assert getattr(example, name) == getattr(defaults, name), name
    assert example.routing.strategy == defaults.routing.strategy
    assert example.routing.default_route == defaults.routing.default_route


def test_every_key_of_the_example_is_explained_where_it_first_appears() -> None:
    """A comment stands above each key or above the group that it belongs to."""
    explained, seen = False, set()
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        name = line.partition(" = ")[0]
        if not line.strip():
            explained = False
        elif line.startswith("#"):
            explained = True
        elif not line.startswith("["):
            assert explained or name in seen, line
            seen.add(name)


def test_the_file_that_a_newcomer_edits_changes_nothing_until_edited() -> None:
    """Everything in it is commented out, and what is commented out is valid."""
    text = STARTER.read_text(encoding="utf-8")
    assert tomllib.loads(text) == {}
    assert load_settings({}, STARTER) == Settings()
    uncommented = "\n".join(
        line.removeprefix("# ") for line in text.splitlines() if re.match(r"# (\[|[a-z_]+ = )", line)
    )
    assert leaves(tomllib.loads(uncommented)) <= set(ALL_KEYS)


def test_the_starter_file_works_when_everything_in_it_is_taken_over(tmp_path: Path) -> None:
    """Taking the comment signs away is the documented way to use it."""
    lines = STARTER.read_text(encoding="utf-8").splitlines()
    path = tmp_path / "gateway.toml"
    path.write_text("\n".join(line.removeprefix("# ") for line in lines if re.match(r"# (\[|[a-z_]+ = )", line)))
    settings = load_settings({"OPENAI_API_KEY": "sk-1"}, path)
    assert list(settings.providers) == ["lmstudio", "openai"]
    assert list(settings.routing.routes) == ["chat"]


def test_the_documentation_has_every_key_and_no_other() -> None:
    """A key that is not documented does not exist for an operator."""
    assert set(documented()) == set(ALL_KEYS)


@pytest.mark.parametrize("key", [key for key in KEYS.keys if key.in_environment], ids=lambda key: str(key.dotted))
def test_the_documentation_names_the_variables_of_a_key(key: Any) -> None:
    """Both its own name and the product page's."""
    environment = documented()[key.dotted][0]
    assert f"`{variable_of(key.path).replace('<NAME>', 'NAME')}`" in environment
    for name, path in PAGE_NAMES.items():
        assert (f"`{name}`" in environment) is (path == key.path), name


def test_the_documentation_states_the_defaults() -> None:
    """A default that changes has to change there too."""
    defaults = Settings()
    for dotted, (_, default, _) in documented().items():
        if dotted.startswith(("providers.", "routing.routes.")):
            continue
        value = value_of(defaults, dotted)
        if value in ("", None):
            assert default in {"empty", "none"}, dotted
        elif dotted == "data.dir":
            assert default == "`./data`"
        else:
            expected = str(value).lower() if isinstance(value, bool) else str(value)
            assert default.strip("`") in {expected, expected.removesuffix(".0")}, dotted


def test_the_documentation_lists_every_variable_of_the_product_page() -> None:
    """They are what people know the product by."""
    table = DOCS.read_text(encoding="utf-8").partition("## Variables of the product page")[2].partition("\n## ")[0]
    for name in PAGE_NAMES:
        assert f"`{name}`" in table, name
