"""A storage that does not answer keeps nobody waiting for long (law 5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from sayonce.errors import StorageUnavailable
from sayonce.resting import Resting
from sayonce.storage.contract import PLAIN, LifecycleRule, Serving, Storage, StoredBlob, Writing


class Guarded(Storage):
    """`storage`, but that a read takes no longer than `patience` seconds, and that one which just failed is left
    alone for a moment. Its listings and its upkeep are nobody's who waits."""

    backend = "guarded"

    def __init__(self, storage: Storage, patience: float) -> None:
        self.name = storage.name
        self._storage = storage
        self._patience = patience
        self._resting = Resting()

    @classmethod
    def from_settings(cls, name: str, table: Mapping[str, object]) -> Storage:
        raise NotImplementedError("it is put around a storage that is there")

    async def write(self, path: str, data: bytes, metadata: Mapping[str, str], serving: Serving = PLAIN) -> None:
        with self._resting.heeded():
            await self._storage.write(path, data, metadata, serving)

    async def write_all(self, blobs: Sequence[Writing]) -> None:
        with self._resting.heeded():
            await self._storage.write_all(blobs)

    async def read(self, path: str) -> bytes:
        with self._resting.heeded():
            try:
                async with asyncio.timeout(self._patience):
                    return await self._storage.read(path)
            except TimeoutError as error:
                raise StorageUnavailable(
                    f"The storage '{self.name}' did not answer within {self._patience:g} seconds.",
                    backend=self._storage.backend,
                    remedy="It is tried again by itself.",
                ) from error

    async def metadata(self, path: str) -> Mapping[str, str]:
        return await self._storage.metadata(path)

    async def delete(self, path: str) -> None:
        with self._resting.heeded():
            await self._storage.delete(path)

    def list(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        return self._storage.list(prefix)

    async def probe(self) -> None:
        await self._storage.probe()

    async def url(self, path: str, seconds: float) -> str | None:
        with self._resting.heeded():
            return await self._storage.url(path, seconds)

    async def lifecycle(self) -> Sequence[LifecycleRule] | None:
        return await self._storage.lifecycle()

    async def set_lifecycle(self, rules: Sequence[LifecycleRule]) -> None:
        await self._storage.set_lifecycle(rules)

    async def aclose(self) -> None:
        await self._storage.aclose()
