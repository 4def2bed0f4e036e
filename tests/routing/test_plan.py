"""From the model that a client names to targets: the rules of `model`, in their order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from providers import errors as upstream
from routing.errors import ModelNotFound
from routing.plan import MAX_PLANS, Plan, Route
from routing.router import ModelRouter
from routing.strategies import Fastest, LeastLoaded, Priority, RoundRobin
from routing.targets import MAX_MODELS
from tests.routing.fakes import Fake, ManualClock, Setup, request
from tests.routing.virtual_time import in_virtual_time

ROUTES = {
    "chat": Route((("local", "llama"), ("open", "gpt-4")), "fastest"),
    "open/gpt-4": Route((("local", "llama"),)),
    "empty": Route((("gone", "llama"),)),
}


def make(routes: dict[str, Route] | None = None, default_route: str | None = None, **each: Any) -> ModelRouter:
    """Return a router with a closed provider, an advisory one, and one with nothing discovered yet."""
    router = ModelRouter(routes=routes, default_route=default_route, clock=ManualClock(), **each)
    router.register_provider("open", Fake(), priority=2, closed_models=("gpt-4", "gpt-3", "vendor/model"))
    router.register_provider("local", Fake(), priority=1)
    router.register_provider("new", Fake(), priority=3)
    router.set_models("local", ["llama", "vendor/model", "gpt-3", "open/phi"])
    return router


def named(plan: Plan) -> list[str]:
    """Return the targets of a plan as provider/model."""
    return [f"{target.provider.name}/{target.model}" for target in plan.targets]


@pytest.mark.parametrize(
    ("model", "targets"),
    [
        ("chat", ["local/llama", "open/gpt-4"]),
        ("open/gpt-4", ["local/llama"]),
        ("open/gpt-3", ["open/gpt-3"]),
        ("local/llama", ["local/llama"]),
        ("gpt-3", ["local/gpt-3", "open/gpt-3"]),
        ("gpt-4", ["open/gpt-4"]),
        ("vendor/model", ["local/vendor/model", "open/vendor/model"]),
        ("open/vendor/model", ["open/vendor/model"]),
        ("open/phi", ["local/open/phi"]),
        ("local/unheard-of", ["local/unheard-of"]),
        ("new/some/thing", ["new/some/thing"]),
        ("new/gpt-4", ["new/gpt-4"]),
    ],
)
def test_a_model_is_resolved_by_the_first_rule_that_fits(model: str, targets: list[str]) -> None:
    """The order is: a route's name, provider/listed, a listed id, provider/anything where the list is not closed."""
    plan = make(ROUTES).plan(model)
    assert named(plan) == targets
    assert repr(plan.targets[0]) == f"Target({targets[0]})"


@pytest.mark.parametrize(
    "model", ["unheard-of", "open/unheard-of", "nobody/gpt-4", "empty", "local/", "/llama", "", "Chat", "open"]
)
def test_an_unknown_model_is_refused_with_what_there_is(model: str) -> None:
    """A closed list is closed, and a name without a provider has to stand in some list."""
    router = make(ROUTES)
    with pytest.raises(ModelNotFound) as caught:
        router.plan(model)
    assert caught.value.available == [entry.id for entry in router.models()]
    assert {"chat", "llama", "gpt-4", "vendor/model"} <= set(caught.value.available)


@pytest.mark.parametrize(
    ("default_route", "targets"),
    [
        ("chat", ["local/llama", "open/gpt-4"]),
        (None, ["local/llama", "open/gpt-4"]),
        ("no-such-route", ["local/llama", "open/gpt-4"]),
    ],
)
def test_no_model_means_the_default_route_or_everybodys_first(default_route: str | None, targets: list[str]) -> None:
    """Without a default route every provider that has models offers its first, by priority."""
    plan = make(ROUTES, default_route).plan(None)
    assert named(plan) == targets
    assert isinstance(plan.strategy, Fastest if default_route == "chat" else Priority)


def test_no_model_and_no_provider_is_no_model_found() -> None:
    """A gateway whose providers have not been heard of yet says so and does not fail."""
    router = ModelRouter(clock=ManualClock())
    with pytest.raises(ModelNotFound, match="default"):
        router.plan(None)


def test_no_model_and_a_key_for_others_than_the_default_one() -> None:
    """It is not the configuration that is wrong then."""
    router = make(ROUTES, "chat")
    with pytest.raises(ModelNotFound, match="not for this key") as raised:
        router.plan(None, frozenset({"gpt-3"}))
    assert raised.value.available == ["gpt-3"]


@pytest.mark.parametrize(
    ("strategy", "kind"),
    [("priority", Priority), ("round_robin", RoundRobin), ("least_loaded", LeastLoaded), ("fastest", Fastest)],
)
def test_the_global_strategy_counts_where_a_route_has_none_of_its_own(strategy: str, kind: type) -> None:
    """A route may choose otherwise."""
    router = make({"own": Route((("local", "llama"),), "priority")}, strategy=strategy)
    assert isinstance(router.plan("gpt-3").strategy, kind)
    assert isinstance(router.plan("own").strategy, Priority)


def test_priority_decides_outside_routes_and_file_order_breaks_its_ties() -> None:
    """In a route the order of its targets decides instead."""
    routes = {"r": Route((("c", "x"), ("a", "x"), ("b", "x")))}
    router = ModelRouter(routes=routes, clock=ManualClock())
    for name, priority in (("a", 5), ("b", 1), ("c", 1)):
        router.register_provider(name, Fake(), priority=priority, closed_models=("x",))
    assert named(router.plan("x")) == ["b/x", "c/x", "a/x"]
    assert named(router.plan("r")) == ["c/x", "a/x", "b/x"]


def test_discovered_models_change_the_plans_but_not_what_strategies_remember() -> None:
    """Discovery runs every minute; round robin must not begin anew with each."""
    router = make()
    before = router.plan("gpt-3")
    router.set_models("local", ["llama"])
    after = router.plan("gpt-3")
    assert named(after) == ["open/gpt-3"]
    assert after.strategy is before.strategy
    router.set_models("local", ["llama"])
    assert router.plan("gpt-3") is after
    router.set_models("open", ["gpt-9"])
    assert router.providers["open"].models == ("gpt-4", "gpt-3", "vendor/model")


def test_the_list_of_models_names_routes_first_and_every_provider_of_a_model() -> None:
    """It is what `GET /v1/models` shows; a model that a route hides is not listed twice."""
    router = make(ROUTES)
    assert [(entry.id, entry.providers) for entry in router.models()] == [
        ("chat", ("local", "open")),
        ("open/gpt-4", ("local",)),
        ("empty", ("gone",)),
        ("llama", ("local",)),
        ("vendor/model", ("local", "open")),
        ("gpt-3", ("local", "open")),
        ("open/phi", ("local",)),
        ("gpt-4", ("open",)),
    ]


def test_only_names_in_some_list_may_become_metric_labels() -> None:
    """A client's invention must never become one."""
    router = make(ROUTES)
    assert all(router.is_listed(name) for name in ("chat", "llama", "gpt-4"))
    assert not router.is_listed("local/unheard-of")
    router.set_models("new", ["fresh"])
    assert router.is_listed("fresh")


def test_a_name_with_a_slash_is_no_name_for_a_provider() -> None:
    """`provider/model` could not be told apart."""
    for name in ("a/b", ""):
        with pytest.raises(ValueError, match="slash"):
            ModelRouter().register_provider(name, Fake())


def test_registering_a_name_again_replaces_the_provider() -> None:
    """An embedding application may swap an implementation."""
    router = make()
    assert named(router.plan("llama")) == ["local/llama"]
    router.register_provider("local", Fake(), closed_models=("phi",))
    with pytest.raises(ModelNotFound):
        router.plan("llama")
    assert named(router.plan("phi")) == ["local/phi"]


def test_plans_are_kept_for_the_thousand_models_used_last() -> None:
    """Clients may invent names for an open provider without end; what is in use stays."""
    router = make()
    used = router.plan("llama")
    for number in range(MAX_PLANS + 100):
        router.plan(f"new/invented-{number}")
        assert router.plan("llama") is used
    assert len(router._planner._plans) == MAX_PLANS
    assert len(router._planner._strategies) == MAX_PLANS


def test_targets_are_kept_for_the_thousand_models_used_last() -> None:
    """A provider's state per model is bounded too."""
    state = make().providers["new"]
    first, used = state.target("first"), state.target("used")
    for number in range(MAX_MODELS):
        state.target(f"invented-{number}")
        assert state.target("used") is used
    assert len(state._targets) == MAX_MODELS
    assert state.target("first") is not first


@in_virtual_time
async def test_the_request_reaches_the_provider_with_the_target_s_model() -> None:
    """A route's name means nothing upstream."""
    fake = Fake()
    router = ModelRouter(routes={"chat": Route((("a", "real-model"),))}, clock=ManualClock())
    router.register_provider("a", fake)
    await router.complete(router.plan("chat"), request(), caller="key")
    assert [call.model for call in fake.calls] == ["real-model"]


@in_virtual_time
async def test_the_last_resort_never_stands_in_for_another_provider() -> None:
    """An echo in place of an answer is worse than an error."""
    broken, echo = Fake((upstream.Unreachable("refused"),)), Fake()
    setup = Setup(broken)
    setup.router.register_provider("echo", echo, last_resort=True, closed_models=("m",))
    with pytest.raises(upstream.Unreachable):
        await setup.ask()
    assert not echo.calls
    setup.state("a").models = ()
    setup.router._planner.forget()
    assert (await setup.ask()).target.provider.name == "echo"


@in_virtual_time
async def test_a_provider_that_was_only_found_is_asked_while_it_is_up() -> None:
    """LM Studio on its usual port joins when it answers, and leaves when it stops."""
    found, echo = Fake(), Fake()
    setup = Setup()
    setup.router.register_provider("echo", echo, last_resort=True, closed_models=("m",))
    lmstudio = setup.router.register_provider("lmstudio", found, auto=True)
    setup.router.set_models("lmstudio", ["m"])
    answered = []
    for healthy in (None, True, False, True):
        lmstudio.healthy = healthy
        answered.append((await setup.ask()).target.provider.name)
        listed = [entry.providers for entry in setup.router.models()]
        assert ("lmstudio" in listed[0]) is bool(healthy)
    assert answered == ["echo", "lmstudio", "echo", "lmstudio"]


@in_virtual_time
async def test_an_unhealthy_provider_is_asked_only_when_no_other_is_left() -> None:
    """A failed check is a hint: with nobody else, trying is better than refusing."""
    first, second = Fake(), Fake()
    setup = Setup(first, second)
    setup.state("a").healthy = False
    assert (await setup.ask()).target.provider.name == "b"
    setup.state("b").healthy = False
    assert (await setup.ask()).target.provider.name == "a"
    second.scripts = first.scripts = [(upstream.Unreachable("refused"),)]
    setup.state("b").healthy = True
    with pytest.raises(upstream.Unreachable):
        await setup.ask()
    assert (len(first.calls), len(second.calls)) == (2, 2)


@in_virtual_time
async def test_closing_the_router_closes_every_provider() -> None:
    """They may hold connections."""
    fakes = [Fake(), Fake()]
    setup = Setup(*fakes)
    await setup.router.aclose()
    await asyncio.sleep(0)
    assert [fake.was_closed for fake in fakes] == [1, 1]
