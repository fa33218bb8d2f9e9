"""Blobs on the local disk.

A blob is written aside, synced, renamed to its place, and the folder synced: whoever finds it finds all of it,
also after a power cut. Its metadata lies beside it in a file of its own, written first.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import secrets
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from sayonce.errors import BlobNotFound, InvalidSettings, StorageError, StorageFull, StorageUnavailable
from sayonce.storage.contract import PLAIN, Serving, Storage, StoredBlob
from sayonce.storage.paths import validated

T = TypeVar("T")

# Present in every root: without it the disk is not the one that was written to, and nothing is known to be gone.
_MARKER = ".sayonce-storage"
_PARTIAL = ".partial"
_SIDECAR = ".meta.json"
_ABANDONED = 3_600.0  # seconds after which a partial file is nobody's
_THREADS = 8
_LISTED_AT_ONCE = 1_000

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}


class LocalStorage(Storage):
    """`root` is made where it is missing. One operation is one hop to a thread of its own pool."""

    backend = "local"

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self._root = root.absolute()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"storage-{name}")
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
        await self._run(self._write, path, data, json.dumps(dict(metadata)).encode())

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

    # ── in a thread ──────────────────────────────────────────────────────────────────────────────

    async def _run(self, work: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._translated, work, args)

    def _translated(self, work: Callable[..., T], args: tuple[object, ...]) -> T:
        try:
            self._make_sure()
            return work(*args)
        except OSError as error:
            raise self._error(error) from error

    def _write(self, path: str, data: bytes, metadata: bytes) -> None:
        place = self._place(path)
        self._make_folder(place.parent)
        self._put(_sidecar(place), metadata)
        self._put(place, data)

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
        if os.path.realpath(place.parent) != os.path.join(os.path.realpath(self._root), *path.split("/")[:-1]):
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
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
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
