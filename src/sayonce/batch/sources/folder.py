"""A folder of audio files, and a manifest that says what is said in each."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from sayonce.batch.rows import Row, opened
from sayonce.batch.sources.contract import Piece, Source, too_large
from sayonce.errors import InvalidRequest

#: What a folder's manifest is called, where it is not named.
MANIFESTS = ("manifest.jsonl", "manifest.ndjson", "manifest.csv", "manifest.yaml", "manifest.yml")


class Folder(Source):
    """`columns` says which of the manifest's fields means what; where it is empty, their names do. A file lies below
    `root`, whatever the manifest says, and no link leads out of it. None is larger than `most` bytes."""

    def __init__(self, root: Path, manifest: Path | None, columns: Mapping[str, str], most: int) -> None:
        if not os.path.isdir(root):
            raise InvalidRequest(f"{root} is no folder.", remedy="Name a folder, or the address of a database.")
        self._root = Path(os.path.realpath(root))
        self._rows = opened(manifest or _manifest_in(root))
        self._columns = columns
        self._most = most
        self.head = self._rows.head

    async def pieces(self) -> AsyncIterator[Piece]:
        rows = iter(self._rows)
        while (row := await asyncio.to_thread(next, rows, None)) is not None:
            yield self._piece(row)

    def _piece(self, row: Row) -> Piece:
        fields = mapped(row.fields, self._columns)
        name = fields.get("file")

        async def read() -> bytes:
            if not isinstance(name, str) or not name:
                raise InvalidRequest("it names no file", param="file")
            return await asyncio.to_thread(self._read, name)

        return Piece(row.place, fields, read)

    def _read(self, name: str) -> bytes:
        place = os.path.realpath(self._root / name)
        if os.path.isabs(name) or not Path(place).is_relative_to(self._root):
            raise InvalidRequest("its file is outside of the folder", param="file")
        try:
            # Not followed, and not waited for: what lies there may have changed since.
            handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _unreadable(error) from error
        try:
            self._refuse(os.fstat(handle))
        except InvalidRequest:
            os.close(handle)
            raise
        with open(handle, "rb") as file:
            try:
                return file.read(self._most)
            except OSError as error:
                raise _unreadable(error) from error

    def _refuse(self, there: os.stat_result) -> None:
        if not stat.S_ISREG(there.st_mode):
            raise InvalidRequest("its file is no plain file", param="file")
        if there.st_size > self._most:
            raise too_large(there.st_size, self._most)


def _unreadable(error: OSError) -> InvalidRequest:
    return InvalidRequest(f"its file cannot be read: {error.strerror}", param="file")


def mapped(fields: Mapping[str, object], columns: Mapping[str, str]) -> Mapping[str, object]:
    """The fields by our names; with `columns`, those alone that it names."""
    if not columns:
        return fields
    return {ours: fields[theirs] for ours, theirs in columns.items() if theirs in fields}


def _manifest_in(root: Path) -> Path:
    there = [root / name for name in MANIFESTS if os.path.isfile(root / name)]
    if len(there) == 1:
        return there[0]
    raise InvalidRequest(
        f"{root} has {'no manifest' if not there else 'more than one manifest'}.",
        remedy=f"Name it with --manifest, or call it {MANIFESTS[0]}.",
    )
