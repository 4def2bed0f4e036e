"""Latencies are measured in virtual time too."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest


def _perf_counter() -> float:
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return time.perf_counter()


@pytest.fixture(autouse=True)
def measured_by_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the modules that measure latencies read the running loop's clock."""
    clock = SimpleNamespace(perf_counter=_perf_counter, monotonic=time.monotonic)
    monkeypatch.setattr("routing.stream.time", clock)
    monkeypatch.setattr("routing.whole.time", clock)
