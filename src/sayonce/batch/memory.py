"""The line of a gateway without Redis: in its own memory, and worked on by itself."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sayonce.batch.contract import Line, Speak


class MemoryLine(Line):
    """Works on what waits as soon as there is something, on at most `at_once` uses at a time."""

    def __init__(self, speak: Speak, at_once: int) -> None:
        super().__init__()
        self._speak = speak
        self._at_once = at_once
        self._waiting: deque[int] = deque()
        self._known: set[int] = set()
        self._workers: set[asyncio.Task[None]] = set()

    async def add(self, ids: Sequence[int]) -> bool:
        fresh = [use for use in dict.fromkeys(ids) if use not in self._known]
        self._known.update(fresh)
        self._waiting.extend(fresh)
        for _ in range(min(len(self._waiting), self._at_once - len(self._workers))):
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        return True

    def at_work(self) -> bool:
        return bool(self._workers)

    @asynccontextmanager
    async def worked(self, speak: Speak, at_once: int, patience: float) -> AsyncIterator[None]:
        yield  # it always is

    async def aclose(self) -> None:
        self._waiting.clear()
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()  # what flies lands all the same
        await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self) -> None:
        while self._waiting:
            use = self._waiting.popleft()
            try:
                await self._speak(use)
            finally:
                self._known.discard(use)
