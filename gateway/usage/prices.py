"""What a request costs: prices per million tokens from `config/prices.toml`, exact to the billionth."""

from __future__ import annotations

import math
import re
import tomllib
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.errors import CannotStart

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from providers.base import Usage

# One per million tokens is a thousand billionths per token.
_NANO_PER_TOKEN: Final = 1_000
_MAX_PRICE: Final = 1_000_000
_MAX_DECIMALS: Final = 9
# Clients can name models that no list holds, so what was looked up is forgotten before it grows.
_KEPT_LOOK_UPS: Final = 1_000
_CURRENCY: Final = re.compile(r"[A-Z]{3}", re.ASCII)
# A model; or a provider and a model, whose name may be cut short by a *.
_NAME: Final = re.compile(r"[^*]+(?<!/)|[^*/]+/[^*]*\*")
_PRICE_KEYS: Final = ("input", "cached_input", "cache_write", "cache_write_1h", "output")
_PRICE_RULE: Final = f"must be a number from 0 to {_MAX_PRICE} with at most {_MAX_DECIMALS} decimals"


class PricesError(CannotStart):
    """The prices cannot be used; `str()` names the file and lists every problem, one a line."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        self.path = path
        self.problems = problems
        # A key may hold anything that TOML can, and goes to a terminal.
        shown = ["".join(char if char.isprintable() else "?" for char in problem) for problem in problems]
        count = f"{len(shown)} problem{'' if len(shown) == 1 else 's'}"
        super().__init__("\n".join([f"The prices in {path} have {count}:", *(f"- {line}" for line in shown)]))


class Price(NamedTuple):
    """Prices of one model, in units of the currency per million tokens.

    Writing to a cache costs as the rest of the prompt unless `cache_write` says otherwise; writing for an hour costs
    `cache_write_1h`, or as other writing.
    """

    input: Decimal
    cached_input: Decimal
    output: Decimal
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None


class _Rate(NamedTuple):
    """The same as integers: `unit`-ths of a billionth per token."""

    prompt: int
    cached: int
    completion: int
    written: int
    written_1h: int
    unit: int


class Prices:
    """The prices of models, by `provider/model`, `provider/prefix*` or `model`; made by `load_prices`."""

    def __init__(self, currency: str, models: Mapping[str, Price]) -> None:
        self.currency = currency
        self._rates = {name: _rate(price) for name, price in models.items() if not name.endswith("*")}
        by_length = sorted((name for name in models if name.endswith("*")), key=len, reverse=True)
        self._prefixes = [(name[:-1], _rate(models[name])) for name in by_length]
        self._looked_up: dict[tuple[str, str], _Rate | None] = {}

    def cost_nano(self, provider: str, model: str, usage: Usage) -> int | None:
        """Return what `usage` costs in billionths of the currency, rounded half-even once; None for an unknown model.

        Cached and written tokens are part of the prompt's, reasoning tokens part of the completion's.
        """
        try:
            rate = self._looked_up[provider, model]
        except KeyError:
            rate = self._look_up(provider, model)
        if rate is None:
            return None
        # A provider that reports more cached tokens than it was sent must not make the rest negative.
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        cost = (usage.prompt_tokens - cached) * rate.prompt + cached * rate.cached
        cost += usage.completion_tokens * rate.completion
        if usage.cache_creation_tokens:
            written = min(usage.cache_creation_tokens, usage.prompt_tokens - cached)
            for_an_hour = min(usage.cache_creation_1h_tokens, written)
            cost += written * (rate.written - rate.prompt) + for_an_hour * (rate.written_1h - rate.written)
        return cost if rate.unit == 1 else _half_even(cost, rate.unit)

    def is_priced(self, provider: str, model: str) -> bool:
        """Say whether there is a price for a model of a provider."""
        return self._look_up(provider, model) is not None

    def _look_up(self, provider: str, model: str) -> _Rate | None:
        if len(self._looked_up) >= _KEPT_LOOK_UPS:
            self._looked_up.clear()
        rate = self._looked_up[provider, model] = self._find(f"{provider}/{model}") or self._rates.get(model)
        return rate

    def _find(self, target: str) -> _Rate | None:
        if target in self._rates:
            return self._rates[target]
        return next((rate for prefix, rate in self._prefixes if target.startswith(prefix)), None)


EMPTY: Final = Prices("USD", {})


def load_prices(path: Path) -> Prices:
    """Read a file of prices. Raises `PricesError` that lists everything that is wrong with it."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except OSError as exc:
        raise PricesError(path, [f"the file cannot be read: {exc.strerror or type(exc).__name__}"]) from exc
    except ValueError as exc:
        raise PricesError(path, [f"the file is not valid TOML in UTF-8: {exc}"]) from exc
    problems = list(_problems(content))
    if problems:
        raise PricesError(path, problems)
    models = {}
    for name, entry in content.get("models", {}).items():
        models[name] = _price(entry)
    return Prices(content["currency"], models)


def _price(entry: Mapping[str, Any]) -> Price:
    cached = entry.get("cached_input", entry["input"])
    written, for_an_hour = (
        None if key not in entry else Decimal(entry[key]) for key in ("cache_write", "cache_write_1h")
    )
    return Price(Decimal(entry["input"]), Decimal(cached), Decimal(entry["output"]), written, for_an_hour)


def _half_even(value: int, unit: int) -> int:
    """Return `value / unit` rounded; `round` of a `Fraction` says the same in ten times as long."""
    whole, rest = divmod(value, unit)
    return whole + (2 * rest > unit or (2 * rest == unit and whole % 2))


def _rate(price: Price) -> _Rate:
    written = price.input if price.cache_write is None else price.cache_write
    for_an_hour = written if price.cache_write_1h is None else price.cache_write_1h
    prices = (price.input, price.cached_input, price.output, written, for_an_hour)
    per_token = [Fraction(value) * _NANO_PER_TOKEN for value in prices]
    unit = math.lcm(*(value.denominator for value in per_token))
    prompt, cached, completion, written_5m, written_1h = (int(value * unit) for value in per_token)
    return _Rate(prompt, cached, completion, written_5m, written_1h, unit)


def _problems(content: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the content of a file, as `key: rule`."""
    for key in content:
        if key not in ("currency", "models"):
            yield f"{key}: is not a known key; there are currency and models"
    currency = content.get("currency")
    if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
        yield "currency: must be a code of three capital letters, such as USD (ISO 4217)"
    models = content.get("models", {})
    if not isinstance(models, dict):
        yield "models: must be a table of tables"
        return
    for name, entry in models.items():
        yield from _model_problems(name, entry)


def _model_problems(name: str, entry: Any) -> Iterator[str]:
    where = f'models."{name}"'
    if not _NAME.fullmatch(name):
        yield f'{where}: must be the name of a model, provider/model, or with a * at its end, such as "lmstudio/*"'
    if not isinstance(entry, dict):
        yield f"{where}: must be a table with input and output"
        return
    for key, value in entry.items():
        if isinstance(value, dict):
            yield f"{where}.{key}: is not a known key; the name of a model with a dot in it must stand in quotes"
        elif key not in _PRICE_KEYS:
            yield f"{where}.{key}: is not a known key; there are {', '.join(_PRICE_KEYS)}"
        elif not _is_price(value):
            yield f"{where}.{key}: {_PRICE_RULE}, per million tokens"
    missing = [key for key in ("input", "output") if key not in entry]
    # Under a name that was cut at its dot, the prices are not missing but elsewhere.
    if missing and not any(isinstance(value, dict) for value in entry.values()):
        yield f"{where}: lacks {' and '.join(missing)}"


def _is_price(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return False
    price = Decimal(value)
    if not price.is_finite() or not 0 <= price <= _MAX_PRICE:
        return False
    exponent = price.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -_MAX_DECIMALS
