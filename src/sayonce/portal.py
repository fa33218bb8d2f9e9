"""An event loop in a thread of its own, for callers that do not await.

Any number of threads call through one portal; each call is a task of its loop. A thread in which an event loop runs
is refused: it would stand still, and with it whatever else runs there.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar

from sayonce.errors import ClientMisused

T = TypeVar("T")
P = ParamSpec("P")

_END: Any = object()


class _Room(NamedTuple):
    """Where calls are made: the loop, what ends it, its thread and the process it was started in."""

    loop: asyncio.AbstractEventLoop
    leave: asyncio.Event
    thread: threading.Thread
    process: int


class Portal:
    """Starts its thread at the first call. Errors of its own are ClientMisused: it was closed, or the process forked
    since, or the calling thread runs an event loop."""

    def __init__(self) -> None:
        # What is dropped may be closed in the middle of anything, also of a call in the same thread.
        self._guard = threading.RLock()
        self._room: _Room | None = None
        self._under_way: set[Future[Any]] = set()
        self._closed = False

    def run(self, call: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the call gives, or raises. Whoever is interrupted while waiting has it cancelled."""
        _refuse_loops()
        return self._awaited(self._begun(call, *args, **kwargs))

    def iterate(self, stream: AsyncGenerator[T, None]) -> Iterator[T]:
        """The stream's items as they come. Closing the iterator early, or dropping it, closes the stream."""
        _refuse_loops()
        return self._iterated(_Reading(stream))

    def close(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Cancels what is under way, makes the last call and ends the thread. Doing so again does nothing."""
        room = self._room
        if room is not None and room.process != os.getpid():
            return  # it is the parent's to close
        with self._guard:
            if self._closed:
                return
            self._closed, room = True, self._room
        for future in tuple(self._under_way):
            future.cancel()
        if room is not None:
            try:
                asyncio.run_coroutine_threadsafe(last(), room.loop).result()
            finally:
                room.loop.call_soon_threadsafe(room.leave.set)
                room.thread.join()

    def _iterated(self, reading: _Reading[T]) -> Iterator[T]:
        try:
            while (item := self.run(reading.step)) is not _END:
                yield item
        finally:
            self._abandon(reading)

    def _abandon(self, reading: _Reading[T]) -> None:
        try:
            closing = self._begun(reading.close)
        except ClientMisused:
            return  # there is nothing left to close
        # Garbage may be collected in any thread, also in one that must not wait.
        if not _runs_a_loop():
            self._awaited(closing)

    def _begun(self, call: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        room = self._room
        if room is not None and room.process != os.getpid():  # and then the guard may never be free again
            raise ClientMisused(
                "This client was at work before the process forked.", remedy="Make another one after the fork."
            )
        with self._guard:
            if self._closed:
                raise _closed()
            if self._room is None:
                self._room = _opened()
                weakref.finalize(self, _release, self._room).atexit = False
            begun = asyncio.run_coroutine_threadsafe(call(*args, **kwargs), self._room.loop)
            self._under_way.add(begun)
        begun.add_done_callback(self._under_way.discard)
        return begun

    def _awaited(self, future: Future[T]) -> T:
        try:
            return future.result()
        except CancelledError:
            if self._closed:
                raise _closed() from None
            raise
        finally:
            future.cancel()  # of what is done nothing is left to cancel


class _Reading(Generic[T]):
    """A stream that is read step by step, and not closed in the middle of one."""

    def __init__(self, stream: AsyncGenerator[T, None]) -> None:
        self._stream = stream
        self._turn = asyncio.Lock()

    async def step(self) -> T:
        async with self._turn:
            return await anext(self._stream, _END)

    async def close(self) -> None:
        async with self._turn:
            await self._stream.aclose()


def _opened() -> _Room:
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = threading.Thread(target=asyncio.run, args=(_stay(ready),), name="sayonce-portal", daemon=True)
    thread.start()
    return _Room(*ready.result(), thread, os.getpid())


async def _stay(ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    leave = asyncio.Event()
    ready.set_result((asyncio.get_running_loop(), leave))
    await leave.wait()  # what is under way then is cancelled


def _release(room: _Room) -> None:
    """Ends the thread of a portal that nobody closed, and nobody has any more."""
    if room.process == os.getpid() and not room.loop.is_closed():
        room.loop.call_soon_threadsafe(room.leave.set)


def _runs_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _closed() -> ClientMisused:
    return ClientMisused("This client is closed.", remedy="Make another one.")


def _refuse_loops() -> None:
    if _runs_a_loop():
        raise ClientMisused(
            "A client that does not await would block the event loop of this thread.",
            remedy="Use Client or EmbeddedClient here, or asyncio.to_thread.",
        )
