"""What every test gets: sockets that reach only this machine, and property tests that repeat exactly."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings
from pytest_socket import socket_allow_hosts

LOOPBACK = ["127.0.0.1", "::1", "localhost"]

# A deadline per example would make the result depend on how busy the machine is.
settings.register_profile("ci", derandomize=True, max_examples=100, deadline=None)
settings.register_profile("full", derandomize=True, max_examples=1000, deadline=None)
settings.load_profile("full" if os.environ.get("LUNARBIT_TEST_FULL") == "1" else "ci")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse connections that leave the machine; pytest-socket lifts this again after each test."""
    if item.get_closest_marker("real") is None:
        socket_allow_hosts(LOOPBACK, allow_unix_socket=True)
