"""A lane: a queue of transactions and the tasks that own the connections they run on.

Whoever waits for a transaction may be cancelled; the transaction is not, because a cancelled operation can leave its
connection with another request's answer.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from gateway.errors import StorageUnavailable
from gateway.storage.failures import is_outage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from gateway.storage.failures import Complaints

T = TypeVar("T")

MOST_WAITING = 1000
_CANCEL_S = 1.0


class Slow(Exception):
    """A transaction took longer than its caller waits, or there were too many before it."""


class _Job(Generic[T]):
    """One transaction: `done` is resolved when it is over. `given_up` says that its caller was told that it failed."""

    __slots__ = ("done", "given_up", "work")

    def __init__(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> None:
        self.work = work
        self.done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.given_up = False
        # asyncio would log an error that nobody fetched, as when the caller is gone.
        self.done.add_done_callback(lambda done: done.cancelled() or done.exception())


class Lane:
    """Runs transactions on `engine`, up to `width` at once and in the order in which they came.

    `verify` is asked before each commit and raises when the store is not what it was; `writing` says what the lane is
    for. Must be made in the event loop that it works in.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        width: int,
        *,
        writing: bool,
        verify: Callable[[], Awaitable[None]],
        complaints: Complaints,
    ) -> None:
        self._engine = engine
        self._writing = writing
        self._verify = verify
        self._complaints = complaints
        self._queue: asyncio.Queue[_Job[Any]] = asyncio.Queue(MOST_WAITING)
        self._owners = [asyncio.create_task(self._own_a_connection()) for _ in range(width)]

    async def run(self, work: Callable[[AsyncConnection], Awaitable[T]], patience_s: float) -> T:
        """Run `work` in a transaction and return what it returns, once that is committed.

        Raises `StorageUnavailable` for an outage, when `patience_s` is over, and at once when `MOST_WAITING` wait
        already; everything else that `work` raises passes through, and the transaction is rolled back. After the
        patience is over nothing is committed any more, unless the commit was on its way already.
        """
        job = _Job(work)
        try:
            self._queue.put_nowait(job)
        except asyncio.QueueFull:
            raise self._complaints.unavailable(Slow()) from None
        await asyncio.wait({job.done}, timeout=patience_s)
        if not job.done.done():
            job.given_up = True
            raise self._complaints.unavailable(Slow())
        return job.done.result()

    async def close(self, within_s: float) -> None:
        """Finish what waits, for at most `within_s`, and stop."""
        finished = asyncio.ensure_future(self._queue.join())
        await asyncio.wait({finished}, timeout=within_s)
        for task in (finished, *self._owners):
            task.cancel()
        await asyncio.wait({finished, *self._owners}, timeout=_CANCEL_S)

    async def _own_a_connection(self) -> None:
        while True:
            job = await self._queue.get()
            try:
                if not job.given_up:
                    job.done.set_result(await self._transact(job))
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    job.done.set_exception(self._complaints.unavailable(Slow()))
                    raise
                # What `work` waited for was cancelled, and not this task, which others need.
                job.done.set_exception(error)
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets it.
                job.done.set_exception(error)
            finally:
                self._queue.task_done()

    async def _transact(self, job: _Job[T]) -> T:
        async with AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(self._engine.connect())
            except (SQLAlchemyError, OSError) as error:
                raise self._complaints.unavailable(error) from error
            try:
                async with connection.begin():
                    result = await job.work(connection)
                    await self._verify()
                    if job.given_up:
                        raise Slow  # noqa: TRY301 - it has to leave the transaction, so that nothing is committed.
            except Exception as error:
                outage = await self._as_outage(error)
                if outage is None:
                    raise
                # The next transaction gets a connection that has no past.
                await connection.invalidate()
                raise outage from error
        return result

    async def _as_outage(self, error: Exception) -> StorageUnavailable | None:
        if is_outage(error, writing=self._writing):
            return self._complaints.unavailable(error)
        if isinstance(error, SQLAlchemyError):
            # A file that was emptied or exchanged also shows as an error of the statement.
            try:
                await self._verify()
            except OSError as changed:
                return self._complaints.unavailable(changed)
        return None
