"""The gateway that serves, and the change of it while it serves: settings are read anew without closing a door."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from typing import TypeAlias

from prometheus_client.metrics_core import Metric
from starlette.types import ASGIApp, Receive, Scope, Send

from sayonce.api.lane import Lane, LaneProtocol, protocol
from sayonce.app import Gateway, running
from sayonce.errors import SayonceError
from sayonce.settings import Settings
from sayonce.telemetry.logs import get_logger

# What another gateway cannot take over, since it is the process's.
_OF_THE_PROCESS = ("host", "port", "workers", "hot_lane", "drain_seconds", "shutdown_seconds")

_log = get_logger("sayonce.stage")

#: Gives a gateway its doors, and its lane where it has one.
Dress: TypeAlias = Callable[[Gateway], Awaitable[tuple[ASGIApp, Lane | None]]]


class _Act:
    """A gateway with its doors, and how many requests are under way in it."""

    def __init__(self, gateway: Gateway, app: ASGIApp, lane: Lane | None, stack: AsyncExitStack) -> None:
        self.gateway = gateway
        self.app = app
        self.lane = lane
        self._stack = stack
        self._visitors = 0
        self._empty = asyncio.Event()
        self._empty.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._visitors += 1
        self._empty.clear()
        try:
            await self.app(scope, receive, send)
        finally:
            self._visitors -= 1
            if not self._visitors:
                self._empty.set()

    async def end(self) -> None:
        """Closes the gateway, once its visitors have left, or have been waited for as long as at a shutdown."""
        try:
            async with asyncio.timeout(self.gateway.settings.shutdown_seconds):
                await self._empty.wait()
        except TimeoutError:
            _log.warning("reload.impatient", requests=self._visitors)
        await self._stack.aclose()


class Stage:
    """An ASGI application: that of the gateway that serves just now."""

    def __init__(self, dress: Dress, act: _Act) -> None:
        self._dress = dress
        self._act = act
        self._changing = asyncio.Lock()
        #: The server's protocol, whose lane is the serving gateway's; None without a lane.
        self.protocol: type[LaneProtocol] | None = None if act.lane is None else protocol(act.lane)

    @classmethod
    async def open(cls, settings: Settings, dress: Dress) -> Stage:
        """A stage with a gateway of these settings."""
        return cls(dress, await _prepared(settings, dress))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._act(scope, receive, send)

    @property
    def gateway(self) -> Gateway:
        """The gateway that serves."""
        return self._act.gateway

    def metrics(self) -> Iterable[Metric]:
        """The metrics of the gateway that serves."""
        return self.gateway.watch.metrics.registry.collect()

    async def change(self, load: Callable[[], Settings]) -> None:
        """Lets a gateway of the settings that `load` gives take over; where they are wrong, nothing changes. What is
        under way ends where it began."""
        async with self._changing:
            try:
                act = await _prepared(self._possible(load()), self._dress, knowing=True)
            except SayonceError as error:
                _log.error("reload.refused", error=error.code, reason=error.message, remedy=error.remedy)
                return
            except Exception as error:  # noqa: BLE001 - whatever is wrong with the new one, the old one serves on
                _log.error("reload.refused", error=type(error).__name__, exc_info=error)
                return
            before, self._act = self._act, act
            if self.protocol is not None and act.lane is not None:
                self.protocol.lane = act.lane
            _log.info("reload.done")
        await before.end()

    async def close(self) -> None:
        """Closes the gateway that serves."""
        async with self._changing:
            await self._act.end()

    def _possible(self, settings: Settings) -> Settings:
        own = {name: getattr(self.gateway.settings, name) for name in _OF_THE_PROCESS}
        for name, value in own.items():
            if getattr(settings, name) != value:
                _log.warning("reload.left", setting=name, remedy="It takes a restart.")
        return settings.model_copy(update=own)


async def _prepared(settings: Settings, dress: Dress, *, knowing: bool = False) -> _Act:
    """A gateway that is ready to serve; with `knowing`, only where its catalog can be read: it would not know its own
    secrets, nor anybody's key."""
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(running(settings))
        if knowing:
            await gateway.catalog.newest_change()
        queue = gateway.queue
        if not settings.redis_url or settings.queue_here:
            await stack.enter_async_context(queue.tended())
            working = queue.line.worked(gateway.speaker.speak, settings.queue_at_once, settings.shutdown_seconds)
            await stack.enter_async_context(working)
        await stack.enter_async_context(gateway.clockwork.running())
        await stack.enter_async_context(gateway.greetings.tended())
        await stack.enter_async_context(gateway.preloading.under_way())
        app, lane = await dress(gateway)
        return _Act(gateway, app, lane, stack.pop_all())
