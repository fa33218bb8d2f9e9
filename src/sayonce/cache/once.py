"""One run at a time of the same work, shared by all who ask for it meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """Work by key. Whoever asks while it runs waits for the same result or error; leaving cancels nothing."""

    def __init__(self) -> None:
        self._running: dict[bytes, asyncio.Task[T]] = {}

    async def run(self, key: bytes, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of the work that runs under `key`, started if none does."""
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(work())
            task.add_done_callback(lambda done: self._finish(key, done))
        return await asyncio.shield(task)

    def _finish(self, key: bytes, done: asyncio.Task[T]) -> None:
        del self._running[key]
        if not done.cancelled():
            done.exception()  # Those who asked may all have left; then nobody else looks at it.
