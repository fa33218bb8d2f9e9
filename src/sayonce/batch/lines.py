"""Which line there is: in Redis where that is set, else in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from sayonce.batch.contract import Line, Speak
from sayonce.batch.memory import MemoryLine


class Means(Protocol):
    """What the settings say of it."""

    @property
    def redis_url(self) -> str | None: ...
    @property
    def redis_patience(self) -> float: ...
    @property
    def lease_seconds(self) -> float: ...
    @property
    def queue_at_once(self) -> int: ...


def line_of(means: Means, identity: Callable[[], Awaitable[str]], speak: Speak) -> Line:
    """The line of the catalog that `identity` tells. MissingExtra where it needs what is not installed."""
    if means.redis_url is None:
        return MemoryLine(speak, means.queue_at_once)
    from sayonce.batch.streams import StreamLine

    return StreamLine(means.redis_url, identity, idle=means.lease_seconds, patience=means.redis_patience)
