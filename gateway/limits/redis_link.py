"""The gateway's connection to Redis, which nobody has to wait for: when Redis does not answer, it is left alone."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from gateway.observability.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from redis.commands.core import AsyncScript

PATIENCE_S: Final = 0.5
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 5.0
_LOG_EVERY_S: Final = 60.0
_CONNECTIONS: Final = 32
# Longer than anybody waits: an answer that comes late still says what Redis did, which can then be undone.
_ANSWER_S: Final = 10.0
_CLOSE_S: Final = 2.0

T = TypeVar("T")


class RedisLink:
    """One client of Redis, and whether it is worth asking. Whoever makes a link closes it, after those who use it.

    After a failure Redis is not asked for 1 s, then 2 s and so on up to 5 s; then one question goes out, and when it
    is answered all others follow. A question is never cancelled, because that would leave its answer in the connection
    for somebody else: it runs in a task of its own, and who asked waits for that at most `patience_s`.

    `on_fallback` is called for each answer that is given without Redis.
    """

    def __init__(self, url: str, on_fallback: Callable[[], None], *, patience_s: float = PATIENCE_S) -> None:
        # A gateway without Redis does not need the library.
        from redis.asyncio import BlockingConnectionPool, Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=patience_s,
            socket_connect_timeout=patience_s,
            socket_timeout=_ANSWER_S,
            socket_keepalive=True,
            # What was asked twice may have been counted twice.
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        self.on_fallback = on_fallback
        self._client = Redis.from_pool(pool)
        self._address = _shown(url)
        self._patience_s = patience_s
        self._scripts: dict[str, AsyncScript] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._failing = False
        self._pause_s = _FIRST_PAUSE_S
        self._ask_again_at = 0.0
        self._logged_at: float | None = None
        self._told = False

    def ready(self) -> bool:
        """Say whether to ask now. While Redis fails, that is true for one question at a time, which has to be asked."""
        if self._closed or not self._failing:
            return not self._closed
        now = time.monotonic()
        if now < self._ask_again_at:
            return False
        self._ask_again_at = now + 2 * self._patience_s
        return True

    async def ask(
        self, operation: Callable[[], Coroutine[Any, Any, T]], unclaimed: Callable[[T], None] | None = None
    ) -> T | None:
        """Return what `operation` returns, None if it fails or takes too long. Ask `ready` before.

        `unclaimed` gets an answer that comes when nobody waits for it any more.
        """
        was_failing = self._failing
        task = asyncio.get_running_loop().create_task(operation())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        in_time = False
        try:
            await asyncio.wait({task}, timeout=self._patience_s)
            in_time = task.done()
        finally:
            if not in_time and unclaimed is not None:
                task.add_done_callback(lambda late: _pass_on(late, unclaimed))
        error = TimeoutError() if not in_time else task.exception()
        if error is None:
            self._succeeded()
            return task.result()
        self._failed(error, was_failing=was_failing)
        return None

    async def evaluate(self, script: str, keys: Sequence[str], arguments: Sequence[int | str]) -> list[int]:
        """Run a script, which Redis keeps from the second time on. Raises what the library raises."""
        found = self._scripts.get(script)
        if found is None:
            found = self._scripts[script] = self._client.register_script(script)
        answer: list[int] = await found(keys=keys, args=arguments)
        return answer

    async def aclose(self) -> None:
        """Wait at most two seconds for what is under way, and close the connections."""
        self._closed = True
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=_CLOSE_S)
        await self._client.aclose()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=_CLOSE_S)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Asked for, so that asyncio does not report an error that nobody waited for.
            task.exception()

    def _succeeded(self) -> None:
        self._failing = False
        self._pause_s = _FIRST_PAUSE_S
        if self._told:
            self._told = False
            get_logger().info("redis_available", redis=self._address)

    def _failed(self, error: BaseException, *, was_failing: bool) -> None:
        """Leave Redis alone for a while. Of many questions that fail together only the first counts."""
        now = time.monotonic()
        if self._failing and not was_failing:
            return
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S) if self._failing else _FIRST_PAUSE_S
        self._failing = True
        self._ask_again_at = now + self._pause_s
        if self._logged_at is None or now >= self._logged_at + _LOG_EVERY_S:
            self._logged_at = now
            self._told = True
            get_logger().warning(
                "redis_unavailable",
                redis=self._address,
                error_type=type(error).__qualname__,
                hint="each process limits by itself until Redis answers again",
            )


def _pass_on(task: asyncio.Task[T], unclaimed: Callable[[T], None]) -> None:
    if not task.cancelled() and task.exception() is None:
        unclaimed(task.result())


def _shown(url: str) -> str:
    """Return the address without user, password and options, as it may stand in a log."""
    parts = urlsplit(url)
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
