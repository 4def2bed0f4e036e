"""From the model that a client names to the targets that may answer: routes, `provider/model`, discovered ids."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from routing.errors import ModelNotFound, OperationNotServed
from routing.strategies import STRATEGIES, Strategy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routing.targets import ProviderState, Target

MAX_PLANS = 1_000
# Clients name models, and what is kept of the names that stand in no list must not be as large as they like.
MAX_MODEL_CHARS = 256
# The names that a caller may use; None for all.
Allowed = frozenset[str] | None


class Route(NamedTuple):
    """An alias that clients use as a model.

    Its targets as (provider, model) in order, and its strategy if it has one.
    """

    targets: tuple[tuple[str, str], ...]
    strategy: str | None = None


class Plan(NamedTuple):
    """The targets that may answer a request, in configured order, and the strategy that picks among them."""

    model: str
    targets: tuple[Target, ...]
    strategy: Strategy

    def for_operation(self, operation: str) -> Plan:
        """Return the plan for another operation than a chat: its own targets at the providers that know it.

        Raises `OperationNotServed` when there is none.
        """
        able = [target for target in self.targets if operation in target.provider.provider.operations]
        if not able:
            raise OperationNotServed(operation)
        return self._replace(targets=tuple(target.provider.target(target.model, operation) for target in able))

    def preferring(self, operation: str) -> Plan:
        """Return the plan with the operation's own targets at the providers that know it; the others stay for chats."""
        return self._replace(
            targets=tuple(
                target.provider.target(target.model, operation)
                if operation in target.provider.provider.operations
                else target
                for target in self.targets
            )
        )


class ModelEntry(NamedTuple):
    """One id that clients may ask for, and the providers that serve it in order.

    `context_length` is the largest that is known among them, in tokens; None when none is.
    """

    id: str
    providers: tuple[str, ...]
    context_length: int | None = None


class Planner:
    """Resolves models to plans. `providers` is the router's own table, which may grow while the gateway runs."""

    def __init__(
        self,
        providers: Mapping[str, ProviderState],
        *,
        strategy: str = "priority",
        routes: Mapping[str, Route] | None = None,
        default_route: str | None = None,
    ) -> None:
        self._providers = providers
        self._strategy = strategy
        self._routes = dict(routes or {})
        self._default_route = default_route if default_route in self._routes else None
        self._plans: OrderedDict[tuple[str | None, Allowed], Plan] = OrderedDict()
        self._listed: frozenset[str] | None = None
        self._strategies: OrderedDict[str | None, Strategy] = OrderedDict()

    def forget(self) -> None:
        """Resolve anew from now on, because a provider or its list of models changed. Strategies keep their memory."""
        self._plans.clear()
        self._listed = None

    def plan(self, model: str | None, allowed: Allowed = None) -> Plan:
        """Return the plan for `model` (None: the default). Raises `ModelNotFound`.

        The order is: a route's name; `provider/model` where the provider lists that model; an id that some provider
        lists; `provider/model` where the provider has no closed list. `allowed` are the only names that the caller may
        use (None: all): a route's name stands for all its targets, any other for the targets of that model.
        """
        plan = self._plans.get((model, allowed))
        if plan is not None:
            self._plans.move_to_end((model, allowed))
            return plan
        targets, strategy = self._resolve(model)
        targets = self._within(allowed, model or self._default_route, targets)
        if not targets:
            raise ModelNotFound(model or "", [entry.id for entry in self.models(allowed)])
        plan = Plan(model or "", tuple(targets), self._strategy_for(model, strategy))
        self._plans[model, allowed] = plan
        if len(self._plans) > MAX_PLANS:
            self._plans.popitem(last=False)
        return plan

    def models(self, allowed: Allowed = None) -> list[ModelEntry]:
        """List what clients may ask for: routes first, then every listed model with the providers that serve it.

        With `allowed`, only what `plan` would find with it.
        """
        entries = self._entries()
        if allowed is None:
            return entries
        kept = [(entry, self._within(allowed, entry.id, self._resolve(entry.id)[0])) for entry in entries]
        return [_entry(entry.id, targets) for entry, targets in kept if targets]

    def model(self, name: str, allowed: Allowed = None) -> ModelEntry:
        """Return one id that clients may ask for, also in the form `provider/model`. Raises `ModelNotFound`.

        Names that no list has, and that only a provider could judge, are not found, unless it lists none at all.
        """
        if len(name) > MAX_MODEL_CHARS:
            raise ModelNotFound(name, [])
        targets = [
            target
            for target in self._within(allowed, name, self._resolve(name)[0])
            if name in self._routes or target.model in target.provider.models or not target.provider.models
        ]
        shown = [target for target in targets if target.provider.is_up or not target.provider.auto]
        if not shown:
            raise ModelNotFound(name, [entry.id for entry in self.models(allowed)])
        return _entry(name, shown)

    def _entries(self) -> list[ModelEntry]:
        entries = [
            _named(name, self._known(route.targets))._replace(
                providers=tuple(dict.fromkeys(provider for provider, _ in route.targets))
            )
            for name, route in self._routes.items()
        ]
        by_model: dict[str, list[tuple[ProviderState, str]]] = {}
        for state in self._ordered():
            if state.is_up or not state.auto:
                for model in state.models:
                    by_model.setdefault(model, []).append((state, model))
        taken = set(self._routes)
        return entries + [_named(model, serving) for model, serving in by_model.items() if model not in taken]

    def _known(self, targets: Sequence[tuple[str, str]]) -> list[tuple[ProviderState, str]]:
        found = [(self._providers.get(name), model) for name, model in targets]
        return [(state, model) for state, model in found if state is not None]

    def is_listed(self, model: str) -> bool:
        """Whether `model` stands in some list, so that its name is the operator's and not any client's."""
        if self._listed is None:
            listed = (model for state in self._providers.values() for model in state.models)
            self._listed = frozenset(self._routes).union(listed)
        return model in self._listed

    def _ordered(self) -> list[ProviderState]:
        return sorted(self._providers.values(), key=lambda state: state.priority)

    def _resolve(self, model: str | None) -> tuple[Sequence[Target], str | None]:
        if model is None:
            model = self._default_route
        if model is None:
            return [state.target(state.models[0]) for state in self._ordered() if state.models], None
        route = self._routes.get(model)
        if route is not None:
            return [state.target(rest) for state, rest in self._known(route.targets)], route.strategy
        name, slash, rest = model.partition("/")
        named = self._providers.get(name) if slash and rest else None
        if named is not None and rest in named.models:
            return [named.target(rest)], None
        listing = [state.target(model) for state in self._ordered() if model in state.models]
        if listing or named is None or named.has_closed_list or len(rest) > MAX_MODEL_CHARS:
            return listing, None
        return [named.target(rest)], None

    def _within(self, allowed: Allowed, name: str | None, targets: Sequence[Target]) -> Sequence[Target]:
        """Return those of the targets that a caller may use who asks for `name`."""
        if allowed is None or name in allowed:
            return targets
        # A route's name allows the route, and not also a model that happens to be called the same.
        models = allowed.difference(self._routes)
        return [t for t in targets if t.model in models or f"{t.provider.name}/{t.model}" in models]

    def _strategy_for(self, key: str | None, name: str | None) -> Strategy:
        # Taken out and put back, so that those used last stand at the end.
        strategy = self._strategies.pop(key, None) or STRATEGIES[name or self._strategy]()
        self._strategies[key] = strategy
        if len(self._strategies) > MAX_PLANS:
            self._strategies.popitem(last=False)
        return strategy


def _entry(name: str, targets: Sequence[Target]) -> ModelEntry:
    return _named(name, [(target.provider, target.model) for target in targets])


def _named(name: str, serving: Sequence[tuple[ProviderState, str]]) -> ModelEntry:
    lengths = [state.provider.context_length(model) for state, model in serving]
    known = [length for length in lengths if length is not None]
    return ModelEntry(name, tuple(dict.fromkeys(state.name for state, _ in serving)), max(known, default=None))
