"""Whatever providers do and whenever clients leave: no slot and no probe stays held, and no limit is broken."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from providers import errors
from providers.base import StreamEvent
from routing.errors import RoutingError
from routing.failover import MAX_ATTEMPTS
from routing.policy import Signal, verdict_for
from tests.routing.fakes import DONE, FOREVER, OK, ROLE, Fake, Setup, Step, collect, limits
from tests.routing.virtual_time import in_virtual_time

FAILURES: list[Exception] = [
    errors.RequestRefused("400"),
    errors.ContextLengthExceeded("long"),
    errors.CredentialRefused("401"),
    errors.ModelNotServed("404"),
    errors.RateLimited("429", retry_after_s=1),
    errors.RateLimited("429", retry_after_s=50),
    errors.QuotaSpent("429"),
    errors.Unreachable("refused"),
    errors.ConnectionDropped("reset"),
    errors.ServerFailed("500"),
    errors.Overloaded("503"),
    errors.UnreadableAnswer("html"),
    errors.StreamBroken("eof"),
    ValueError("bug"),
]
COUNTS_FOR_THE_BREAKER = {type(error).__name__ for error in FAILURES if verdict_for(error).target is Signal.BAD}
failures = st.sampled_from(FAILURES)
beginnings = st.sampled_from([(), (ROLE,), (0.4,), (ROLE, 1.0), (3.0,)])
endings = st.one_of(
    st.just(OK),
    st.sampled_from([(FOREVER,), ("x", FOREVER), ("x", 3.0, "y", DONE), ("x",) * 40, (), ("x", DONE, FOREVER)]),
    failures.map(lambda error: (error,)),
    failures.map(lambda error: ("x", 0.5, error)),
)
scripts = st.builds(lambda beginning, ending: (*beginning, *ending), beginnings, endings)
providers = st.lists(st.lists(scripts, min_size=1, max_size=6), min_size=1, max_size=4)
# When each client comes, whether it streams, and how long it stays.
clients = st.lists(
    st.tuples(
        st.floats(0, 20), st.booleans(), st.one_of(st.just(FOREVER), st.floats(0, 8)), st.sampled_from(["k1", "k2"])
    ),
    min_size=1,
    max_size=14,
)


async def one_client(setup: Setup, arrives_s: float, stays_s: float, caller: str, streamed: bool) -> None:
    """Ask once and leave early, perhaps."""
    await asyncio.sleep(arrives_s)
    work = collect(setup.stream(caller=caller)) if streamed else setup.ask(caller=caller)
    task: asyncio.Task[object] = asyncio.ensure_future(work)
    await asyncio.sleep(0)
    await asyncio.wait([task], timeout=stays_s)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        error = task.exception()
        assert error is None or isinstance(error, (RoutingError, errors.ProviderError, ValueError)), error


@given(
    providers=providers,
    clients=clients,
    strategy=st.sampled_from(["priority", "round_robin", "least_loaded", "fastest"]),
    room=st.sampled_from([1, 2, 200]),
    tripped=st.booleans(),
)
@in_virtual_time
async def test_slots_and_probes_are_always_given_back(
    providers: list[list[tuple[Step, ...]]],
    clients: list[tuple[float, bool, float, str]],
    strategy: str,
    room: int,
    tripped: bool,
) -> None:
    """A slot that is lost once is lost until the next start; enough of them and the provider is gone."""
    fakes = [Fake(*scripts, context=number or None) for number, scripts in enumerate(providers)]
    setup = Setup(
        *fakes,
        strategy=strategy,
        max_in_flight=room,
        timeouts=limits(first_token_s=2, idle_s=2, total_s=10),
    )
    if tripped:
        for name in setup.router.providers:
            setup.target(name).breaker.trip()
    await asyncio.gather(*(one_client(setup, at, stays, key, streamed) for at, streamed, stays, key in clients))
    assert setup.held() == {}
    assert setup.probing() == []
    for fake in fakes:
        assert fake.opened == fake.closed
        assert fake.most_open <= room
    assert len(setup.notes.attempts) <= MAX_ATTEMPTS * len(clients)
    assert len(setup.notes.attempts) >= sum(len(fake.calls) for fake in fakes)


@given(cancel_at=st.integers(0, 40), script=st.permutations(FAILURES), streamed=st.booleans())
@in_virtual_time
async def test_a_cancellation_at_any_await_is_no_failure_of_a_provider(
    cancel_at: int, script: list[Exception], streamed: bool
) -> None:
    """The step of the loop at which it comes is counted, so that every await is met in some example."""
    # A pause between what happens makes more awaits to be cancelled at.
    first = Fake(*[(0.1, ROLE, 0.1, error) for error in script])
    setup = Setup(first, Fake((0.1, "x", 0.1, errors.Overloaded("503"))))
    work = collect(setup.stream()) if streamed else setup.ask()
    task: asyncio.Task[object] = asyncio.ensure_future(work)
    await asyncio.sleep(0)
    for _ in range(cancel_at):
        await asyncio.sleep(0 if random.Random(cancel_at).random() < 0.5 else 0.05)
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert setup.held() == {}
    assert setup.probing() == []
    assert first.opened == first.closed
    outcomes = Counter(outcome for name, outcome in setup.notes.attempts if name == "a")
    assert outcomes["cancelled"] <= 1
    assert "CancelledError" not in outcomes
    counted = sum(bad for _, bad in setup.target("a").breaker._window.values())
    assert counted == sum(outcomes[name] for name in COUNTS_FOR_THE_BREAKER)


@given(events=st.lists(st.sampled_from(["x", "", ROLE, StreamEvent(reasoning="r"), 0.3]), max_size=40))
@in_virtual_time
async def test_every_event_of_an_answer_arrives_once_and_in_order(events: list[Step]) -> None:
    """Batches differ with timing, the answer never."""
    setup = Setup(Fake((*events, DONE)))
    got = await collect(setup.stream())
    assert got == [
        StreamEvent(content=event) if isinstance(event, str) else event
        for event in [*events, DONE]
        if not isinstance(event, float)
    ]
