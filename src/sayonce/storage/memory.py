"""Blobs in memory: for tests, and for gateways that are to leave nothing behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime

from sayonce.errors import BlobNotFound, StorageError
from sayonce.storage.contract import PLAIN, Serving, Storage, StoredBlob
from sayonce.storage.paths import validated


class MemoryStorage(Storage):
    """Gone with the process, power cut or not."""

    backend = "memory"

    def __init__(self, name: str) -> None:
        self.name = name
        self._blobs: dict[str, tuple[bytes, dict[str, str], datetime]] = {}

    @classmethod
    def from_settings(cls, name: str, table: Mapping[str, object]) -> MemoryStorage:
        return cls(name)

    async def write(self, path: str, data: bytes, metadata: Mapping[str, str], serving: Serving = PLAIN) -> None:
        self._blobs[self._checked(path)] = (bytes(data), dict(metadata), datetime.now(UTC))

    async def read(self, path: str) -> bytes:
        return self._found(path)[0]

    async def metadata(self, path: str) -> Mapping[str, str]:
        return dict(self._found(path)[1])

    async def delete(self, path: str) -> None:
        self._blobs.pop(self._checked(path), None)

    async def list(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        for path in sorted(self._blobs):
            if path.startswith(prefix) and path in self._blobs:
                data, _, modified = self._blobs[path]
                yield StoredBlob(path, len(data), modified)

    async def probe(self) -> None:
        return None

    def _found(self, path: str) -> tuple[bytes, dict[str, str], datetime]:
        found = self._blobs.get(self._checked(path))
        if found is None:
            raise BlobNotFound("The blob is not there.", backend=self.backend, remedy="It is made anew.")
        return found

    def _checked(self, path: str) -> str:
        try:
            return validated(path)
        except ValueError as error:
            raise StorageError(f"That is no path of a blob: {error}.", backend=self.backend) from error
