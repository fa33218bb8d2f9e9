"""Where bytes rest: the one contract that every backend is behind."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from sayonce.errors import StorageMisconfigured


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob as the backend lists it. `modified` is aware, in UTC."""

    path: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class LifecycleRule:
    """What a bucket does by itself with a blob that is so many days old: it moves it to a cheaper class of storage,
    in the backend's own word, or deletes it (None)."""

    days: int
    to: str | None


@dataclass(frozen=True, slots=True)
class Serving:
    """What the storage itself is to say of a blob to whoever fetches it there: two headers' values."""

    content_type: str = "application/octet-stream"
    cache_control: str = "private, no-cache"


PLAIN = Serving()

# How many blobs of a batch are written at a time.
_WRITTEN_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Writing:
    """A blob that is to be written."""

    path: str
    data: bytes
    metadata: Mapping[str, str]
    serving: Serving = PLAIN


#: The credentials that the caller of this task has forwarded, for storages that act for their callers.
forwarded_token: ContextVar[str | None] = ContextVar("forwarded_token", default=None)


class Storage(ABC):
    """One place for blobs. Paths are relative, `/`-separated, already validated (`storage.paths`); a backend still
    refuses one that would lead outside itself. Many calls may run at once; nothing blocks the event loop.

    Mutual exclusion is not a storage's business (law 10). Errors: BlobNotFound only for a definite answer that the
    blob is not there, which a missing bucket is not; StorageFull for no space or no right to write;
    StorageMisconfigured where only another setting helps; StorageUnavailable for everything else. Each names
    `backend`, and says which place it is about.
    """

    #: The registry's name for this kind of storage.
    backend: ClassVar[str]

    #: The configured name, which blob rows carry.
    name: str

    @classmethod
    @abstractmethod
    def from_settings(cls, name: str, table: Mapping[str, object]) -> Storage:
        """The storage of a settings table (`backend` left out; `url` is the whole address, where one is given).
        InvalidSettings where a setting is wrong, MissingExtra where what it needs is not installed. Talks to nobody
        yet."""

    @abstractmethod
    async def write(self, path: str, data: bytes, metadata: Mapping[str, str], serving: Serving = PLAIN) -> None:
        """Puts the whole blob at `path`, replacing what was there. When it returns, the bytes survive a power cut;
        until then a reader finds the old blob or none, never a part. Cancelled or failed, it leaves nothing behind
        that a reader or a listing could take for a blob. `metadata` (any text, any length) is kept beside it."""

    @abstractmethod
    async def read(self, path: str) -> bytes:
        """The blob's bytes. BlobNotFound where there is none."""

    @abstractmethod
    async def metadata(self, path: str) -> Mapping[str, str]:
        """What was written beside it. BlobNotFound where there is no blob."""

    @abstractmethod
    async def delete(self, path: str) -> None:
        """Removes it, and its metadata. Idempotent: nothing to remove is no error."""

    @abstractmethod
    def list(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        """The blobs whose path begins with `prefix`, in path order. One written or removed meanwhile may or may
        not be among them; partial writes and metadata never are."""

    @abstractmethod
    async def probe(self) -> None:
        """Returns where it can be written and read now; StorageError where not."""

    async def write_all(self, blobs: Sequence[Writing]) -> None:
        """Writes many, of different paths, as `write` does each. Cancelled or failed, some are there and the others
        not. Override it where that is cheaper together."""
        turns = asyncio.Semaphore(_WRITTEN_AT_ONCE)

        async def one(blob: Writing) -> None:
            async with turns:
                await self.write(blob.path, blob.data, blob.metadata, blob.serving)

        done = await asyncio.gather(*(one(blob) for blob in blobs), return_exceptions=True)
        for each in done:
            if isinstance(each, BaseException):
                raise each

    async def url(self, path: str, seconds: float) -> str | None:
        """An address where whoever has it can GET the blob, for about so many seconds at least; None where this
        storage gives none. Whether there is a blob is not asked."""
        return None

    async def lifecycle(self) -> Sequence[LifecycleRule] | None:
        """The rules that hold for exactly this storage's blobs, fewest days first; None where a storage of this kind
        can have none."""
        return None

    async def set_lifecycle(self, rules: Sequence[LifecycleRule]) -> None:
        """Lets these rules hold for this storage's blobs, in place of those that did; rules for anything else in the
        bucket stay as they are. StorageMisconfigured where it can have none."""
        raise StorageMisconfigured(
            f"The storage '{self.name}' has no lifecycle rules.",
            backend=self.backend,
            remedy="S3 and GCS have them; elsewhere `sayonce upkeep` does the same.",
        )

    async def aclose(self) -> None:  # noqa: B027 - most hold nothing
        """Frees what it holds. Called once, last."""
