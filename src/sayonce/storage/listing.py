"""What a storage lists, in batches that a catalog is asked about at once."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sayonce.storage.contract import StoredBlob


async def batches(found: AsyncIterator[StoredBlob], size: int) -> AsyncIterator[list[StoredBlob]]:
    """The same, so many at a time; the last ones may be fewer."""
    batch: list[StoredBlob] = []
    async for blob in found:
        batch.append(blob)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
