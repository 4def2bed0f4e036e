"""Every metric of the gateway, in one registry per app. `docs/metrics.md` lists them and a test holds both together.

Labels hold route templates, configured provider names and listed models, never what a client made up. With several
workers prometheus-client's multiprocess mode adds the processes up; `gateway/server.py` sets it up.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.observability import logs
from gateway.observability.logs import exception_fields, get_logger
from gateway.observability.tally import REQUEST_BUCKETS, DurationHistogram, Tally
from gateway.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from providers.base import Usage
    from routing.targets import ProviderState, Target

# Creation times double the number of series and nobody asks for them.
disable_created_metrics()  # type: ignore[no-untyped-call]

MULTIPROCESS_DIR = "PROMETHEUS_MULTIPROC_DIR"
OTHER = "other"
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_FIRST_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 2, 4, 8, 15, 30, 60, 120, 300)
_GAP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5, 5, 10, 30)
_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_BREAKER_VALUES = {"closed": 0, "half_open": 1, "open": 2}


class Metrics:
    """The gateway's metrics. Implements the router's `Observer`.

    What every request counts is tallied in plain numbers, since prometheus-client takes a lock for each, and is taken
    in by `settle`: before every scrape, and twice a second for the scrapes that other processes answer.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._define_edge()
        self._define_ai()
        self._define_providers()
        self._define_stores()
        self._define_releases()
        self._define_github()
        self._define_process()
        # Child objects are kept, since looking a label set up costs more than counting it.
        self._tallies: dict[tuple[str | None, str, int], Tally] = {}
        self._attempts_of: dict[tuple[str, str], Counter] = {}
        self._gap_of: dict[str, DurationHistogram] = {}
        self._tokens_of: dict[tuple[str, str], tuple[Counter, Counter, Histogram]] = {}
        self.is_listed: Callable[[str], bool] = lambda _: False

    def _define_edge(self) -> None:
        registry = self.registry
        self.requests = Counter(
            "lunarbit_http_requests_total",
            "HTTP requests answered, by route template, method and status.",
            ("route", "method", "status"),
            registry=registry,
        )
        self.request_duration = DurationHistogram(
            "lunarbit_http_request_duration_seconds",
            "Time from a request's arrival to the last byte of its answer.",
            ("route",),
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        # How many requests are being answered now.
        self.in_flight = 0
        self._in_flight = Gauge(
            "lunarbit_http_requests_in_flight",
            "HTTP requests being answered now.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.client_disconnects = Counter(
            "lunarbit_client_disconnects_total",
            "Clients that left before their answer was complete, by route template.",
            ("route",),
            registry=registry,
        )
        self.rate_limit_refusals = Counter(
            "lunarbit_rate_limit_refusals_total",
            "Requests refused by the gateway's own limits, by scope of the limit.",
            ("scope",),
            registry=registry,
        )

    def _define_stores(self) -> None:
        registry = self.registry
        self.redis_fallbacks = Counter(
            "lunarbit_redis_fallbacks_total",
            "Decisions on limits that this process made by itself because Redis did not answer.",
            registry=registry,
        )
        self.database_up = Gauge(
            "lunarbit_database_up",
            "Whether the last look at the database for changed keys succeeded.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.usage_pending = Gauge(
            "lunarbit_usage_records_pending",
            "Usage records that wait to be written; they grow while the database is away.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.usage_dropped = Counter(
            "lunarbit_usage_records_dropped_total",
            "Usage records given up because too many waited for the database.",
            registry=registry,
        )

    def _define_releases(self) -> None:
        registry = self.registry
        self.builds = Gauge(
            "lunarbit_release_builds",
            "Builds in the catalogue, by state of their verification.",
            ("state",),
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.build_checks = Counter(
            "lunarbit_release_build_checks_total",
            "Checks of builds, by kind (verify, probe) and result.",
            ("kind", "result"),
            registry=registry,
        )
        self.build_check_bytes = Counter(
            "lunarbit_release_build_check_bytes_total",
            "Bytes downloaded in order to verify builds.",
            registry=registry,
        )

    def _define_github(self) -> None:
        registry = self.registry
        self.github_requests = Counter(
            "lunarbit_github_requests_total",
            "Requests to GitHub's API, by result (200, 304, 404, limited, error).",
            ("result",),
            registry=registry,
        )
        self.github_looks = Counter(
            "lunarbit_github_looks_total",
            "Looks at a project or a release on GitHub, by result (ok, problem).",
            ("result",),
            registry=registry,
        )
        self.github_last_look = Gauge(
            "lunarbit_github_last_look_timestamp_seconds",
            "When a look at GitHub last succeeded, in Unix seconds.",
            registry=registry,
            multiprocess_mode="max",
        )
        self.github_releases = Gauge(
            "lunarbit_github_releases",
            "Releases on GitHub, by what became of them (new, skipped, waiting, published, withdrawn).",
            ("state",),
            registry=registry,
            multiprocess_mode="mostrecent",
        )

    def _define_ai(self) -> None:
        registry, per_model = self.registry, ("provider", "model")
        self.first_token = Histogram(
            "lunarbit_ai_time_to_first_token_seconds",
            "Time from a streamed request's start to its first content, failed attempts included.",
            per_model,
            buckets=_FIRST_TOKEN_BUCKETS,
            registry=registry,
        )
        self.chunk_gap = DurationHistogram(
            "lunarbit_ai_inter_chunk_gap_seconds",
            "Time between two writes of streamed content to a client.",
            ("provider",),
            buckets=_GAP_BUCKETS,
            registry=registry,
        )
        self.tokens = Counter(
            "lunarbit_ai_tokens_total",
            "Tokens as reported by providers or estimated, by direction (prompt, completion).",
            (*per_model, "direction"),
            registry=registry,
        )

    def _define_providers(self) -> None:
        registry = self.registry
        self.attempts = Counter(
            "lunarbit_provider_attempts_total",
            "Attempts at providers, by outcome (ok, cancelled, or the kind of failure).",
            ("provider", "outcome"),
            registry=registry,
        )
        self.failovers = Counter(
            "lunarbit_provider_failovers_total",
            "Times that another target was asked because this provider failed.",
            ("provider",),
            registry=registry,
        )
        self.retries = Counter(
            "lunarbit_provider_retries_total",
            "Repeated attempts at the same target.",
            ("provider",),
            registry=registry,
        )
        self.breaker = Gauge(
            "lunarbit_provider_breaker_state",
            "Circuit breaker: 0 closed, 1 half open, 2 open.",
            ("provider",),
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.provider_in_flight = Gauge(
            "lunarbit_provider_requests_in_flight",
            "Requests in flight at the provider.",
            ("provider",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.provider_up = Gauge(
            "lunarbit_provider_up",
            "Whether the provider's last health check succeeded.",
            ("provider",),
            registry=registry,
            multiprocess_mode="livemin",
        )

    def _define_process(self) -> None:
        self.loop_lag = Histogram(
            "lunarbit_event_loop_lag_seconds",
            "How much later than planned the event loop woke a waiting task.",
            buckets=_LAG_BUCKETS,
            registry=self.registry,
        )
        self.log_lines_dropped = Counter(
            "lunarbit_log_lines_dropped_total",
            "Lines of the log that were dropped because standard output did not take them.",
            registry=self.registry,
        )
        self._known_drops = 0
        self.build = Gauge(
            "lunarbit_build_info",
            "Always 1; the labels say which version runs.",
            ("version", "python"),
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        self.build.labels(VERSION, platform.python_version()).set(1)

    def request_finished(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """Count one answered request; `route` is its template, None when no route matched."""
        if method not in _METHODS:
            method = OTHER
        tally = self._tallies.get((route, method, status))
        if tally is None:
            counter = self.requests.labels(route or OTHER, method, str(status))
            tally = Tally(counter, self.request_duration.labels(route or OTHER))
            self._tallies[route, method, status] = tally
        tally.add(seconds)

    def settle(self) -> None:
        """Take in what was tallied since the last time, and set the gauges that are kept as plain numbers."""
        for tally in self._tallies.values():
            tally.settle()
        self._in_flight.set(self.in_flight)
        dropped = logs.dropped_lines()
        self.log_lines_dropped.inc(max(0, dropped - self._known_drops))
        self._known_drops = dropped

    def refused(self, scope: str) -> None:
        """Count a request that one of the gateway's own limits refused."""
        self.rate_limit_refusals.labels(scope).inc()

    def attempt(self, target: Target, outcome: str) -> None:
        """Count one attempt at a provider."""
        key = (target.provider.name, outcome)
        child = self._attempts_of.get(key)
        if child is None:
            child = self._attempts_of[key] = self.attempts.labels(*key)
        child.inc()

    def gaps(self, provider: str, seconds: list[float]) -> None:
        """Take in times between two writes of one stream."""
        child = self._gap_of.get(provider)
        if child is None:
            child = self._gap_of[provider] = self.chunk_gap.labels(provider)
        child.observe_all(_GAP_BUCKETS, seconds)

    def answered(self, target: Target, usage: Usage, ttft_s: float | None) -> None:
        """Count the tokens of an answer and, for a streamed one, its time to first token in seconds.

        A model that stands in no list was made up by a client and is labelled `other`.
        """
        key = (target.provider.name, target.model if self.is_listed(target.model) else OTHER)
        children = self._tokens_of.get(key)
        if children is None:
            prompt, completion = (self.tokens.labels(*key, direction) for direction in ("prompt", "completion"))
            children = self._tokens_of[key] = (prompt, completion, self.first_token.labels(*key))
        children[0].inc(usage.prompt_tokens)
        children[1].inc(usage.completion_tokens)
        if ttft_s is not None:
            children[2].observe(ttft_s)

    def surprised(self, target: Target, error: BaseException) -> None:
        """Log what an adapter raised unplanned; the attempt itself is counted under the exception's type."""
        get_logger().error("provider_raised", provider=target.provider.name, **exception_fields(error))

    def retried(self, target: Target) -> None:
        """Count a repeated attempt."""
        self.retries.labels(target.provider.name).inc()

    def failed_over(self, source: Target, error: BaseException) -> None:  # noqa: ARG002 - attempts say why.
        """Count a move away from `source`."""
        self.failovers.labels(source.provider.name).inc()

    def show_providers(self, providers: list[ProviderState]) -> None:
        """Set the gauges that show the router's present state."""
        for state in providers:
            self.breaker.labels(state.name).set(_BREAKER_VALUES[state.breaker_state()])
            self.provider_in_flight.labels(state.name).set(state.in_flight)
            self.provider_up.labels(state.name).set(1 if state.healthy else 0)

    def build_checked(self, kind: str, result: str) -> None:
        """Count one check of a build."""
        self.build_checks.labels(kind, result).inc()

    def build_downloaded(self, size: int) -> None:
        """Count bytes that a verification has downloaded."""
        self.build_check_bytes.inc(size)

    def show_builds(self, counts: dict[str, int]) -> None:
        """Set the gauge of builds; `counts` has every state."""
        for state, count in counts.items():
            self.builds.labels(state).set(count)

    def github_looked(self, *, is_good: bool) -> None:
        """Count one look at GitHub."""
        self.github_looks.labels("ok" if is_good else "problem").inc()
        if is_good:
            self.github_last_look.set_to_current_time()

    def github_states(self, counts: dict[str, int]) -> None:
        """Set the gauge of releases; `counts` has every state."""
        for state, count in counts.items():
            self.github_releases.labels(state).set(count)

    def github_asked(self, result: str) -> None:
        """Count one request to GitHub."""
        self.github_requests.labels(result).inc()

    def exposition(self) -> bytes:
        """Return the metrics in Prometheus' text format; with several workers, those of all of them."""
        self.settle()
        if MULTIPROCESS_DIR not in os.environ:
            return generate_latest(self.registry)
        _forget_dead_workers(Path(os.environ[MULTIPROCESS_DIR]))
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def _forget_dead_workers(folder: Path) -> None:
    """Remove the live gauges of workers that have died: what they had in flight is in flight no more."""
    if sys.platform == "win32":
        return
    for file in folder.glob("gauge_live*.db"):
        try:
            os.kill(int(file.stem.rpartition("_")[2]), 0)
        except ProcessLookupError:
            file.unlink(missing_ok=True)
        except PermissionError:
            continue
