"""A small storage such as another package might add: a bucket in memory that has lifecycle rules, gives addresses,
and misbehaves on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from sayonce.errors import InvalidSettings, MissingExtra, StorageError, StorageMisconfigured, StorageUnavailable
from sayonce.storage.contract import PLAIN, LifecycleRule, Serving, StoredBlob
from sayonce.storage.memory import MemoryStorage

#: What a package tells of its storage.
_ENTRY_POINTS = "[sayonce.storages]\nbucket = tests.buckets:Bucket\n"


@dataclass
class Inside:
    """What is in a bucket, whoever opens it; `trouble` fails what it names, or everything: `all`."""

    blobs: MemoryStorage = field(default_factory=lambda: MemoryStorage("bucket"))
    rules: list[LifecycleRule] | None = field(default_factory=list)
    stubborn: bool = False  # keeps its rules, whatever is written
    address: str | None = None  # where its blobs are fetched
    trouble: dict[str, StorageError] = field(default_factory=dict)
    hangs: set[str] = field(default_factory=set)


class Bucket(MemoryStorage):
    """`bucket://name`, or by any other scheme. Its table may say what it likes, but nothing `wrong`."""

    backend = "bucket"
    known: ClassVar[dict[str, Inside]] = {}

    def __init__(self, name: str, inside: Inside) -> None:
        super().__init__(name)
        self.inside = inside

    @classmethod
    def from_settings(cls, name: str, table: Mapping[str, object]) -> Bucket:
        bucket = str(table.get("url", name)).rpartition("/")[2]
        if "wrong" in table or "lifecycle" in table:
            raise InvalidSettings(f"The bucket '{name}' is set up wrongly.", remedy="Take it out of its table.")
        if bucket == "uninstalled":
            raise MissingExtra("A bucket", extra="bucket")
        return cls(name, cls.known[bucket])

    async def write(self, path: str, data: bytes, metadata: Mapping[str, str], serving: Serving = PLAIN) -> None:
        await self._behave("write")
        await self.inside.blobs.write(path, data, metadata, serving)

    async def read(self, path: str) -> bytes:
        await self._behave("read")
        return await self.inside.blobs.read(path)

    async def metadata(self, path: str) -> Mapping[str, str]:
        await self._behave("metadata")
        return await self.inside.blobs.metadata(path)

    async def delete(self, path: str) -> None:
        await self._behave("delete")
        await self.inside.blobs.delete(path)

    async def list(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        await self._behave("list")
        async for blob in self.inside.blobs.list(prefix):
            yield blob

    async def probe(self) -> None:
        await self._behave("probe")

    async def url(self, path: str, seconds: float) -> str | None:
        await self._behave("url")
        return None if self.inside.address is None else f"{self.inside.address}/{path}?sig=secret"

    async def lifecycle(self) -> Sequence[LifecycleRule] | None:
        await self._behave("lifecycle")
        return None if self.inside.rules is None else [*self.inside.rules]

    async def set_lifecycle(self, rules: Sequence[LifecycleRule]) -> None:
        await self._behave("set_lifecycle")
        if self.inside.rules is None:
            raise StorageMisconfigured("This bucket has no lifecycle rules.", backend="bucket", remedy="Use upkeep.")
        if not self.inside.stubborn:
            self.inside.rules = [*rules]

    async def _behave(self, what: str) -> None:
        if {what, "all"} & self.inside.hangs:
            await asyncio.Event().wait()
        trouble = self.inside.trouble.get(what) or self.inside.trouble.get("all")
        if trouble is not None:
            raise trouble


def away(what: str = "The bucket is away.") -> StorageUnavailable:
    """Trouble that may pass."""
    return StorageUnavailable(what, backend="bucket", remedy="See to the network.")


def refused(what: str) -> StorageMisconfigured:
    """Trouble that lasts."""
    return StorageMisconfigured(what, backend="bucket", remedy="Give the key that right.")


@contextmanager
def buckets(folder: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> Iterator[dict[str, Inside]]:
    """Empty buckets of these names, which a package that is installed in `folder` knows of."""
    told = folder / "buckets" / "a_bucket-1.0.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: a-bucket\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text(_ENTRY_POINTS)
    monkeypatch.syspath_prepend(told.parent)
    from tests.buckets import Bucket  # the class that the entry point names, however this module was imported

    made = {name: Inside() for name in names}
    monkeypatch.setattr(Bucket, "known", made)
    yield made
