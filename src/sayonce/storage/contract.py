"""Where bytes rest: the one contract that every backend is behind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob as the backend lists it. `modified` is aware, in UTC."""

    path: str
    size: int
    modified: datetime


class Storage(ABC):
    """One place for blobs. Paths are relative, `/`-separated, already validated (`storage.paths`); a backend still
    refuses one that would lead outside itself. Many calls may run at once; nothing blocks the event loop.

    Mutual exclusion is not a storage's business (law 10). Errors: BlobNotFound only for a definite answer;
    StorageFull for no space or no right to write; StorageUnavailable for everything else. Each names `backend`.
    """

    #: The registry's name for this kind of storage.
    backend: ClassVar[str]

    #: The configured name, which blob rows carry.
    name: str

    @classmethod
    @abstractmethod
    def from_settings(cls, name: str, table: Mapping[str, object]) -> Storage:
        """The storage of a settings table (`backend` left out). InvalidSettings where a setting is wrong."""

    @abstractmethod
    async def write(self, path: str, data: bytes, metadata: Mapping[str, str]) -> None:
        """Puts the whole blob at `path`, replacing what was there. When it returns, the bytes survive a power cut;
        until then a reader finds the old blob or none, never a part. Cancelled or failed, it leaves nothing behind
        that a reader or a listing could take for a blob. `metadata` is kept beside it."""

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

    async def aclose(self) -> None:  # noqa: B027 - most hold nothing
        """Frees what it holds. Called once, last."""
