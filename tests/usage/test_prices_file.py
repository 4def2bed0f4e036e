"""The file of prices: what it may say, and what an operator is told about one that cannot be used."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from gateway.usage.prices import PricesError, load_prices
from providers.base import Usage

COMMITTED = Path(__file__).parents[2] / "config" / "prices.toml"
_RULE = "must be a number from 0 to 1000000 with at most 9 decimals, per million tokens"


def problems_of(tmp_path: Path, text: str) -> list[str]:
    """Return what is wrong with a file of this content."""
    path = tmp_path / "prices.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PricesError) as caught:
        load_prices(path)
    assert str(path) in str(caught.value)
    assert all(f"- {problem}" in str(caught.value).splitlines() for problem in caught.value.problems)
    return caught.value.problems


def test_the_committed_prices_can_be_loaded() -> None:
    """They are what a new installation counts with."""
    prices = load_prices(COMMITTED)
    assert prices.currency == "USD"
    assert prices.cost_nano("openai", "gpt-4o", Usage(1_000_000, 1_000_000, 400_000)) == 12_000_000_000
    assert prices.cost_nano("openai", "gpt-4o-mini", Usage(1, 0, 1)) == 75
    assert prices.cost_nano("lmstudio", "gpt-4o", Usage(1_000_000, 1_000_000)) == 0
    assert not prices.is_priced("openai", "a-model-of-tomorrow")


def test_cached_tokens_cost_what_others_do_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    """Not every provider has a cache, and a price that was left out must not be 0."""
    path = tmp_path / "prices.toml"
    path.write_text('currency = "EUR"\n[models.gpt-4]\ninput = 30\noutput = 60.0\n')
    prices = load_prices(path)
    assert prices.currency == "EUR"
    assert prices.cost_nano("openai", "gpt-4", Usage(10, 0, 10)) == prices.cost_nano("openai", "gpt-4", Usage(10, 0))


def test_writing_to_a_cache_has_prices_of_its_own(tmp_path: Path) -> None:
    """Each that the file leaves out is the next lower one."""
    path = tmp_path / "prices.toml"
    rest = "input = 3\ncached_input = 0.3\noutput = 15\n"
    usage = Usage(100, 0, 10, 40, cache_creation_1h_tokens=15)
    for more, cost in (
        ("", 90 * 3_000 + 10 * 300),
        ("cache_write = 3.75\n", 50 * 3_000 + 10 * 300 + 40 * 3_750),
        ("cache_write_1h = 6\n", 75 * 3_000 + 10 * 300 + 15 * 6_000),
        ("cache_write = 3.75\ncache_write_1h = 6\n", 50 * 3_000 + 10 * 300 + 25 * 3_750 + 15 * 6_000),
        ("cache_write = 0\n", 50 * 3_000 + 10 * 300),
    ):
        path.write_text(f'currency = "USD"\n[models.m]\n{rest}{more}')
        assert load_prices(path).cost_nano("p", "m", usage) == cost, more
    path.write_text(f'currency = "USD"\n[models.m]\n{rest}cache_write = 3.75\ncache_write_1h = 6\n')
    # More than there is, as a broken count has it, is taken for all that there is.
    assert load_prices(path).cost_nano("p", "m", Usage(5, 0, 3, 9, cache_creation_1h_tokens=7)) == 3 * 300 + 2 * 6_000


def test_prices_are_decimals_and_not_floats(tmp_path: Path) -> None:
    """0.1 as a float is 0.1000000000000000055, which shows after enough tokens."""
    path = tmp_path / "prices.toml"
    path.write_text('currency = "USD"\n[models.m]\ninput = 0.1\noutput = 0.000000001\n')
    assert load_prices(path).cost_nano("p", "m", Usage(10**18, 0)) == 10**20
    assert load_prices(path).cost_nano("p", "m", Usage(0, 10**9)) == Decimal(10**9) * Decimal("0.000001")


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    """Whoever mends a file wants to start the gateway once more, and not once for each line."""
    found = problems_of(
        tmp_path,
        """
        currency = "usd"
        region = "eu"
        [models.gpt-4.1]
        input = 2
        output = 8
        [models."a"]
        input = -1
        outptu = 3
        [models."b"]
        input = "2.50"
        output = true
        cached_input = nan
        [models."c"]
        input = 1e7
        output = 0.0000000001
        [models]
        d = 5
        "*" = { input = 0, output = 0 }
        "x*y" = { input = 0, output = 0 }
        "x/" = { input = 0, output = 0 }
        """,
    )
    assert found == [
        "region: is not a known key; there are currency and models",
        "currency: must be a code of three capital letters, such as USD (ISO 4217)",
        'models."gpt-4".1: is not a known key; the name of a model with a dot in it must stand in quotes',
        f'models."a".input: {_RULE}',
        'models."a".outptu: is not a known key; there are input, cached_input, cache_write, cache_write_1h, output',
        'models."a": lacks output',
        f'models."b".input: {_RULE}',
        f'models."b".output: {_RULE}',
        f'models."b".cached_input: {_RULE}',
        f'models."c".input: {_RULE}',
        f'models."c".output: {_RULE}',
        'models."d": must be a table with input and output',
        *(
            f'models."{name}": must be the name of a model, provider/model, or with a * at its end, '
            'such as "lmstudio/*"'
            for name in ("*", "x*y", "x/")
        ),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("currency = ", "the file is not valid TOML in UTF-8"),
        ("models = 3\ncurrency = 'USD'", "models: must be a table of tables"),
        ("", "currency: must be a code"),
        ("currency = 'USD'\n[models.m]\ninput = inf\noutput = 1e999999999", _RULE),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str, told: str) -> None:
    """A gateway that starts with prices nobody meant would bill them."""
    assert told in "\n".join(problems_of(tmp_path, text))


def test_a_name_cannot_paint_the_terminal(tmp_path: Path) -> None:
    """The message goes to a terminal, and the file may come from elsewhere."""
    path = tmp_path / "prices.toml"
    path.write_text("currency = 'USD'\n[models.\"\\u001b[31m\"]\ninput = 1")
    with pytest.raises(PricesError) as caught:
        load_prices(path)
    assert "\x1b" not in str(caught.value)
    assert "1 problem:" in str(caught.value)


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    """The operator wrote its path somewhere and wants to know which one it was."""
    with pytest.raises(PricesError, match=r"nowhere\.toml have 1 problem:\n- the file cannot be read: No such file"):
        load_prices(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b"currency = '\xff'")
    with pytest.raises(PricesError, match=r"latin\.toml have 1 problem:\n- the file is not valid TOML in UTF-8"):
        load_prices(tmp_path / "latin.toml")
