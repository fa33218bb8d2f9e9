"""Supabase's listings: all keys of a prefix, in their order; on older servers folder by folder, in their own order.

The second kind (`list-v2`) is exact. The first takes no account of case, and numbers its entries, so that what is
removed meanwhile shifts the pages under whoever counts; it serves only where a server has no other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from storage3.exceptions import StorageApiError
from storage3.types import SearchV2Options, SearchV2Result

from sayonce.storage.contract import StoredBlob

if TYPE_CHECKING:
    from storage3._async.file_api import AsyncBucketProxy

_PAGE = 1_000
# What Supabase's dashboard leaves in a folder to keep it; nobody's blob.
_KEEPER = ".emptyFolderPlaceholder"


async def pages(bucket: AsyncBucketProxy, prefix: str) -> AsyncIterator[Sequence[StoredBlob]]:
    """The objects whose key begins with `prefix`, in the order of their keys; a step is one request."""
    first = await _first(bucket, prefix)
    found = _walk(bucket, prefix) if first is None else _follow(bucket, prefix, first)
    async for page in found:
        yield [blob for blob in page if not blob.path.endswith(_KEEPER)]


# ── all keys of a prefix ─────────────────────────────────────────────────────────────────────────


async def _first(bucket: AsyncBucketProxy, prefix: str) -> SearchV2Result | None:
    """The first page; None where the server knows no such listing. Older ones take it for something else, so that any
    refusal but of the key may mean that."""
    try:
        return await _asked(bucket, prefix)
    except StorageApiError as error:
        if str(error.status) in ("400", "404", "405"):
            return None
        raise


async def _follow(bucket: AsyncBucketProxy, prefix: str, page: SearchV2Result) -> AsyncIterator[Sequence[StoredBlob]]:
    while True:
        yield [_blob(found.key or found.name, found.updated_at, found.metadata) for found in page.objects]
        if not page.hasNext or not page.nextCursor:
            return
        page = await _asked(bucket, prefix, page.nextCursor)


async def _asked(bucket: AsyncBucketProxy, prefix: str, cursor: str | None = None) -> SearchV2Result:
    options: SearchV2Options = {"prefix": prefix, "limit": _PAGE}
    if cursor is not None:
        options["cursor"] = cursor
    return await bucket.list_v2(options)


# ── folder by folder ─────────────────────────────────────────────────────────────────────────────


async def _walk(bucket: AsyncBucketProxy, prefix: str) -> AsyncIterator[Sequence[StoredBlob]]:
    folder = prefix.rpartition("/")[0]
    entries: dict[str, Mapping[str, Any]] = {}
    async for _ in _gather(bucket, folder, entries):
        yield ()  # the next request has a time limit of its own
    blobs: list[StoredBlob] = []
    for name in sorted(entries):  # a folder's ends in a slash, and so stands where its keys do
        key = f"{folder}/{name}" if folder else name
        if not key.startswith(prefix):
            continue
        if key.endswith("/"):
            yield blobs
            blobs = []
            async for page in _walk(bucket, key):
                yield page
        else:
            modified = datetime.fromisoformat(entries[name]["updated_at"])
            blobs.append(_blob(key, modified, entries[name]["metadata"]))
    yield blobs


async def _gather(
    bucket: AsyncBucketProxy, folder: str, entries: dict[str, Mapping[str, Any]]
) -> AsyncIterator[None]:
    """Fills `entries` with a folder's, by name, a page a step. Each page is to begin with an entry that is known;
    where it does not, others went meanwhile, and it is gone back."""
    start = 0
    while True:
        page = await bucket.list(folder, {"limit": _PAGE, "offset": start})
        named = {entry["name"] + ("/" if entry["id"] is None else ""): entry for entry in page}
        if start and next(iter(named), None) not in entries:
            start = max(0, start - _PAGE // 2)
        else:
            entries.update(named)
            if len(page) < _PAGE:
                return
            start += len(page) - 1
        yield None


def _blob(key: str, modified: datetime, metadata: Mapping[str, Any] | None) -> StoredBlob:
    return StoredBlob(key, int((metadata or {}).get("size", 0)), modified.astimezone(UTC))
