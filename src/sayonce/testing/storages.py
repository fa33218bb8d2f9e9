"""The contract suite of storages: subclass it, give it your storage, and it tests what the contract says.

class TestMine(StorageContract):
    @pytest.fixture
    async def storage(self) -> AsyncIterator[Storage]:
        yield MyStorage(…)
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from sayonce.errors import BlobNotFound, StorageError, StorageMisconfigured
from sayonce.storage.contract import LifecycleRule, Serving, Storage, Writing

TOLD = {"content_hash": "ab" * 32, "voice": "grün 🙂"}


class StorageContract:
    """Every sentence of `sayonce.storage.contract.Storage`."""

    @pytest.fixture
    async def storage(self) -> Storage:
        """Yours, empty."""
        raise NotImplementedError("give the suite a storage")

    async def test_what_is_written_is_read(self, storage: Storage) -> None:
        await storage.write("a/b/c.mp3", b"bytes", TOLD)
        assert await storage.read("a/b/c.mp3") == b"bytes"
        assert await storage.metadata("a/b/c.mp3") == TOLD

    async def test_many_are_written_together(self, storage: Storage) -> None:
        await storage.write("a/0.mp3", b"old and longer", {"n": "old"})
        await storage.write_all([])
        blobs = [Writing(f"a/{n}.mp3", b"%d" % n * 100, {"n": str(n)}) for n in range(40)]
        await storage.write_all(blobs)
        for blob in blobs:
            assert await storage.read(blob.path) == blob.data
            assert await storage.metadata(blob.path) == blob.metadata
        assert len([blob async for blob in storage.list()]) == 40

    @pytest.mark.parametrize("size", [0, 1, 20_000_000])
    async def test_sizes(self, storage: Storage, size: int) -> None:
        data = os.urandom(size)
        await storage.write("blob", data, {})
        assert await storage.read("blob") == data

    async def test_what_is_not_there(self, storage: Storage) -> None:
        for ask in (storage.read, storage.metadata):
            with pytest.raises(BlobNotFound):
                await ask("not/there.mp3")

    async def test_writing_replaces(self, storage: Storage) -> None:
        await storage.write("blob", b"old and longer", {"n": "1"})
        await storage.write("blob", b"new", {"n": "2"})
        assert (await storage.read("blob"), await storage.metadata("blob")) == (b"new", {"n": "2"})

    async def test_a_reader_finds_the_old_or_the_new(self, storage: Storage) -> None:
        versions = [bytes([n]) * 300_000 for n in range(20)]
        await storage.write("blob", versions[0], {})

        async def read() -> None:
            for _ in range(100):
                assert await storage.read("blob") in versions

        async def write() -> None:
            for version in versions:
                await storage.write("blob", version, {})

        await asyncio.gather(read(), read(), write())

    async def test_deleting_is_idempotent(self, storage: Storage) -> None:
        await storage.write("a/blob", b"bytes", TOLD)
        await storage.delete("a/blob")
        await storage.delete("a/blob")
        await storage.delete("never/was")
        with pytest.raises(BlobNotFound):
            await storage.read("a/blob")
        assert [blob async for blob in storage.list()] == []

    async def test_listing(self, storage: Storage) -> None:
        paths = ["a/1.mp3", "a/2.mp3", "a.mp3", "b/c/3.mp3", "ab/4.mp3"]
        for path in paths:
            await storage.write(path, path.encode(), TOLD)
        found = [blob async for blob in storage.list()]
        assert [blob.path for blob in found] == sorted(paths)
        assert [blob.size for blob in found] == [len(path) for path in sorted(paths)]
        assert all(datetime.now(UTC) - blob.modified < timedelta(minutes=5) for blob in found)
        assert [blob.path async for blob in storage.list("a/")] == ["a/1.mp3", "a/2.mp3"]
        assert [blob.path async for blob in storage.list("b/c/3")] == ["b/c/3.mp3"]
        assert [blob.path async for blob in storage.list("nowhere")] == []

    async def test_many_at_once(self, storage: Storage) -> None:
        await asyncio.gather(*(storage.write(f"many/{n}", b"%d" % n, {"n": str(n)}) for n in range(100)))
        assert await asyncio.gather(*(storage.read(f"many/{n}") for n in range(100))) == [
            b"%d" % n for n in range(100)
        ]

    async def test_a_cancelled_write_leaves_nothing_to_find(self, storage: Storage) -> None:
        for n in range(20):
            writing = asyncio.create_task(storage.write(f"cancelled/{n}", b"x" * 500_000, TOLD))
            for _ in range(n % 4):
                await asyncio.sleep(0)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        await storage.write("last", b"", {})  # whatever went on meanwhile is over
        for blob in [blob async for blob in storage.list("cancelled/")]:
            assert await storage.read(blob.path) == b"x" * 500_000

    @pytest.mark.parametrize(
        "path", ["", "/etc/passwd", "../up", "a/../../up", "a//b", ".", "a/.", "a\\b", "a\0b", "a/" + "x" * 300, "é"]
    )
    async def test_paths_that_lead_elsewhere(self, storage: Storage, path: str) -> None:
        with pytest.raises(StorageError) as refused:
            await storage.write(path, b"bytes", {})
        assert not isinstance(refused.value, BlobNotFound)
        with pytest.raises(StorageError):
            await storage.read(path)

    async def test_metadata_of_any_length(self, storage: Storage) -> None:
        for size in (1, 900, 1_990, 9_000, 100_000):
            told = TOLD | {"marks": "é" * size}
            await storage.write("blob", b"bytes", told)
            assert await storage.metadata("blob") == told
        assert [blob.path async for blob in storage.list()] == ["blob"]

    async def test_an_address_gives_the_bytes(self, storage: Storage) -> None:
        await storage.write("a/b.mp3", b"bytes", TOLD, Serving("audio/mpeg", "private, max-age=60"))
        address = await storage.url("a/b.mp3", 60)
        if address is None:
            return  # not every storage gives one
        async with httpx.AsyncClient() as http:
            answer = await http.get(address)
        assert (answer.status_code, answer.content) == (200, b"bytes")
        assert answer.headers["content-type"] == "audio/mpeg"
        directives = answer.headers["cache-control"].split(",")  # whose order means nothing
        assert {directive.strip() for directive in directives} == {"private", "max-age=60"}

    async def test_lifecycle_rules(self, storage: Storage) -> None:
        if await storage.lifecycle() is None:
            with pytest.raises(StorageMisconfigured, match="lifecycle"):
                await storage.set_lifecycle([LifecycleRule(365, None)])
            return
        await storage.set_lifecycle([LifecycleRule(365, None)])
        assert await storage.lifecycle() == [LifecycleRule(365, None)]
        await storage.set_lifecycle([])
        assert await storage.lifecycle() == []

    async def test_it_is_there(self, storage: Storage) -> None:
        await storage.probe()
        assert [blob async for blob in storage.list()] == []
