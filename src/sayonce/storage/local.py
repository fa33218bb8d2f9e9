"""Blobs on the local disk.

A blob is written aside, synced, renamed to its place, and the folder synced: whoever finds it finds all of it,
also after a power cut. Its metadata lies beside it in a file of its own, written first.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import json
import os
import secrets
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from sayonce.errors import BlobNotFound, InvalidSettings, StorageError, StorageFull, StorageUnavailable
from sayonce.storage.contract import PLAIN, Serving, Storage, StoredBlob, Writing
from sayonce.storage.paths import validated

T = TypeVar("T")

# Of Linux alone; Python does not name it.
_syncfs: Callable[[int], int] | None = (
    getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None) if sys.platform == "linux" else None
)

# Present in every root: without it the disk is not the one that was written to, and nothing is known to be gone.
_MARKER = ".sayonce-storage"
_PARTIAL = ".partial"
_SIDECAR = ".meta.json"
_ABANDONED = 3_600.0  # seconds after which a partial file is nobody's
_THREADS = 8
_LISTED_AT_ONCE = 1_000
# How many blobs that wait are written together.
_TOGETHER = 32

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}


@dataclass(slots=True, eq=False, repr=False)
class _Wanted:
    """A blob that waits to be written, and why it could not be."""

    blob: Writing
    error: StorageError | None = None


class LocalStorage(Storage):
    """`root` is made where it is missing. One operation is one hop to a thread of its own pool; what is written has
    one for itself, where what waits shares its waiting for the disk."""

    backend = "local"

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self._root = root.absolute()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"storage-{name}")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=f"storage-{name}-writer")
        self._waiting: deque[_Wanted] = deque()
        self._opening = threading.Lock()
        self._open: bool = False

    @classmethod
    def from_settings(cls, name: str, table: Mapping[str, object]) -> LocalStorage:
        address = urlsplit(str(table.get("url", "")))
        root = table.get("root", unquote(address.path))
        if not isinstance(root, str | Path) or not str(root) or address.netloc or set(table) - {"root", "url"}:
            raise InvalidSettings(
                f"The storage '{name}' on the local disk needs 'root' and nothing else.",
                remedy=f'Set root = "/some/folder" in [storages.{name}], or the storage file:///some/folder.',
            )
        return cls(name, Path(root))

    async def write(self, path: str, data: bytes, metadata: Mapping[str, str], serving: Serving = PLAIN) -> None:
        wanted = _Wanted(Writing(path, data, metadata, serving))
        self._waiting.append(wanted)
        try:
            await asyncio.get_running_loop().run_in_executor(self._writer, self._write_waiting, wanted)
        finally:
            with suppress(ValueError):  # nobody may write what its caller was told that it failed
                self._waiting.remove(wanted)

    async def write_all(self, blobs: Sequence[Writing]) -> None:
        if _syncfs is None:
            await super().write_all(blobs)
        else:
            await self._run(self._write_all, blobs)

    async def read(self, path: str) -> bytes:
        return await self._run(self._read, path)

    async def metadata(self, path: str) -> Mapping[str, str]:
        return await self._run(self._metadata, path)

    async def delete(self, path: str) -> None:
        await self._run(self._delete, path)

    async def list(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        found = self._walk(self._root, prefix)
        while batch := await self._run(_take, found, _LISTED_AT_ONCE):
            for blob in batch:
                yield blob

    async def probe(self) -> None:
        path = f"{_PARTIAL}-probe-{secrets.token_hex(8)}"
        await self._run(self._probe, self._root / path)

    async def aclose(self) -> None:
        self._pool.shutdown(wait=False)
        self._writer.shutdown(wait=False)

    # ── in a thread ──────────────────────────────────────────────────────────────────────────────

    async def _run(self, work: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._translated, work, args)

    def _translated(self, work: Callable[..., T], args: tuple[object, ...]) -> T:
        try:
            self._make_sure()
            return work(*args)
        except OSError as error:
            raise self._error(error) from error

    def _write_waiting(self, wanted: _Wanted) -> None:
        """Writes what waits, together: each would have to wait for the disk."""
        together: list[_Wanted] = []
        with suppress(IndexError):  # no more
            while len(together) < _TOGETHER:
                together.append(self._waiting.popleft())
        if not (len(together) > 1 and _syncfs is not None and self._written_beside(together)):
            for each in together:  # else an earlier turn has taken it along
                each.error = self._tried(each.blob)
        if wanted.error is not None:
            raise wanted.error

    def _written_beside(self, together: Sequence[_Wanted]) -> bool:
        """Whether that was all: what one of them cannot do is no trouble of the others."""
        try:
            self._translated(self._write_all, ([each.blob for each in together],))
        except StorageError:
            return False
        return True

    def _tried(self, blob: Writing) -> StorageError | None:
        try:
            self._translated(self._write, (blob,))
        except StorageError as error:
            return error
        return None

    def _write(self, blob: Writing) -> None:
        place = self._place(blob.path)
        self._make_folder(place.parent)
        self._put(_sidecar(place), json.dumps(dict(blob.metadata)).encode())
        self._put(place, blob.data)

    def _write_all(self, blobs: Sequence[Writing]) -> None:
        """As `_write` each, but that all of them wait for the disk together, three times: a file at a time takes a
        hundred times as long."""
        places = [self._place(blob.path) for blob in blobs]
        for folder in {place.parent for place in places}:
            self._make_folder(folder)
        files = [
            (_sidecar(place), json.dumps(dict(b.metadata)).encode()) for place, b in zip(places, blobs, strict=True)
        ]
        beside = self._put_aside(files)
        try:
            bytes_aside = self._put_aside([(place, blob.data) for place, blob in zip(places, blobs, strict=True)])
        except BaseException:
            _unlink(beside)
            raise
        try:
            for part in ({}, beside, bytes_aside):
                for aside, place in part.items():
                    os.rename(aside, place)
                _sync_all(self._root)
        except BaseException:
            _unlink({**beside, **bytes_aside})
            raise

    def _put_aside(self, files: Sequence[tuple[Path, bytes]]) -> Mapping[Path, Path]:
        """Files that are not synced yet, each with its place."""
        asides: dict[Path, Path] = {}
        try:
            for place, data in files:
                aside = self._root / _PARTIAL / secrets.token_hex(16)
                asides[aside] = place
                os.close(_written(aside, data))
        except BaseException:
            _unlink(asides)
            raise
        return asides

    def _put(self, place: Path, data: bytes) -> None:
        aside = self._root / _PARTIAL / secrets.token_hex(16)
        try:
            _write_synced(aside, data)
            os.rename(aside, place)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        _sync_folder(place.parent)

    def _read(self, path: str) -> bytes:
        try:
            handle = os.open(self._place(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise self._not_there() from error
        with open(handle, "rb") as file:
            return file.read()

    def _metadata(self, path: str) -> Mapping[str, str]:
        place = self._place(path)
        try:
            os.stat(place, follow_symlinks=False)
            told: dict[str, str] = json.loads(_sidecar(place).read_bytes())
        except FileNotFoundError as error:
            raise self._not_there() from error
        except ValueError:
            return {}  # damaged, as what it tells of may be
        return told

    def _delete(self, path: str) -> None:
        place = self._place(path)
        if not place.parent.is_dir():
            return
        place.unlink(missing_ok=True)
        _sidecar(place).unlink(missing_ok=True)
        _sync_folder(place.parent)

    def _probe(self, place: Path) -> None:
        _write_synced(place, b"sayonce")
        try:
            place.read_bytes()
        finally:
            place.unlink()

    def _walk(self, folder: Path, prefix: str) -> Iterator[StoredBlob]:
        for entry in sorted(os.scandir(folder), key=lambda e: e.name + ("/" if e.is_dir() else "")):
            path = Path(entry.path).relative_to(self._root).as_posix()
            if entry.name in (_MARKER, _PARTIAL) or not (path.startswith(prefix) or prefix.startswith(path)):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(Path(entry.path), prefix)
            elif not entry.name.endswith(_SIDECAR) and path.startswith(prefix):
                with_stat = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(with_stat.st_mode):
                    yield StoredBlob(path, with_stat.st_size, datetime.fromtimestamp(with_stat.st_mtime, UTC))

    def _place(self, path: str) -> Path:
        try:
            validated(path)
        except ValueError as error:
            raise StorageError(f"That is no path of a blob: {error}.", backend=self.backend) from error
        if path.startswith(".") or path.endswith(_SIDECAR):
            raise StorageError("That path is one of the storage's own.", backend=self.backend)
        place = self._root / path
        # A link among the folders could lead out of the root; `validated` has already refused `..`.
        if any(os.path.islink(self._root / folder) for folder in accumulate(path.split("/")[:-1], os.path.join)):
            raise StorageError("A link stands among the folders of that path.", backend=self.backend)
        return place

    def _make_sure(self) -> None:
        """The root is there, and it is the one that was written to."""
        marker = self._root / _MARKER
        if self._open:
            os.stat(self._root)
            if not marker.exists():
                raise self._unmounted()
            return
        with self._opening:
            if not self._adopted(marker):
                self._adopt(marker)
            self._clear_partials()
            self._open = True

    def _adopted(self, marker: Path) -> bool:
        return marker.exists() and (self._root / _PARTIAL).is_dir()

    def _adopt(self, marker: Path) -> None:
        """Marks an empty root as ours. Other processes may be at it, too: whoever's marker is first will do."""
        self._make_folder(self._root)
        if any(path != marker for path in self._root.iterdir()) and not marker.exists():
            raise self._unmounted()
        with suppress(FileExistsError):
            _write_synced(marker, b"Blobs of sayonce lie here. Without this file they count as unreachable.\n")
            _sync_folder(self._root)
        self._make_folder(self._root / _PARTIAL)

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)

    def _clear_partials(self) -> None:
        for partial in (self._root / _PARTIAL).iterdir():
            with suppress(FileNotFoundError):  # another process's, and finished just now
                if time.time() - partial.stat().st_mtime > _ABANDONED:
                    partial.unlink()

    def _unmounted(self) -> StorageUnavailable:
        return StorageUnavailable(
            f"The folder {self._root} has no {_MARKER}: it is not the one that audio was kept in.",
            backend=self.backend,
            remedy="Mount the disk, or name an empty folder.",
        )

    def _not_there(self) -> BlobNotFound:
        return BlobNotFound("The blob is not there.", backend=self.backend, remedy="It is made anew.")

    def _error(self, error: OSError) -> StorageError:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        if error.errno in _FULL:
            return StorageFull(
                f"Nothing can be written to {self._root}: {reason}.",
                backend=self.backend,
                remedy="Free some space, or give the gateway the right to write there.",
            )
        return StorageUnavailable(
            f"The folder {self._root} does not answer: {reason}.", backend=self.backend, remedy="See to the disk."
        )


def _write_synced(place: Path, data: bytes) -> None:
    handle = _written(place, data)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _written(place: Path, data: bytes) -> int:
    """The handle of a new file with these bytes."""
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]
    except BaseException:
        os.close(handle)
        raise
    return handle


def _unlink(asides: Iterable[Path]) -> None:
    for aside in asides:
        aside.unlink(missing_ok=True)


def _sync_all(root: Path) -> None:
    """Has everything that was written to the root's file system reach its disk; OSError where not all has."""
    assert _syncfs is not None
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _syncfs(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sidecar(place: Path) -> Path:
    return place.with_name(place.name + _SIDECAR)


def _take(found: Iterator[StoredBlob], most: int) -> list[StoredBlob]:
    return [blob for blob, _ in zip(found, range(most), strict=False)]
