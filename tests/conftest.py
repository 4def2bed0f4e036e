"""What every test gets: sockets that reach only this machine, and property tests that repeat exactly."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator

import pytest
from hypothesis import settings
from pytest_socket import socket_allow_hosts
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]  # It has types, and does not say so.

INSTALLING = "tests/architecture"
LOOPBACK = ["127.0.0.1", "::1", "localhost"]

# A deadline per example would make the result depend on how busy the machine is.
settings.register_profile("ci", derandomize=True, max_examples=100, deadline=None)
settings.register_profile("full", derandomize=True, max_examples=1000, deadline=None)
settings.load_profile("full" if os.environ.get("LUNARBIT_TEST_FULL") == "1" else "ci")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse connections that leave the machine; pytest-socket lifts this again after each test."""
    if item.get_closest_marker("real") is None:
        socket_allow_hosts(LOOPBACK, allow_unix_socket=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take long first: processes that share the work must not have one of them left for the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)


class _ByFile(LoadFileScheduling):  # type: ignore[misc]
    """Gives the tests of a file to one process, so that they share what is started for them."""

    def _split_scope(self, nodeid: str) -> str:
        """Return what must stay together: a file, or the folder whose files share an installation."""
        return INSTALLING if nodeid.startswith(f"{INSTALLING}/") else str(super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _ByFile | None:
    """Share the work out as above, unless another way is asked for."""
    return _ByFile(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests have measured: each `record_property("figure", ...)`, whichever process ran it."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    figures = [value for report in reports for name, value in report.user_properties if name == "figure"]
    if figures:
        terminalreporter.section("figures")
    for figure in figures:
        terminalreporter.line(str(figure))


@pytest.fixture(autouse=True, scope="session")
def _no_public_authorities() -> Iterator[None]:
    """Leave the system's certificates unread, which takes longer than the rest of a gateway's start.

    No test reaches a server that has a certificate of a public authority.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl.SSLContext, "load_default_certs", lambda *_: None)
        yield
