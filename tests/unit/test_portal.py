"""Calls into an event loop of another thread: what is interrupted, dropped or closed leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import pytest

from sayonce.errors import ClientMisused
from sayonce.portal import Portal
from sayonce.testing.waiting import until

T = TypeVar("T")


class Stream:
    """Numbers for ever; knows whether it was closed, which it may be held back from."""

    def __init__(self) -> None:
        self.closed, self.may_close = threading.Event(), threading.Event()
        self.may_close.set()

    async def numbers(self) -> AsyncGenerator[int, None]:
        try:
            number = 0
            while True:
                yield number
                number += 1
                await asyncio.sleep(0)
        finally:
            await asyncio.to_thread(self.may_close.wait, 10)
            self.closed.set()


async def nothing() -> None:
    """The last call of a portal that has nothing to free."""


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "sayonce-portal"]


async def test_a_portal_that_is_dropped_ends_its_thread() -> None:
    portal = Portal()
    await asyncio.to_thread(portal.run, nothing)
    assert threads()
    del portal
    gc.collect()
    await until(lambda: not threads())


def test_a_stream_that_is_left_early_is_closed_before_the_next_call() -> None:
    portal, stream = Portal(), Stream()
    for number in portal.iterate(stream.numbers()):
        if number == 3:
            break
    del number
    gc.collect()
    portal.run(nothing)
    assert stream.closed.wait(10)
    portal.close(nothing)
    assert threads() == []


async def test_garbage_in_a_thread_with_a_loop_closes_its_stream_without_waiting() -> None:
    portal, stream = Portal(), Stream()
    with ThreadPoolExecutor(1) as other:
        reading = other.submit(portal.iterate, stream.numbers()).result()
        assert other.submit(next, reading).result() == 0
    stream.may_close.clear()
    del reading
    gc.collect()
    assert not stream.closed.is_set()
    stream.may_close.set()
    await until(stream.closed.is_set)
    portal.close(nothing)


class Interrupted(BaseException):
    """As a KeyboardInterrupt, which would end the tests, too."""


class Interruptible(Portal):
    """Whose callers are interrupted once when they begin to wait."""

    interrupt = False

    def _awaited(self, future: Future[T]) -> T:
        if self.interrupt:
            self.interrupt = False
            future.cancel()
            raise Interrupted
        return super()._awaited(future)


def test_an_interrupted_stream_is_closed_when_its_step_has_ended() -> None:
    closed = threading.Event()

    async def slow() -> AsyncGenerator[int, None]:
        try:
            yield 0
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)  # it takes its time to end
            closed.set()

    portal = Interruptible()
    reading = portal.iterate(slow())
    assert next(reading) == 0
    portal.interrupt = True
    with pytest.raises(Interrupted):
        next(reading)
    assert closed.is_set()
    portal.close(nothing)


def test_calls_under_way_end_when_it_is_closed_and_none_begins_after() -> None:
    portal, begun, torn = Portal(), threading.Event(), asyncio.Event()

    async def talk() -> None:
        begun.set()
        await torn.wait()
        raise ConnectionError("it was torn")

    async def tear() -> None:
        torn.set()
        await asyncio.sleep(0.01)

    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(portal.run, talk)
        assert begun.wait(10)
        portal.close(tear)
        with pytest.raises(ClientMisused, match="closed"):
            waiting.result(10)
    portal.close(nothing)
    with pytest.raises(ClientMisused, match="closed"):
        portal.run(nothing)
    assert threads() == []


def test_what_a_call_raises_is_raised_here() -> None:
    portal = Portal()

    async def fail() -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        portal.run(fail)
    portal.close(nothing)
