"""The live relay: what a flight says here is heard on every replica, as it comes.

A flight's stream is named by its recipe and its fence, so two flights never mix. Each entry tells at which byte it
begins: a stream that was lost is said again from its beginning, and who has heard some of it skips that.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import astuple
from typing import Any

from sayonce.catalog.records import Lease
from sayonce.cluster import failures
from sayonce.cluster.contract import Beat, Begun, Hearing, News, Over, Relay
from sayonce.cluster.redis.link import Link
from sayonce.errors import ClusterUnavailable, ProviderError, SayonceError
from sayonce.speech.chunks import Chunk, Mark
from sayonce.speech.formats import AudioFormat

# The most bytes of one entry, and the most entries that are read at once.
_ENTRY, _READ = 256 * 1024, 16
# Who begins to hear when a stream is longer than this, in bytes, waits for the landing instead.
_LONG = 8_000_000
# How often the lease is to be looked at: soon, and then ever more seldom, in seconds.
_FIRST_GLANCE, _LAST_GLANCE = 0.05, 1.0
# How long a stream stays when nothing is added to it: while its flight is in the air, and after that, in seconds.
_STAYS, _ECHOES = 60.0, 10.0
# How often a flight says that it still flies while nothing comes, and after what silence it may be dead, in seconds.
_BEATS, _SILENT = 0.5, 2.0
# The fields of its entries.
_FORMAT, _AT, _DATA, _MARKED = b"format", b"at", b"data", b"marked"
_MARKS, _BEAT, _OVER = b"marks", b"beat", b"over"
# For how many seconds a stream is tried to be said, and how long the end of all is waited for when a process ends.
_TRIES, _GRACE = 30.0, 2.0


class RedisRelay(Relay):
    """One stream and one channel a flight."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._saying: set[asyncio.Task[None]] = set()

    def say(self, lease: Lease, audio_format: AudioFormat, chunks: Callable[[], AsyncIterator[Chunk]]) -> None:
        task = asyncio.create_task(self._say(lease, audio_format, chunks))
        self._saying.add(task)
        task.add_done_callback(self._saying.discard)

    @asynccontextmanager
    async def hear(self, recipe_hash: bytes, fence: int) -> AsyncIterator[Hearing]:
        async with self._link.heard(_channel(recipe_hash, fence)) as bell:
            yield _RedisHearing(self._link, _names(recipe_hash, fence), bell)

    async def aclose(self) -> None:
        if self._saying:
            _, late = await asyncio.wait(self._saying, timeout=_GRACE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _say(self, lease: Lease, audio_format: AudioFormat, chunks: Callable[[], AsyncIterator[Chunk]]) -> None:
        began = time.monotonic()
        while True:
            stream = _Stream(self._link, lease)
            try:
                await stream.begin(audio_format)
                began = time.monotonic()
                over = await self._passed_on(stream, chunks())
                if over is not None:
                    await stream.end(over.failure)
            except ClusterUnavailable:
                if time.monotonic() - began > _TRIES:
                    return  # whoever waits learns it from the lease and the catalog
                await asyncio.sleep(_LAST_GLANCE)
            else:
                return

    async def _passed_on(self, stream: _Stream, chunks: AsyncIterator[Chunk]) -> Over | None:
        """Says it all; how it ended. None where that is nobody's elsewhere, such as a tenant's limit."""
        try:
            async with aclosing(_with_beats(chunks)) as coming:
                async for chunk in coming:
                    await (stream.beat() if chunk is None else stream.add(chunk))
        except ClusterUnavailable:
            raise
        except ProviderError as failure:
            return Over(failure)
        except SayonceError:
            return None
        return Over()


class _Stream:
    """What one flight says, on its way into Redis."""

    def __init__(self, link: Link, lease: Lease) -> None:
        self._link = link
        self._names = _names(lease.recipe_hash, lease.fence)
        self._channel = _channel(lease.recipe_hash, lease.fence)
        self._at = 0
        self._marked = 0

    async def begin(self, audio_format: AudioFormat) -> None:
        """Says in which format it comes; what was said under this name before is gone."""
        await self._add({_FORMAT: str(audio_format)}, anew=True)

    async def add(self, chunk: Chunk) -> None:
        """Says what came next."""
        marks = {_MARKED: self._marked, _MARKS: json.dumps([astuple(mark) for mark in chunk.marks])}
        for first in range(0, len(chunk.data) or 1, _ENTRY):
            data = chunk.data[first : first + _ENTRY]
            await self._add({_AT: self._at, _DATA: data} | (marks if chunk.marks and not first else {}))
            self._at += len(data)
        self._marked += len(chunk.marks)

    async def beat(self) -> None:
        """Says that it still flies, although nothing comes."""
        await self._add({_BEAT: b""})

    async def end(self, failure: ProviderError | None) -> None:
        """Says that this was all, or why there is no more."""
        told = "" if failure is None else failures.written(failure)
        await self._add({_AT: self._at, _OVER: told}, stays=_ECHOES)

    async def _add(self, entry: Mapping[bytes, Any], *, anew: bool = False, stays: float = _STAYS) -> None:
        key = await self._link.key(*self._names)

        async def add(redis: Any) -> list[Any]:
            async with redis.pipeline() as steps:
                if anew:
                    steps.delete(key)
                steps.xadd(key, dict(entry), nomkstream=not anew)
                steps.pexpire(key, round(stays * 1_000))
                steps.publish(self._channel, b"")
                return list(await steps.execute())

        # Into a stream that is gone nothing is added: its beginning would be lacking.
        if None in await self._link.ask(add):
            raise ClusterUnavailable("Redis has forgotten what was said.", backend="redis")


async def _with_beats(chunks: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk | None, None]:
    """The chunks, and None wherever nothing comes for a while."""
    coming = asyncio.ensure_future(anext(chunks, None))
    try:
        while True:
            done, _ = await asyncio.wait({coming}, timeout=_BEATS)
            if done and (chunk := coming.result()) is None:
                return
            yield chunk if done else None
            if done:
                coming = asyncio.ensure_future(anext(chunks, None))
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


class _RedisHearing(Hearing):
    """What one flight elsewhere says, read up to where it is whenever its bell rings. Of one that has gone silent
    nothing is heard until it says more: its replica may be dead, and half of it is worse than nothing."""

    def __init__(self, link: Link, names: tuple[str, ...], bell: asyncio.Event) -> None:
        self._link = link
        self._names = names
        self._bell = bell
        self._came: deque[News] = deque()
        self._read_to = "-"
        self._begun = self._waits = False
        self._heard = self._marked = 0
        self._glance = _FIRST_GLANCE

    async def next(self) -> News | None:
        while not self._came:
            self._bell.clear()
            try:
                found = await self._read()
            except ClusterUnavailable:
                await asyncio.sleep(_FIRST_GLANCE)
                return None
            if not found and not await self._rung():
                return None
        return self._came.popleft()

    async def _read(self) -> bool:
        """Reads what was added; whether there was anything."""
        key = await self._link.key(*self._names)
        if not self._begun and not await self._lives(key):
            return False
        entries = await self._link.ask(lambda redis: redis.xrange(key, self._read_to, count=_READ))
        for number, entry in entries:
            self._read_to = f"({number.decode()}"
            try:
                self._came.extend(self._news(entry))
            except (ValueError, KeyError, TypeError) as error:
                raise ClusterUnavailable("Redis says what no sayonce has said.", backend="redis") from error
        return bool(entries)

    async def _lives(self, key: str) -> bool:
        """Whether it has said something just now, or all; notes whether that is too long to be heard from here."""

        async def look(redis: Any) -> tuple[list[Any], tuple[int, int]]:
            async with redis.pipeline(transaction=False) as steps:
                last, now = await steps.xrevrange(key, count=1).time().execute()
                return last, now

        last, (seconds, micros) = await self._link.ask(look)
        if not last:
            return False
        number, entry = last[0]
        self._waits = int(entry.get(_AT, 0)) > _LONG
        return _OVER in entry or seconds + micros / 1e6 - _moment(number) < _SILENT

    def _news(self, entry: Mapping[bytes, bytes]) -> Iterator[News]:
        if _FORMAT in entry:
            if not (self._begun or self._waits):
                self._begun = True
                yield Begun(AudioFormat.parse(entry[_FORMAT].decode()))
        elif _OVER in entry:
            told = entry[_OVER].decode()
            if told or self._waits or int(entry[_AT]) == self._heard:
                yield Over(failures.read(told) if told else None)
        elif _BEAT in entry:
            yield Beat()
        elif self._begun:
            yield from self._chunk(entry)

    def _chunk(self, entry: Mapping[bytes, bytes]) -> Iterator[Chunk]:
        skipped = self._heard - int(entry[_AT])
        if skipped < 0:
            return  # something before it was lost: it will be said again
        data = entry[_DATA][skipped:]
        known = self._marked - int(entry.get(_MARKED, self._marked))
        marks = tuple(Mark(*mark) for mark in json.loads(entry.get(_MARKS, b"[]"))[known:])
        self._heard += len(data)
        self._marked += len(marks)
        if data or marks:
            yield Chunk(data, marks)

    async def _rung(self) -> bool:
        """Whether the bell has rung before it is time for a glance at the lease."""
        try:
            async with asyncio.timeout(self._glance):
                await self._bell.wait()
        except TimeoutError:
            self._glance = min(2 * self._glance, _LAST_GLANCE)
            return False
        return True


def _moment(number: bytes) -> float:
    """When an entry was added, by the server's clock, in seconds since 1970."""
    return int(number.partition(b"-")[0]) / 1_000


def _names(recipe_hash: bytes, fence: int) -> tuple[str, ...]:
    return "flight", recipe_hash.hex(), str(fence)


def _channel(recipe_hash: bytes, fence: int) -> str:
    return f"sayonce:{recipe_hash.hex()}:{fence}"
