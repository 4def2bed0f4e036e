"""A real PostgreSQL for tests: on its own port of loopback, in its own folder, and gone when the tests are.

A package's conftest gets the fixtures with `from tests.services.postgres import postgres, postgres_url` and names them
in `__all__`.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.architecture.installation import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

START_LIMIT_S = 60.0
STOP_LIMIT_S = 60.0
USER = "tester"
# The password needs every kind of quoting that an address can need.
PASSWORD = "s3cret/@:?#% pass"
_QUOTED_PASSWORD = "s3cret%2F%40%3A%3F%23%25%20pass"
_DEBIAN = Path("/usr/lib/postgresql")
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "on",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "max_wal_size": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    "log_min_messages": "fatal",
}
# Waits until the tests are gone, whatever ended them; then stops the server and removes its folder.
_WATCH = """
cat >/dev/null
kill -INT "$0"
for _ in $(seq 300); do [ -e "$1/data/postmaster.pid" ] || break; sleep 0.1; done
rm -rf -- "$1"
"""
_STASH = pytest.StashKey["PostgresServer"]()


class PostgresServer:
    """A server of its own. `start` after `stop` or `kill` brings it back with the same data on the same port."""

    def __init__(self) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="lunarbit-pg-"))
        self._data = self._root / "data"
        self.port = free_port()
        self._databases = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None
        # The server refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            os.chown(self._root, account.pw_uid, account.pw_gid)
        password_file = self._root / "password"
        password_file.write_text(PASSWORD)
        if self._user is not None:
            shutil.chown(password_file, self._user)
        self._run(
            *(tool("initdb"), "--no-sync", "--auth=scram-sha-256", f"--username={USER}", f"--pwfile={password_file}"),
            *("--encoding=UTF8", "--locale=C.UTF-8", f"--pgdata={self._data}"),
        )

    @property
    def running(self) -> bool:
        """Whether the server was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The postmaster, whose children serve one connection each."""
        assert self._process is not None, "PostgreSQL was not started"
        return self._process.pid

    def start(self) -> None:
        """Start, and wait until connections are accepted."""
        settings = {**_SETTINGS, "port": str(self.port), "unix_socket_directories": str(self._root)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [tool("postgres"), "-D", str(self._data), *options],
                cwd=self._root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self._user,
                group=self._user,
                extra_groups=None if self._user is None else [],
            )
        self._watch = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, str(self._process.pid), str(self._root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        give_up = time.monotonic() + START_LIMIT_S
        ready = [tool("pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={self.port}"]
        while subprocess.run(ready, check=False).returncode != 0:
            if not self.running or time.monotonic() > give_up:
                raise AssertionError("PostgreSQL did not start:\n" + (self._root / "log").read_text(errors="replace"))
            time.sleep(0.05)

    def stop(self) -> None:
        """Cut every connection and stop in order (the server's fast shutdown)."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End the server at once without any tidying up, as a crash would (the server's immediate shutdown)."""
        self._end(signal.SIGQUIT)

    def restart(self) -> None:
        """Stop, and start again."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop for good, and remove every file."""
        self.stop()
        shutil.rmtree(self._root, ignore_errors=True)

    def new_database(self) -> str:
        """Make an empty database and return its address."""
        self._databases += 1
        name = f"lunarbit_{self._databases}_{secrets.token_hex(4)}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database, whoever uses it."""
        self.sql(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    def url(self, name: str) -> str:
        """Return the address of a database."""
        return f"postgresql://{USER}:{_QUOTED_PASSWORD}@127.0.0.1:{self.port}/{name}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement from outside and return what it printed."""
        return self.client("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", f"--dbname={database}", "-c", statement)

    def client(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's client programs and return what it printed."""
        environment = {"PGPASSWORD": PASSWORD, "PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": USER}
        done = subprocess.run(
            [tool(program), *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{program}: {done.stderr}"
        return done.stdout.strip()

    def _end(self, sent: signal.Signals) -> None:
        if self._watch is not None:
            self._watch.kill()
            self._watch.communicate()
            self._watch = None
        if self._process is not None:
            self._process.send_signal(sent)
            try:
                self._process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            command,
            cwd=self._root,
            capture_output=True,
            text=True,
            check=False,
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else [],
        )
        assert done.returncode == 0, done.stdout + done.stderr


def tool(name: str) -> str:
    """Return the path of one of PostgreSQL's programs; Debian keeps most of them outside PATH."""
    versions = sorted(_DEBIAN.glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    found = str(versions[-1]) if versions else shutil.which(name)
    if found is None:
        pytest.fail(f"{name} of PostgreSQL is missing; scripts/test --install installs it", pytrace=False)
    return found


def _server_of(config: pytest.Config) -> PostgresServer:
    """Return the one server of the session, however many conftests import the fixtures, and start it if need be."""
    if _STASH not in config.stash:
        server = PostgresServer()
        config.stash[_STASH] = server
        config.add_cleanup(server.close)
    server = config.stash[_STASH]
    if not server.running:
        server.start()
    return server


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> PostgresServer:
    """Give the session's server."""
    return _server_of(pytestconfig)


@pytest.fixture
def postgres_url(postgres: PostgresServer, pytestconfig: pytest.Config) -> Iterator[str]:
    """Make an empty database for one test, on a server that runs even if the test before has stopped it."""
    url = _server_of(pytestconfig).new_database()
    yield url
    _server_of(pytestconfig).drop_database(url)
