"""The TCP connections of this process, of which the gateway under test has most. Linux only."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

_OPEN_FILES = Path("/proc/self/fd")
BUFFER_BYTES = 65_536

needs_list_of_sockets = pytest.mark.skipif(not _OPEN_FILES.is_dir(), reason="needs Linux's list of open files")


def connections(*, local: int | None = None, remote: int | None = None) -> Iterator[socket.socket]:
    """Give a handle on every connection from the port `local` or to the port `remote`, whatever loop it belongs to."""
    for entry in _OPEN_FILES.iterdir():
        try:
            copy = os.dup(int(entry.name))
        except OSError:
            continue
        try:
            sock = socket.socket(fileno=copy)
        except OSError:
            os.close(copy)
            continue
        with sock:
            if _is_between(sock, local, remote):
                yield sock


def _is_between(sock: socket.socket, local: int | None, remote: int | None) -> bool:
    try:
        peer = sock.getpeername()
    except OSError:
        return False
    is_tcp = sock.family == socket.AF_INET and sock.type == socket.SOCK_STREAM
    return is_tcp and (sock.getsockname()[1] == local or peer[1] == remote)


def shrink_buffers(port: int) -> None:
    """Keep the kernel from holding more than about 128 KiB in each direction of the connections to and from `port`.

    Left to itself it takes up tens of megabytes, and a test of a slow reader would have to send that much first.
    """
    for sock in connections(local=port, remote=port):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
