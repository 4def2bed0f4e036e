"""What a request costs: to the billionth, and by the price that was meant."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.usage.prices import _KEPT_LOOK_UPS, EMPTY, Price, Prices
from providers.base import Usage

_PRICES = st.decimals(0, 1000, allow_nan=False, allow_infinity=False, places=6)
_TOKENS = st.integers(0, 10**9)
_MILLION = 10**6
_NANO = 10**9


def flat(price: str) -> Price:
    """Return a price that is the same for every kind of token."""
    return Price(Decimal(price), Decimal(price), Decimal(price))


@given(_PRICES, _PRICES, _PRICES, _TOKENS, _TOKENS, _TOKENS, _TOKENS)
def test_cost_is_the_exact_one_rounded_half_even_once(
    full: Decimal, cached: Decimal, output: Decimal, prompt: int, cached_tokens: int, completion: int, reasoning: int
) -> None:
    """Whoever adds up a bill by hand must come to the same number."""
    prices = Prices("USD", {"gpt": Price(full, cached, output)})
    usage = Usage(prompt + cached_tokens, completion, cached_tokens, reasoning)
    parts = prompt * Fraction(full) + cached_tokens * Fraction(cached) + completion * Fraction(output)
    assert prices.cost_nano("any", "gpt", usage) == round(parts * _NANO / _MILLION)


@pytest.mark.parametrize(("tokens", "nano"), [(1, 0), (2, 1), (3, 2), (5, 2), (7, 4)])
def test_half_a_billionth_is_rounded_to_the_even_one(tokens: int, nano: int) -> None:
    """Rounding halves up would make every sum of many requests a little too high."""
    prices = Prices("USD", {"gpt": flat("0.0005")})
    assert prices.cost_nano("any", "gpt", Usage(tokens, 0)) == nano


def test_reasoning_tokens_are_paid_as_completion_and_not_twice() -> None:
    """Providers count them into the completion tokens already."""
    prices = Prices("USD", {"o3": Price(Decimal(2), Decimal("0.5"), Decimal(8))})
    assert prices.cost_nano("openai", "o3", Usage(1000, 500, 400, 450)) == 600 * 2000 + 400 * 500 + 500 * 8000


def test_more_cached_tokens_than_prompt_tokens_never_lower_the_cost() -> None:
    """A provider with a broken count must not earn anyone a credit."""
    prices = Prices("USD", {"gpt": Price(Decimal(10), Decimal(1), Decimal(0))})
    assert prices.cost_nano("any", "gpt", Usage(100, 0, 5000)) == 100 * 1000


@pytest.mark.parametrize(
    ("provider", "model", "nano"),
    [
        ("openai", "gpt-4o", 1000),
        ("azure", "gpt-4o", 2000),
        ("azure", "gpt-4o-2024-08-06", 4000),
        ("azure", "gpt-4o-mini-2024", 5000),
        ("azure", "other", 3000),
        ("lmstudio", "gpt-4o", 0),
        ("lmstudio", "qwen/qwen3-8b", 0),
        ("openai", "meta/llama", 7000),
        ("meta", "llama", 7000),
        ("openai", "other", None),
        ("lmstudio2", "other", None),
    ],
)
def test_the_nearest_price_counts(provider: str, model: str, nano: int | None) -> None:
    """The provider's own price, then the longest beginning of it, then that of the model wherever it runs."""
    prices = Prices(
        "USD",
        {
            "gpt-4o": flat("1"),
            "azure/gpt-4o": flat("2"),
            "azure/*": flat("3"),
            "azure/gpt-4o-*": flat("4"),
            "azure/gpt-4o-mini*": flat("5"),
            "lmstudio/*": flat("0"),
            "meta/llama": flat("7"),
        },
    )
    # The second time it comes from memory.
    for _ in range(2):
        assert prices.cost_nano(provider, model, Usage(1, 0)) == nano
        assert prices.is_priced(provider, model) is (nano is not None)


def test_names_that_clients_make_up_do_not_fill_the_memory() -> None:
    """Behind a provider without a closed list anyone can ask for any model."""
    prices = Prices("USD", {"gpt": flat("1")})
    for number in range(3 * _KEPT_LOOK_UPS):
        assert prices.cost_nano("openai", f"made-up-{number}", Usage(1, 1)) is None
        assert prices.cost_nano("openai", "gpt", Usage(1, 0)) == 1000
        assert len(prices._looked_up) <= _KEPT_LOOK_UPS


def test_without_prices_nothing_is_priced() -> None:
    """Null says that nobody knows, where 0 would say that it was free."""
    assert EMPTY.cost_nano("openai", "gpt-4o", Usage(1, 1)) is None
    assert not EMPTY.is_priced("openai", "gpt-4o")
    assert EMPTY.currency == "USD"
