"""The line of many gateways: a Redis Stream, on which any number of workers work, by taskiq.

taskiq-redis's own broker takes over what a killed worker held only when something new arrives, keeps all that is
done, and begins with what comes after its first worker: hence this one. What a worker works on it holds by a beat,
thrice in the time after which another takes it over. What waits, or is worked on, stands in a set beside the stream,
so that nothing waits twice; what is done is in neither.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from sayonce.batch.contract import Line, Speak
from sayonce.errors import CatalogError, MissingExtra
from sayonce.telemetry.logs import get_logger

try:
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError, ResponseError
    from taskiq import AckableMessage, AsyncBroker, BrokerMessage
    from taskiq.acks import AcknowledgeType
    from taskiq.exceptions import SendTaskError
    from taskiq.kicker import AsyncKicker
    from taskiq.receiver import Receiver
except ImportError as error:
    raise MissingExtra("The queue in Redis", extra="redis") from error

_GROUP = "workers"
_TASK = "speak"
# How long a worker waits for something new at a time, and after a failure of Redis, in seconds.
_BLOCK, _PAUSE = 1.0, 0.5

# Keys: the stream, and the set of what is in it, which means nothing without it.
_ADD = """
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('DEL', KEYS[2]) end
if redis.call('SADD', KEYS[2], ARGV[1]) == 1 then
    redis.call('XADD', KEYS[1], '*', 'use', ARGV[1], 'data', ARGV[2])
end
"""
_DONE = """
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
if redis.call('XDEL', KEYS[1], ARGV[2]) == 1 then redis.call('SREM', KEYS[2], ARGV[3]) end
"""
_HOLD = """
for n = 3, #ARGV do
    if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[n], ARGV[n], 1, ARGV[2]) > 0 then
        redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[n], 'JUSTID')
    end
end
"""
_HAND_BACK = """
for _, held in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 10000, ARGV[2])) do
    for _, entry in ipairs(redis.call('XRANGE', KEYS[1], held[1], held[1])) do
        redis.call('XADD', KEYS[1], '*', unpack(entry[2]))
    end
    redis.call('XACK', KEYS[1], ARGV[1], held[1])
    redis.call('XDEL', KEYS[1], held[1])
end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
"""

_log = get_logger("sayonce.queue")


class StreamLine(Line):
    """The line of the catalog that `identity` tells, in the Redis at that address. What a worker did not hold for
    `idle` seconds another takes over; an answer of Redis is waited for `patience` seconds."""

    def __init__(self, url: str, identity: Callable[[], Awaitable[str]], *, idle: float, patience: float) -> None:
        super().__init__()
        self._identity = identity
        self._idle = idle
        no_retry: Any = Retry(NoBackoff(), 0)
        connect = partial(Redis.from_url, url, retry=no_retry, socket_connect_timeout=patience, protocol=2)
        self._redis: Any = connect(socket_timeout=patience)
        self._reader: Any = connect(socket_timeout=_BLOCK + patience)
        self._broker: _StreamBroker | None = None

    async def add(self, ids: Sequence[int]) -> bool:
        broker = await self._brokered()
        try:
            for use in ids:
                sender: AsyncKicker[..., None] = AsyncKicker(_TASK, broker, {})
                await sender.with_task_id(str(use)).kiq(use)
        except SendTaskError as error:
            broker.missed(error.__cause__ or error)
            return False
        return True

    async def work(self, speak: Speak, at_once: int, stop: asyncio.Event, patience: float) -> None:
        """Works on what waits until told to stop, on at most so many uses at a time. What is begun then has
        `patience` seconds to end; the rest is handed back."""
        broker = await self._found(stop)
        if broker is None:
            return

        async def one(use: int) -> None:
            await speak(use)
            await broker.done(str(use))

        broker.register_task(one, task_name=_TASK)
        receiver = Receiver(
            broker,
            max_async_tasks=at_once,
            ack_type=AcknowledgeType.MANUAL,
            wait_tasks_timeout=patience,
            validate_params=False,
        )
        broker.stop, done = stop, asyncio.Event()
        holding = asyncio.create_task(self._hold(broker, done))
        try:
            await receiver.listen(stop)
        finally:
            done.set()  # a driver may mistake a cancellation for a time-out
            await asyncio.gather(holding, return_exceptions=True)
            await broker.hand_back()

    @asynccontextmanager
    async def worked(self, speak: Speak, at_once: int, patience: float) -> AsyncIterator[None]:
        stop = asyncio.Event()
        working = asyncio.create_task(self.work(speak, at_once, stop, patience))
        try:
            yield
        finally:
            stop.set()
            await working

    async def aclose(self) -> None:
        await self._redis.aclose()
        await self._reader.aclose()

    async def _found(self, stop: asyncio.Event) -> _StreamBroker | None:
        """The way to the stream, once the catalog has told which it is; None when told to stop before."""
        while not stop.is_set():
            try:
                return await self._brokered()
            except CatalogError:  # who asks it for anything else says so
                with suppress(TimeoutError):
                    async with asyncio.timeout(_PAUSE):
                        await stop.wait()
        return None

    async def _brokered(self) -> _StreamBroker:
        if self._broker is None:
            key = f"sayonce:{{{await self._identity()}}}:queue"
            self._broker = _StreamBroker(self._redis, self._reader, key, self._idle, self.lost.set)
        return self._broker

    async def _hold(self, broker: _StreamBroker, done: asyncio.Event) -> None:
        while not done.is_set():
            await broker.hold()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._idle / 3):
                    await done.wait()


class _StreamBroker(AsyncBroker):
    """taskiq's way to the stream `key`. `lost` is called where there was none."""

    def __init__(self, redis: Any, reader: Any, key: str, idle: float, lost: Callable[[], None]) -> None:
        super().__init__()
        self._reader = reader
        self._key = key
        self._idle = idle
        self._lost = lost
        self._consumer = secrets.token_hex(8)
        self._held: dict[str, bytes] = {}  # messages by their uses
        self._asking: asyncio.Future[Any] | None = None
        self.stop = asyncio.Event()
        self._look_around_at = 0.0
        self._told = False
        keys = [key, f"{key}:uses"]
        self._scripts = {
            text: partial(redis.register_script(text), keys=keys) for text in (_ADD, _DONE, _HOLD, _HAND_BACK)
        }

    async def kick(self, message: BrokerMessage) -> None:
        await self._scripts[_ADD](args=[message.task_id, message.message])

    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        """What waits, and what others have let go; through every failure of Redis, until told to stop."""
        while not self.stop.is_set():
            try:
                found = await self._abandoned() or await self._new()
            except (RedisError, OSError) as error:
                await self._recover(error)
                continue
            self._told = False
            for message, fields in found:
                use = fields[b"use"].decode()
                self._held[use] = message
                yield AckableMessage(data=fields[b"data"], ack=partial(self.done, use))

    def missed(self, error: BaseException) -> None:
        """Says, once until it is back, that the stream could not be reached."""
        if not self._told:
            _log.warning("queue.unreachable", error=type(error).__name__, remedy="See that REDIS_URL's Redis runs.")
        self._told = True

    async def done(self, use: str) -> None:
        """Takes a use out of the line."""
        message = self._held.pop(use, None)
        if message is not None:
            with suppress(RedisError, OSError):  # then another learns that there is nothing left to do
                await self._scripts[_DONE](args=[_GROUP, message, use])

    async def hold(self) -> None:
        """Says of what this worker works on that it still does."""
        with suppress(RedisError, OSError):
            await self._scripts[_HOLD](args=[_GROUP, self._consumer, *self._held.values()])

    async def hand_back(self) -> None:
        """Lets others have at once what this worker has not done."""
        self._held.clear()
        if self._asking is not None:  # it would be given what is handed back
            await asyncio.gather(self._asking, return_exceptions=True)
        with suppress(RedisError, OSError):
            await self._scripts[_HAND_BACK](args=[_GROUP, self._consumer])

    async def _new(self) -> list[Any]:
        block = min(_BLOCK, self._idle / 3)
        streams = {self._key: ">"}
        asking = self._reader.xreadgroup(_GROUP, self._consumer, streams, count=1, block=int(block * 1_000))
        self._asking = asyncio.ensure_future(asking)
        found = await asyncio.shield(self._asking)
        return found[0][1] if found else []

    async def _abandoned(self) -> list[Any]:
        """What nobody holds any more; looked for a few times in the time after which that is so."""
        if time.monotonic() < self._look_around_at:
            return []
        idle = int(self._idle * 1_000)
        told = await self._reader.xautoclaim(self._key, _GROUP, self._consumer, min_idle_time=idle, count=1)
        found = [(message, fields) for message, fields in told[1] if fields]
        if not found:
            self._look_around_at = time.monotonic() + self._idle / 3
        return [each for each in found if each[0] not in self._held.values()]

    async def _recover(self, error: Exception) -> None:
        if isinstance(error, ResponseError) and str(error).startswith("NOGROUP"):
            with suppress(RedisError, OSError):
                await self._reader.xgroup_create(self._key, _GROUP, id="0", mkstream=True)
                self._lost()
            return
        self.missed(error)
        await asyncio.sleep(_PAUSE)
