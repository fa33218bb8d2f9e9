"""Many blobs on the local disk at once: all of them whole, or what failed leaves nothing that looks like one."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.conftest import until

from sayonce.errors import BlobNotFound, StorageError, StorageFull, StorageUnavailable
from sayonce.storage import local
from sayonce.storage.contract import Writing
from sayonce.storage.local import LocalStorage

BLOBS = [Writing(f"{n % 3}/{n}.mp3", b"bytes %d" % n, {"n": str(n)}) for n in range(9)]


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[LocalStorage]:
    storage = LocalStorage("local", tmp_path / "audio")
    yield storage
    await storage.aclose()


def files(storage: LocalStorage) -> list[Path]:
    return [path for path in storage._root.rglob("*") if path.is_file() and path.name != ".sayonce-storage"]


async def test_all_is_synced_before_any_has_its_name(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    await storage.probe()
    seen: list[tuple[int, int]] = []

    def sync(_: int) -> int:
        named = [path for path in files(storage) if ".partial" not in path.parts]
        seen.append((len(named), len([path for path in named if path.suffix == ".mp3"])))
        return 0

    monkeypatch.setattr(local, "_syncfs", sync)
    await storage.write_all(BLOBS)
    assert seen == [(0, 0), (9, 0), (18, 9)], "bytes; then what is told of them; then their names"


@pytest.mark.parametrize(("number", "error"), [(errno.EIO, StorageUnavailable), (errno.ENOSPC, StorageFull)])
async def test_a_disk_that_fails_is_no_success(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, number: int, error: type[StorageError]
) -> None:
    def sync(_: int) -> int:
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(local, "_syncfs", sync)
    with pytest.raises(error):
        await storage.write_all(BLOBS)
    assert files(storage) == []


async def test_a_disk_that_fills_leaves_nothing(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    await storage.probe()
    write, written = os.write, []

    def full(handle: int, data: memoryview) -> int:
        if len(written) > 12:
            raise OSError(errno.ENOSPC, "full")
        written.append(handle)
        return write(handle, data)

    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full)
        with pytest.raises(StorageFull):
            await storage.write_all(BLOBS)
    assert files(storage) == []


async def test_a_path_that_leads_outside_is_refused_with_all(storage: LocalStorage) -> None:
    with pytest.raises(StorageError):
        await storage.write_all([*BLOBS, Writing("../outside", b"", {})])
    assert files(storage) == []


async def test_without_it_each_is_synced(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_syncfs", None)
    await storage.write_all(BLOBS)
    assert [blob.path async for blob in storage.list()] == sorted(blob.path for blob in BLOBS)


@pytest.fixture
async def busy(storage: LocalStorage) -> AsyncIterator[threading.Event]:
    """While it is not set, the disk is at something else."""
    await storage.probe()
    over = threading.Event()
    storage._writer.submit(over.wait)
    yield over
    over.set()


def writes(storage: LocalStorage, blobs: Sequence[Writing]) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(storage.write(blob.path, blob.data, blob.metadata)) for blob in blobs]


async def test_what_waits_to_be_written_waits_for_the_disk_once(
    storage: LocalStorage, busy: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(local, "_syncfs", lambda handle: synced.append(handle) or 0)
    writing = writes(storage, BLOBS)
    await until(lambda: len(storage._waiting) == len(BLOBS))
    busy.set()
    await asyncio.gather(*writing)
    assert len(synced) == 3
    assert [await storage.read(blob.path) for blob in BLOBS] == [blob.data for blob in BLOBS]


async def test_what_one_cannot_do_is_no_trouble_of_the_others(storage: LocalStorage, busy: threading.Event) -> None:
    wrong = [
        Writing("../outside", b"", {}),
        Writing("a" * 250 + ".mp3", b"its name is too long with its sidecar's", {}),
    ]
    writing = writes(storage, [wrong[0], *BLOBS, wrong[1]])
    await until(lambda: len(storage._waiting) == len(BLOBS) + 2)
    busy.set()
    first, *told, last = await asyncio.gather(*writing, return_exceptions=True)
    assert told == [None] * len(BLOBS)
    assert isinstance(first, StorageError)
    assert isinstance(last, StorageError)
    assert [await storage.read(blob.path) for blob in BLOBS] == [blob.data for blob in BLOBS]
    assert len(files(storage)) == 2 * len(BLOBS)


async def test_who_gave_up_while_waiting_has_written_nothing(storage: LocalStorage, busy: threading.Event) -> None:
    given_up, *writing = writes(storage, BLOBS)
    await until(lambda: len(storage._waiting) == len(BLOBS))
    given_up.cancel()
    await asyncio.wait({given_up})
    busy.set()
    await asyncio.gather(*writing)
    assert len(files(storage)) == 2 * (len(BLOBS) - 1)
    with pytest.raises(BlobNotFound):
        await storage.read(BLOBS[0].path)
