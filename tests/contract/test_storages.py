"""Our storages keep the contract."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sayonce.catalog.catalog import Catalog
from sayonce.catalog.postgres import PostgresDatabase
from sayonce.catalog.sqlite import SqliteDatabase
from sayonce.errors import InvalidSettings, StorageError, StorageFull, StorageUnavailable
from sayonce.storage import registry
from sayonce.storage.contract import Storage
from sayonce.storage.database import DatabaseStorage
from sayonce.storage.local import LocalStorage
from sayonce.storage.memory import MemoryStorage
from sayonce.testing.storages import StorageContract


class TestMemory(StorageContract):
    @pytest.fixture
    async def storage(self) -> Storage:
        return MemoryStorage("memory")


class TestLocal(StorageContract):
    @pytest.fixture
    async def storage(self, tmp_path: Path) -> AsyncIterator[Storage]:
        storage = LocalStorage("local", tmp_path / "root")
        yield storage
        await storage.aclose()

    async def test_no_file_is_left_of_what_was_cancelled(self, storage: Storage, tmp_path: Path) -> None:
        await storage.probe()
        writing = asyncio.create_task(storage.write("a", b"x" * 1_000_000, {}))
        await asyncio.sleep(0)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await storage.aclose()
        storage._writer.shutdown(wait=True)  # type: ignore[attr-defined]
        assert list((tmp_path / "root" / ".partial").iterdir()) == []

    async def test_another_disk_in_its_place_is_unreachable(self, storage: Storage, tmp_path: Path) -> None:
        await storage.write("a", b"bytes", {})
        (tmp_path / "root").rename(tmp_path / "unmounted")
        for _ in range(2):
            with pytest.raises(StorageUnavailable):
                await storage.read("a")
            (tmp_path / "root").mkdir(exist_ok=True)  # the mount point is there, the disk is not
        with pytest.raises(StorageUnavailable):
            await storage.write("a", b"bytes", {})

    async def test_a_folder_of_others_is_not_taken(self, tmp_path: Path) -> None:
        (tmp_path / "precious.txt").write_text("not ours")
        with pytest.raises(StorageUnavailable, match="empty folder"):
            await LocalStorage("local", tmp_path).write("a", b"bytes", {})
        assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]

    @pytest.mark.parametrize("trick", ["link/inside", "file-link"])
    async def test_links_lead_nowhere(self, storage: Storage, tmp_path: Path, trick: str) -> None:
        await storage.write("a", b"bytes", {})
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside" / "inside").write_bytes(b"secret")
        (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
        (tmp_path / "root" / "file-link").symlink_to(tmp_path / "outside" / "inside")
        with pytest.raises(StorageError):
            await storage.read(trick)
        with pytest.raises(StorageError):
            await storage.write("link/new", b"bytes", {})
        assert [path.name for path in (tmp_path / "outside").iterdir()] == ["inside"]

    @pytest.mark.parametrize("path", [".partial/x", ".sayonce-storage", "a.meta.json"])
    async def test_its_own_files_are_no_blobs(self, storage: Storage, path: str) -> None:
        with pytest.raises(StorageError, match="own"):
            await storage.write(path, b"bytes", {})

    async def test_left_over_partials_go_when_they_are_nobodys(self, storage: Storage, tmp_path: Path) -> None:
        await storage.write("a", b"bytes", {})
        old, new = (tmp_path / "root" / ".partial" / name for name in ("old", "new"))
        for partial in (old, new):
            partial.write_bytes(b"half")
        os.utime(old, (time.time() - 7_200, time.time() - 7_200))
        await LocalStorage("again", tmp_path / "root").read("a")
        assert (old.exists(), new.exists()) == (False, True)


# What a process does to whom the disk gives no more: a limit that the system enforces, in a child of its own.
FULL = """
import asyncio, resource, sys
from pathlib import Path
from sayonce.errors import StorageFull, BlobNotFound
from sayonce.storage.local import LocalStorage
async def main():
    storage = LocalStorage("local", Path(sys.argv[1]))
    await storage.write("small", b"x", {})
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        await storage.write("big", b"x" * 200_000, {})
    except StorageFull as error:
        print("full", error.remedy)
    try:
        await storage.read("big")
    except BlobNotFound:
        print("nothing there", len(list((Path(sys.argv[1]) / ".partial").iterdir())))
asyncio.run(main())
"""


async def test_a_full_disk(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", FULL, str(tmp_path / "root")), stdout=asyncio.subprocess.PIPE
    )
    told, _ = await child.communicate()
    assert child.returncode == 0
    assert told.decode().splitlines() == [
        "full Free some space, or give the gateway the right to write there.",
        "nothing there 0",
    ]
    assert errno.EFBIG
    assert resource.RLIMIT_FSIZE is not None


async def test_a_read_only_folder(tmp_path: Path) -> None:
    """Root may write anywhere, so the child becomes nobody."""
    root = tmp_path / "root"
    await LocalStorage("local", root).write("a", b"bytes", {})
    script = (
        "import asyncio, os, sys\nfrom pathlib import Path\nfrom sayonce.errors import StorageFull\n"
        "from sayonce.storage.local import LocalStorage\n"
        "os.getuid() == 0 and os.setuid(65534)\n"
        "async def main():\n    storage = LocalStorage('local', Path(sys.argv[1]))\n"
        "    print((await storage.read('a')).decode())\n"
        "    try:\n        await storage.write('b', b'x', {})\n    except StorageFull:\n        print('refused')\n"
        "asyncio.run(main())\n"
    )
    for folder in [root, *root.rglob("*")]:
        folder.chmod(0o555 if folder.is_dir() else 0o444)
    for folder in tmp_path.parents:
        if folder.owner() == Path(tmp_path).owner() and str(folder).count("/") > 1:
            folder.chmod(folder.stat().st_mode | 0o055)
    tmp_path.chmod(0o755)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, str(root)), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    told, problem = await child.communicate()
    for folder in [root, *root.rglob("*")]:
        folder.chmod(0o755)
    assert told.decode().splitlines() == ["bytes", "refused"], problem.decode()


def test_the_registry(tmp_path: Path) -> None:
    assert isinstance(registry.make("x", "local", {"root": str(tmp_path)}), LocalStorage)
    assert set(registry.known()) >= {"local", "memory"}
    with pytest.raises(InvalidSettings, match="local, memory"):
        registry.make("x", "nowhere", {})
    with pytest.raises(InvalidSettings, match="root"):
        registry.make("x", "local", {"rot": "/x"})
    assert StorageFull.code == "storage_full"


class TestDatabaseOnSqlite(StorageContract):
    @pytest.fixture
    async def storage(self, tmp_path: Path) -> AsyncIterator[Storage]:
        catalog = Catalog(SqliteDatabase(tmp_path / "catalog.db"), time.time)
        yield DatabaseStorage("database://", catalog.bytes)
        await catalog.aclose()


class TestDatabaseOnPostgres(StorageContract):
    @pytest.fixture
    async def storage(self, postgres: str) -> AsyncIterator[Storage]:
        catalog = Catalog(PostgresDatabase(postgres), time.time)
        yield DatabaseStorage("database://", catalog.bytes)
        await catalog.aclose()

    async def test_two_names_are_two_places(self, storage: Storage) -> None:
        assert isinstance(storage, DatabaseStorage)
        other = DatabaseStorage("another", storage._rows)
        await storage.write("a", b"one", {})
        await other.write("a", b"two", {})
        assert (await storage.read("a"), await other.read("a")) == (b"one", b"two")
        assert [blob.size async for blob in other.list()] == [3]

    async def test_pages_follow_one_another(self, storage: Storage) -> None:
        for n in range(1_200):
            await storage.write(f"{n:04}.mp3", b"x", {})
        assert [blob.path async for blob in storage.list()] == [f"{n:04}.mp3" for n in range(1_200)]


def test_a_database_takes_no_settings() -> None:
    for table in ({}, {"rows": object(), "root": "/x"}, {"rows": object(), "url": "database://elsewhere"}):
        with pytest.raises(InvalidSettings, match="DATABASE_URL"):
            registry.make("x", "database", table)
