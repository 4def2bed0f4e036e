"""The figures of the table: how each is taken from the trials, and its targets."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.servers import BARE, DIRECT, LITELLM

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.load import Measured
    from benchmarks.trial import Trial

CHUNKS_PER_STREAM_S: Final = 10.0


class Results:
    """All trials of a run, found by server and round."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        """Index the trials."""
        self.trials = list(trials)
        self._index = {(trial.server, trial.round): trial for trial in trials}

    def of(self, server: str) -> list[Trial]:
        """Return the trials of one server."""
        return [trial for trial in self.trials if trial.server == server]

    def value(self, figure: Figure, server: str) -> float | None:
        """Return the median (or worst) of the rounds; a ratio or a difference is taken within each round first."""
        values = [value for trial in self.of(server) if (value := figure.take(self, trial)) is not None]
        return figure.pick(values) if values else None

    def same_round(self, trial: Trial, server: str) -> Trial | None:
        """Return another server's trial in the same round."""
        return self._index.get((server, trial.round))


@dataclass(frozen=True)
class Target:
    """An upper limit (a lower one with `at_least`) on the gateway's figure."""

    limit: float
    text: str
    at_least: bool = False

    def reached(self, value: float) -> bool:
        """Whether the figure keeps to the limit."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True)
class Figure:
    """One row of the table."""

    title: str
    take: Callable[[Results, Trial], float | None]
    form: str
    first: Target | None = None
    final: Target | None = None
    pick: Callable[[Sequence[float]], float] = statistics.median


def unary_cpu(_: Results, trial: Trial) -> float | None:
    """CPU microseconds of the server per unary request."""
    phase = trial.unary
    return 1e6 * phase.cpu_s / phase.requests if phase and phase.requests and phase.cpu_s else None


def chunk_cpu(_: Results, trial: Trial) -> float | None:
    """CPU microseconds of the server per content chunk; opening and closing the stream is shared by its 64 chunks."""
    phase = trial.stream
    return 1e6 * phase.cpu_s / phase.chunks if phase and phase.chunks and phase.cpu_s else None


def ratio(take: Callable[[Results, Trial], float | None], base: str) -> Callable[[Results, Trial], float | None]:
    """Return the figure divided by the base server's in the same round."""

    def divided(results: Results, trial: Trial) -> float | None:
        other = results.same_round(trial, base)
        value, divisor = take(results, trial), None if other is None else take(results, other)
        return value / divisor if value is not None and divisor else None

    return divided


def added(take: Callable[[Trial], float | None]) -> Callable[[Results, Trial], float | None]:
    """Return the figure minus the direct one of the same round; for `direct` itself the absolute figure."""

    def difference(results: Results, trial: Trial) -> float | None:
        value = take(trial)
        if trial.server == DIRECT.name or value is None:
            return value
        other = results.same_round(trial, DIRECT.name)
        base = None if other is None else take(other)
        return None if base is None else value - base

    return difference


def of_phase(name: str, attribute: str) -> Callable[[Trial], float | None]:
    """Return a reader for one attribute of one phase."""

    def read(trial: Trial) -> float | None:
        phase: Measured | None = getattr(trial, name)
        value: float | None = None if phase is None else getattr(phase, attribute)
        return value

    return read


def per_second(name: str, attribute: str) -> Callable[[Results, Trial], float | None]:
    """Return how many of something a phase did per second."""
    read = of_phase(name, attribute)

    def rate(_: Results, trial: Trial) -> float | None:
        phase: Measured | None = getattr(trial, name)
        value = read(trial)
        return None if phase is None or value is None else value / phase.window_s

    return rate


def open_pace(_: Results, trial: Trial) -> float | None:
    """Chunks received while all streams were open, in percent of those due."""
    phase = trial.open
    if phase is None or not phase.open_streams:
        return None
    return 100 * phase.chunks / (phase.open_streams * CHUNKS_PER_STREAM_S * phase.window_s)


def open_errors(_: Results, trial: Trial) -> float | None:
    """Failed streams in the test of many open streams."""
    return None if trial.open is None else float(sum(trial.open.errors.values()))


def open_streams(_: Results, trial: Trial) -> float | None:
    """Streams open at the end of the measured window."""
    return None if trial.open is None else float(trial.open.open_streams)


def open_cpu(_: Results, trial: Trial) -> float | None:
    """The server's share of its core with all streams open, in percent."""
    phase = trial.open
    return 100 * phase.cpu_s / phase.window_s if phase and phase.cpu_s else None


def idle_mb(_: Results, trial: Trial) -> float | None:
    """Resident memory before the first request."""
    return trial.idle_rss_bytes / 1e6 if trial.idle_rss_bytes else None


def stream_kb(_: Results, trial: Trial) -> float | None:
    """Growth of resident memory since the idle state, divided by the open streams: an upper bound."""
    phase = trial.open
    if phase is None or not phase.open_streams or not trial.idle_rss_bytes:
        return None
    return (phase.rss_bytes - trial.idle_rss_bytes) / phase.open_streams / 1e3


def load_core(_: Results, trial: Trial) -> float | None:
    """The busiest phase of the load core: load generator and upstream together, in percent."""
    shares = [100 * (phase.load_share + phase.upstream_share) for phase in trial.phases()]
    return max(shares) if shares else None


def other_work(_: Results, trial: Trial) -> float | None:
    """Other people's work on the server's core in the most disturbed phase, in percent of the core."""
    shares = [100 * phase.other_share for phase in trial.phases()]
    return max(shares) if shares else None


def checked(_: Results, trial: Trial) -> float | None:
    """Answers checked in one round."""
    return float(sum(phase.checked for phase in trial.phases())) if trial.phases() else None


def errors(_: Results, trial: Trial) -> float | None:
    """Failed or wrong answers in one round."""
    return float(sum(sum(phase.errors.values()) for phase in trial.phases())) if trial.phases() else None


def figures(streams: int) -> list[Figure]:
    """Return the rows of the table for a test with this many open streams."""
    bare, lite = BARE.name, LITELLM.name
    return [
        Figure("CPU per unary request, us", unary_cpu, ".0f"),
        Figure("- ratio to bare", ratio(unary_cpu, bare), ".2f", Target(2.0, "<= 2.0"), Target(1.1, "<= 1.1")),
        Figure("- ratio to LiteLLM", ratio(unary_cpu, lite), ".4f", Target(1 / 25, "<= 1/25 (0.04)")),
        Figure("CPU per streamed chunk, us", chunk_cpu, ".1f"),
        Figure("- ratio to bare", ratio(chunk_cpu, bare), ".2f", Target(1.4, "<= 1.4"), Target(1.0, "<= 1.0")),
        Figure("- ratio to LiteLLM", ratio(chunk_cpu, lite), ".4f", Target(1 / 15, "<= 1/15 (0.067)")),
        *_latency_figures(),
        Figure(
            f"{streams} open streams at 10 chunks/s: open",
            open_streams,
            ".0f",
            Target(streams, f">= {streams}", at_least=True),
            pick=min,
        ),
        Figure("- failed streams, worst round", open_errors, ".0f", Target(0, "0"), Target(0, "0"), pick=max),
        Figure("- chunks in time, %", open_pace, ".1f", Target(99, ">= 99", at_least=True)),
        Figure("- added inter-chunk p99, ms", added(of_phase("open", "gap_p99_ms")), ".1f", None, Target(25, "<= 25")),
        Figure("- server's core, %", open_cpu, ".0f"),
        Figure("- memory per open stream, KB", stream_kb, ".0f", None, Target(60, "<= 60")),
        Figure("memory idle, MB", idle_mb, ".0f", Target(110, "<= 110"), Target(110, "<= 110")),
        Figure("start until ready, s", lambda _, trial: trial.start_s, ".2f", Target(2, "<= 2"), Target(1, "<= 1")),
        Figure("requests/s, closed loop", per_second("unary", "requests"), ".0f"),
        Figure("chunks/s, closed loop", per_second("stream", "chunks"), ".0f"),
        Figure("load core at most, %", load_core, ".0f"),
        Figure("other work on the server's core at most, %", other_work, ".0f", pick=max),
        Figure("answers checked per round", checked, ".0f"),
        Figure("errors, worst round", errors, ".0f", Target(0, "0"), Target(0, "0"), pick=max),
    ]


def _latency_figures() -> list[Figure]:
    unary, first = "unary_latency", "stream_latency"
    return [
        Figure("added unary latency p50, ms", added(of_phase(unary, "p50_ms")), ".2f", *_ms(1.0, 0.4)),
        Figure("added unary latency p99, ms", added(of_phase(unary, "p99_ms")), ".2f", *_ms(3.0, 1.5)),
        Figure("added time to first token p50, ms", added(of_phase(first, "first_p50_ms")), ".2f", *_ms(1.0, 0.5)),
        Figure("added time to first token p99, ms", added(of_phase(first, "first_p99_ms")), ".2f", *_ms(4.0, 2.0)),
    ]


def _ms(first: float, final: float) -> tuple[Target, Target]:
    return Target(first, f"<= {first}"), Target(final, f"<= {final}")
