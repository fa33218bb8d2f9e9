"""The way to Redis: one pool of connections, and one more that hears its bells."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

from sayonce.errors import CatalogError, ClusterUnavailable, InvalidSettings, MissingExtra
from sayonce.resting import Resting
from sayonce.telemetry.logs import get_logger

try:
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.asyncio.client import PubSub
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.commands.core import AsyncScript
    from redis.exceptions import RedisError
except ImportError as error:
    raise MissingExtra("Redis", extra="redis") from error

T = TypeVar("T")

# How many questions are under way at once.
_CONNECTIONS = 64
# How long the bells may be silent before they are asked whether they still ring, and before a new line is tried.
_SILENCE, _PAUSE = 2.0, 0.25

# uvloop calls what is written to a connection that has just died a RuntimeError.
_TROUBLE = (RedisError, OSError, TimeoutError, RuntimeError)

_log = get_logger("sayonce.redis")


class Link:
    """`patience` is how many seconds an answer is waited for. `identity` gives the catalog's id, which all keys
    carry, so that two catalogs may share a server."""

    def __init__(self, url: str, patience: float, identity: Callable[[], Awaitable[str]]) -> None:
        self._place = _place(url)
        self._patience = patience
        self._identity = identity
        self._resting = Resting()
        self._rung: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._bells: PubSub | None = None
        try:
            self.pool: Any = BlockingConnectionPool.from_url(
                url,
                max_connections=_CONNECTIONS,
                timeout=patience,
                socket_timeout=patience,
                socket_connect_timeout=patience,
                driver_info=None,
                protocol=2,
                retry=Retry(NoBackoff(), 0),
            )
            self.pool.make_connection()  # type: ignore[no-untyped-call]  # it takes what stands behind the question mark
        except (TypeError, ValueError):
            raise InvalidSettings(
                "REDIS_URL cannot be read, or has a parameter that there is not.",
                remedy="Write redis://user:password@host:6379/0, rediss:// or unix://.",
            ) from None
        self._redis = Redis(connection_pool=self.pool)
        self._scripts: dict[str, AsyncScript] = {}
        #: Why Redis last failed, by its error's code; None where it answers.
        self.trouble: str | None = None

    async def ask(self, question: Callable[[Any], Awaitable[T]]) -> T:
        """Redis' answer; ClusterUnavailable where there is none in time."""
        try:
            with self._resting.heeded(), self._translated():
                async with asyncio.timeout(self._patience):
                    answer = await question(self._redis)
        except ClusterUnavailable as error:
            self._noticed(error)
            raise
        self._noticed(None)
        return answer

    async def execute(self, script: str, keys: Sequence[str], values: Sequence[str | int | float | bytes]) -> Any:
        """What a script answers, which the server keeps; ClusterUnavailable where it does not, in time."""
        known = self._scripts.get(script) or self._scripts.setdefault(script, self._redis.register_script(script))
        return await self.ask(lambda _: known(keys=keys, args=values))

    async def key(self, *names: str) -> str:
        """A key of this catalog's; ClusterUnavailable while it cannot be told which one that is. All keys of one are
        in one slot of a Redis cluster."""
        try:
            return ":".join((f"sayonce:{{{await self._identity()}}}", *names))
        except CatalogError as error:
            raise ClusterUnavailable(
                "The catalog cannot be read, so its id is not known yet.", backend="redis", remedy="Wait for it."
            ) from error

    @contextmanager
    def bell(self, channel: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever something is published at a channel, or may have been."""
        event = asyncio.Event()
        heard = self._rung[channel]
        heard.add(event)
        try:
            yield event
        finally:
            heard.discard(event)
            if not heard:
                del self._rung[channel]

    @asynccontextmanager
    async def heard(self, channel: str) -> AsyncIterator[asyncio.Event]:
        """A bell at a channel that is heard only meanwhile. Raises nothing."""
        try:
            with self.bell(channel) as bell:
                if self._bells is not None:
                    with suppress(*_TROUBLE):
                        await self._bells.subscribe(channel)
                yield bell
        finally:
            if self._bells is not None and channel not in self._rung:
                with suppress(*_TROUBLE):
                    await self._bells.unsubscribe(channel)

    async def run(self) -> None:
        """Rings the bells until cancelled."""
        while True:
            try:
                async with self._redis.pubsub() as bells:
                    await self._hear(bells)
            except _TROUBLE as error:
                _heed_cancellation()
                self._noticed(self._unavailable(error))
            finally:
                self._bells = None
            self._ring_all()  # what was said meanwhile was missed
            await asyncio.sleep(_PAUSE)

    async def aclose(self) -> None:
        """Frees the connections. Called once, last."""
        with suppress(*_TROUBLE):
            await self._redis.aclose()
            await self.pool.aclose()

    async def _hear(self, bells: PubSub) -> None:
        async with asyncio.timeout(self._patience + _SILENCE):
            await bells.subscribe("sayonce", *self._rung)  # there is always one, so there is always a line
        self._bells = bells
        self._ring_all()
        asked = False
        while True:
            message = await bells.get_message(timeout=_SILENCE)
            _heed_cancellation()
            if message is not None:
                self._noticed(None)
            if message is None:
                if asked:
                    raise TimeoutError("its bells are silent")
                await bells.ping()
            elif message["type"] == "message":
                self._ring(message["channel"].decode())
            asked = message is None

    def _ring(self, channel: str) -> None:
        for event in self._rung.get(channel, ()):
            event.set()

    def _ring_all(self) -> None:
        for channel in list(self._rung):
            self._ring(channel)

    def _noticed(self, error: ClusterUnavailable | None) -> None:
        before, self.trouble = self.trouble, None if error is None else error.code
        if error is not None and before is None:
            _log.warning("redis.lost", reason=error.message)
        elif error is None and before is not None:
            _log.info("redis.back")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except _TROUBLE as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> ClusterUnavailable:
        return ClusterUnavailable(
            f"Redis at {self._place} {_meaning(error)}.",
            backend="redis",
            remedy="See that it runs, and that REDIS_URL is right. It is tried again by itself.",
        )


def _heed_cancellation() -> None:
    """The driver may mistake a cancellation for a time-out of its own."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _meaning(error: Exception) -> str:
    """What it was, in no words of the server's, which might quote values."""
    meanings = {
        "AuthenticationError": "does not accept the user or the password",
        "NoPermissionError": "does not let its user do that",
        "OutOfMemoryError": "is full",
        "ReadOnlyError": "is a replica that cannot be written to",
        "BusyLoadingError": "is starting",
        "ResponseError": "refuses what it is asked, which takes Redis 6.2 or later",
        "TimeoutError": "does not answer in time",
    }
    if str(error).startswith("DB index"):
        return "has no database of that number"
    return meanings.get(type(error).__name__, "does not answer")


def _place(url: str) -> str:
    """The server for people: no user, no password."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "its address"
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
