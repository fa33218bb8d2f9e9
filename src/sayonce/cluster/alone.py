"""What processes share where they meet in the catalog alone: nothing is heard, and each remembers for itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sayonce.catalog.records import Lease
from sayonce.cluster.contract import Hearing, News, Relay, SharedMemory
from sayonce.speech.chunks import Chunk
from sayonce.speech.formats import AudioFormat

# How often the lease of a flight elsewhere is to be looked at, in seconds: one point lookup each time.
_GLANCE = 0.05


class Silence(Relay, Hearing):
    """Nobody hears what is said."""

    def say(self, lease: Lease, audio_format: AudioFormat, chunks: Callable[[], AsyncIterator[Chunk]]) -> None:
        pass

    @asynccontextmanager
    async def hear(self, recipe_hash: bytes, fence: int) -> AsyncIterator[Hearing]:
        yield self

    async def next(self) -> News | None:
        await asyncio.sleep(_GLANCE)
        return None

    async def aclose(self) -> None:
        pass


class NoMemory(SharedMemory):
    """Nothing is remembered."""

    async def get(self, digest: bytes) -> bytes | None:
        return None

    async def put(self, digest: bytes, data: bytes) -> None:
        pass

    async def forget(self, digest: bytes) -> None:
        pass
