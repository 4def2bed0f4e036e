"""What follows from each type of failure: one row a type, and the rules around the attempts of one request."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import pytest

from providers import errors
from routing.errors import AllTargetsBusy, ModelNotFound, NoTargetAvailable
from routing.failover import MAX_ATTEMPTS
from tests.routing.fakes import FOREVER, MODEL, OK, Fake, Setup, collect, limits, request, text
from tests.routing.virtual_time import in_virtual_time, now


class Row(NamedTuple):
    """A failure of the first target, and what must follow at the first and the second and for both breakers."""

    error: Exception
    calls: tuple[int, int]
    target: tuple[int, int]
    provider: tuple[int, int]
    final: type[Exception]


# (calls at a, calls at b), then what the breakers of a's target and of provider a counted as (good, bad).
TABLE = [
    Row(errors.RequestRefused("400"), (1, 0), (1, 0), (1, 0), errors.RequestRefused),
    Row(errors.NotExpressible("seed"), (1, 1), (0, 0), (0, 0), errors.NotExpressible),
    Row(errors.ContentFiltered("policy"), (1, 0), (1, 0), (1, 0), errors.ContentFiltered),
    Row(errors.ContextLengthExceeded("long"), (1, 0), (1, 0), (1, 0), errors.ContextLengthExceeded),
    Row(errors.CallerError("other"), (1, 0), (1, 0), (1, 0), errors.CallerError),
    Row(errors.CredentialRefused("401"), (1, 1), (0, 0), (0, 0), errors.CredentialRefused),
    Row(errors.ModelNotServed("404"), (1, 1), (0, 0), (1, 0), ModelNotFound),
    Row(errors.Unreachable("refused"), (1, 1), (0, 1), (0, 1), errors.Unreachable),
    Row(errors.ConnectTimedOut("connect"), (1, 1), (0, 1), (0, 1), errors.ConnectTimedOut),
    Row(errors.ConnectionDropped("reset"), (1, 1), (0, 1), (0, 0), errors.ConnectionDropped),
    Row(errors.ServerFailed("500"), (2, 1), (0, 2), (2, 0), errors.ServerFailed),
    Row(errors.Overloaded("503"), (1, 1), (0, 1), (1, 0), errors.Overloaded),
    Row(errors.UnreadableAnswer("html"), (1, 1), (0, 1), (1, 0), errors.UnreadableAnswer),
    Row(errors.FirstTokenTimedOut("silent"), (1, 1), (0, 1), (0, 0), errors.FirstTokenTimedOut),
    Row(errors.TotalTimedOut("total"), (1, 1), (0, 1), (0, 0), errors.TotalTimedOut),
    Row(errors.StreamBroken("eof"), (1, 1), (0, 1), (0, 0), errors.StreamBroken),
    Row(errors.StreamStalled("stall"), (1, 1), (0, 1), (0, 0), errors.StreamStalled),
    Row(ValueError("a bug in an adapter"), (1, 1), (0, 1), (0, 0), ValueError),
]


def counted(setup: Setup, name: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the (good, bad) calls that the breakers of a target and of its provider have counted."""
    breakers = (setup.target(name).breaker, setup.state(name).breaker)
    target, provider = (
        (sum(good for good, _ in b._window.values()), sum(bad for _, bad in b._window.values())) for b in breakers
    )
    return target, provider


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("row", TABLE, ids=lambda row: type(row.error).__name__)
@in_virtual_time
async def test_each_failure_leads_where_its_row_says(row: Row, streamed: bool) -> None:
    """Retried once, tried elsewhere or told to the client, and counted for the breakers that it concerns."""
    first, second = Fake((row.error,)), Fake(OK)
    setup = Setup(first, second)
    if row.calls[1]:
        if streamed:
            call = setup.stream()
            assert text(await collect(call)) == "hello"
            assert call.attempts == sum(row.calls)
        else:
            answer = await setup.ask()
            assert (answer.response.content, answer.attempts) == ("hello", sum(row.calls))
        assert setup.notes.failovers == [("a", type(row.error).__name__)]
        assert setup.notes.attempts[-1] == ("b", "ok")
    else:
        with pytest.raises(row.final):
            await (collect(setup.stream()) if streamed else setup.ask())
        assert not setup.notes.failovers
    assert (len(first.calls), len(second.calls)) == row.calls
    assert setup.notes.retries == ["a"] * (row.calls[0] - 1)
    assert setup.notes.attempts[: row.calls[0]] == [("a", type(row.error).__name__)] * row.calls[0]
    assert counted(setup, "a") == (row.target, row.provider)
    assert setup.held() == {}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: type(row.error).__name__)
@in_virtual_time
async def test_the_only_target_s_failure_is_what_the_client_hears(row: Row) -> None:
    """With nothing left, the error itself says the most."""
    setup = Setup(Fake((row.error,)))
    with pytest.raises(row.final):
        await setup.ask()
    assert setup.held() == {}


@in_virtual_time
async def test_a_refused_credential_keeps_everything_from_that_provider_until_a_probe() -> None:
    """Every model of a provider is asked with the same key, so one refusal speaks for all."""
    first, second = Fake((errors.CredentialRefused("401"),)), Fake()
    setup = Setup(first, second, closed_models=(MODEL, "other"))
    await setup.ask()
    assert setup.state("a").breaker.state == "open"
    assert setup.target("a").breaker.state == "closed"
    assert not setup.target("a", "other").is_open_to_requests(now())
    assert (await setup.ask()).target.provider.name == "b"
    assert len(first.calls) == 1
    first.scripts = [OK]
    await asyncio.sleep(13)
    assert (await setup.ask()).target.provider.name == "a"
    assert setup.state("a").breaker.state == "closed"


@in_virtual_time
async def test_a_model_that_is_not_served_is_left_alone_for_a_minute() -> None:
    """The provider's other models are not touched by it."""
    first, second = Fake((errors.ModelNotServed("404"),), OK), Fake()
    setup = Setup(first, second, closed_models=(MODEL, "other"))
    for _ in range(3):
        assert (await setup.ask()).target.provider.name == "b"
    assert len(first.calls) == 1
    assert setup.target("a", "other").is_open_to_requests(now())
    assert setup.state("a").breaker.state == setup.target("a").breaker.state == "closed"
    await asyncio.sleep(59)
    assert (await setup.ask()).target.provider.name == "b"
    await asyncio.sleep(2)
    assert (await setup.ask()).target.provider.name == "a"


@in_virtual_time
async def test_a_model_that_nobody_serves_any_more_is_not_found_without_asking() -> None:
    """The first request learns it from the providers, the next ones from memory."""
    setup = Setup(Fake((errors.ModelNotServed("404"),)), Fake((errors.ModelNotServed("404"),)))
    for _ in range(2):
        with pytest.raises(ModelNotFound):
            await setup.ask()
    assert len(setup.notes.attempts) == 2


@in_virtual_time
async def test_where_no_model_was_named_and_nobody_has_one_the_address_is_asked_after() -> None:
    """A `base_url` without its `/v1` looks like this, and a message about a model without a name helps nobody."""
    setup = Setup(Fake((errors.ModelNotServed("404"),)))
    for _ in range(2):
        with pytest.raises(ModelNotFound, match=r"names no model.*base_url") as raised:
            await setup.router.complete(setup.router.plan(None), request(), caller="key")
        assert raised.value.available == []


@pytest.mark.parametrize(
    ("contexts", "asked"),
    [
        ((8, 32, 16), "abc"),
        ((8, 8, 16), "ac"),
        ((8, None, 16), "ac"),
        ((8, 4, None), "a"),
        ((None, 32, 64), "a"),
        ((8, 16, 16), "ab"),
        ((8, 16, 32), "abc"),
    ],
)
@in_virtual_time
async def test_a_prompt_that_does_not_fit_goes_only_to_a_known_larger_context(
    contexts: tuple[int | None, ...], asked: str
) -> None:
    """Never again to the same size, and never to a target of unknown size."""
    long = (errors.ContextLengthExceeded("too long"),)
    fakes = [Fake(long, context=context) for context in contexts]
    if contexts == (8, 32, 16):
        fakes[1].scripts = [(errors.Unreachable("refused"),)]
    setup = Setup(*fakes)
    with pytest.raises((errors.ContextLengthExceeded, errors.Unreachable)):
        await setup.ask()
    assert "".join(name for name, _ in setup.notes.attempts) == asked
    assert setup.target("a").breaker.state == "closed"


@in_virtual_time
async def test_a_larger_context_answers_the_prompt_that_did_not_fit() -> None:
    """That is what the failover is for."""
    setup = Setup(Fake((errors.ContextLengthExceeded("long"),), context=8), Fake(context=16))
    assert (await setup.ask()).target.provider.name == "b"


@pytest.mark.parametrize(
    ("error", "made"), [(errors.Unreachable("refused"), MAX_ATTEMPTS), (errors.ServerFailed("500"), MAX_ATTEMPTS)]
)
@in_virtual_time
async def test_a_request_makes_five_attempts_at_most(error: Exception, made: int) -> None:
    """Retries count among them, so that a bad day at every provider does not multiply the load."""
    setup = Setup(*[Fake((error,)) for _ in range(8)])
    with pytest.raises(type(error)):
        await setup.ask()
    assert len(setup.notes.attempts) == made
    if isinstance(error, errors.ServerFailed):
        assert [name for name, _ in setup.notes.attempts] == ["a", "a", "b", "b", "c"]
        assert setup.notes.retries == ["a", "b"]


@in_virtual_time
async def test_all_attempts_share_one_deadline() -> None:
    """Five slow targets must not keep a client for five times as long."""
    setup = Setup(*[Fake((FOREVER,)) for _ in range(5)], timeouts=limits(total_s=10, first_token_s=4))
    started = now()
    with pytest.raises(errors.ProviderError):
        await collect(setup.stream())
    assert now() - started == pytest.approx(10)
    assert [outcome for _, outcome in setup.notes.attempts] == ["FirstTokenTimedOut"] * 2 + ["TotalTimedOut"]


@in_virtual_time
async def test_a_whole_answer_may_take_longer_than_a_first_token() -> None:
    """Its headers come when the answer is complete, so only the total limit counts."""
    setup = Setup(Fake((80.0, *OK)), timeouts=limits(first_token_s=5, idle_s=5, total_s=100))
    assert (await setup.ask()).response.content == "hello"
    setup = Setup(Fake((120.0, *OK)), timeouts=limits(first_token_s=5, total_s=100))
    started = now()
    with pytest.raises(errors.TotalTimedOut):
        await setup.ask()
    assert now() - started == pytest.approx(100)


@in_virtual_time
async def test_a_failed_connection_moves_on_without_any_pause() -> None:
    """The client waits for nothing that could help."""
    setup = Setup(*[Fake((errors.Unreachable("refused"),)) for _ in range(4)], Fake())
    started = now()
    assert (await setup.ask()).target.provider.name == "e"
    assert now() == started


@pytest.mark.parametrize(
    ("failures", "final"),
    [
        ([errors.Unreachable("x"), errors.ModelNotServed("x")], errors.Unreachable),
        ([errors.ServerFailed("x"), errors.RateLimited("x", retry_after_s=60)], errors.ServerFailed),
        ([errors.UnreadableAnswer("x"), errors.FirstTokenTimedOut("x")], errors.FirstTokenTimedOut),
        ([errors.ModelNotServed("x"), errors.CredentialRefused("x")], errors.CredentialRefused),
        ([errors.ModelNotServed("x"), errors.ModelNotServed("x")], ModelNotFound),
    ],
)
@in_virtual_time
async def test_the_last_failure_that_says_the_most_is_the_client_s(
    failures: list[Exception], final: type[Exception]
) -> None:
    """A missing model or a rate limit elsewhere does not explain why nobody answered."""
    setup = Setup(*[Fake((failure,)) for failure in failures])
    with pytest.raises(final):
        await setup.ask()


@in_virtual_time
async def test_a_full_provider_is_passed_over_and_a_full_gateway_says_so() -> None:
    """`max_in_flight` protects small model servers."""
    setup = Setup(Fake((5.0, *OK)), Fake((5.0, *OK)), max_in_flight=2)
    calls = [asyncio.ensure_future(setup.ask()) for _ in range(4)]
    await asyncio.sleep(1)
    assert setup.held() == {"a": 2, "b": 2}
    with pytest.raises(AllTargetsBusy) as caught:
        await setup.ask()
    assert caught.value.retry_after_s == 1.0
    answers = await asyncio.gather(*calls)
    assert [answer.target.provider.name for answer in answers] == ["a", "a", "b", "b"]
    assert setup.held() == {}


@pytest.mark.parametrize("recovered", [True, False])
@in_virtual_time
async def test_with_every_breaker_open_one_request_per_target_passes(recovered: bool) -> None:
    """All others get their answer at once, with the time after which asking again may help."""
    fakes = [Fake((0.5, *OK) if recovered else (0.5, errors.Unreachable("refused"))) for _ in range(3)]
    setup = Setup(*fakes)
    for name in "abc":
        setup.target(name).breaker.trip()
    started = now()
    outcomes: list[tuple[str, float]] = []
    told: list[float] = []

    async def one(number: int) -> None:
        try:
            await setup.ask(caller=f"key-{number}")
        except (NoTargetAvailable, errors.Unreachable) as exc:
            outcomes.append((type(exc).__name__, now() - started))
            if isinstance(exc, NoTargetAvailable):
                told.append(exc.retry_after_s or 0)
        else:
            outcomes.append(("answered", now() - started))

    await asyncio.gather(*(one(number) for number in range(50)))
    probes = ("answered" if recovered else "Unreachable", 0.5)
    assert sorted(outcomes) == sorted([("NoTargetAvailable", 0.0)] * 47 + [probes] * 3)
    assert all(8 <= retry_after_s <= 12 for retry_after_s in told)
    assert [len(fake.calls) for fake in fakes] == [1, 1, 1]
    assert setup.probing() == []
    states = [setup.target(name).breaker.state for name in "abc"]
    assert states == ["closed" if recovered else "open"] * 3
    if not recovered:
        with pytest.raises(NoTargetAvailable):
            await setup.ask()


@in_virtual_time
async def test_a_probe_whose_client_left_frees_the_place_for_the_next() -> None:
    """Otherwise one impatient client would shut a target for ever."""
    fake = Fake((5.0, *OK), OK)
    setup = Setup(fake)
    setup.target("a").breaker.trip()
    probe = asyncio.ensure_future(setup.ask())
    await asyncio.sleep(1)
    assert setup.probing() == ["a"]
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert setup.notes.attempts == [("a", "cancelled")]
    assert (await setup.ask()).target.provider.name == "a"
    assert setup.target("a").breaker.state == "closed"
