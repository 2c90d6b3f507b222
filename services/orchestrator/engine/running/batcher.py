"""Turns concurrent requests into batches: group commit, and group reading."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Final, Generic, TypeVar

BATCH_MAX: Final = 100

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """While one batch is worked on, the next one gathers; nothing runs while there are no requests.

    `work` returns one answer per item, in order; an answer that is an exception is raised to its caller. If `work`
    itself raises, the items are tried one by one, so that one bad item does not fail the others. It runs without the
    context of a request: what it logs of one item must not carry the ids of another's.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Awaitable[Sequence[Answer | Exception]]]) -> None:
        """Take the work; it gets `BATCH_MAX` items at most."""
        self._work = work
        self._queue: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._working: asyncio.Task[None] | None = None

    async def ask(self, item: Item) -> Answer:
        """Have an item worked on in the next batch, and return its answer."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue.append((item, future))
        if self._working is None:
            self._working = asyncio.create_task(self._run(), name="batcher", context=Context())
        return await future

    async def _run(self) -> None:
        try:
            while self._queue:
                batch, self._queue = self._queue[:BATCH_MAX], self._queue[BATCH_MAX:]
                await self._answer(batch)
        finally:
            self._working = None

    async def _answer(self, batch: Sequence[tuple[Item, "asyncio.Future[Answer]"]]) -> None:
        try:
            answers = await self._work([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - it belongs to whoever asked, not to this task
            if len(batch) == 1:
                _fail(batch[0][1], error)
                return
            for entry in batch:
                await self._answer([entry])
            return
        except BaseException as error:
            for _, future in batch:
                _fail(future, error)
            raise
        for (_, future), answer in zip(batch, answers, strict=True):
            if isinstance(answer, Exception):
                _fail(future, answer)
            elif not future.done():
                future.set_result(answer)


def _fail(future: "asyncio.Future[Answer]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
