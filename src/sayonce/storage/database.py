"""Blobs in the catalog's own database: for small installs, and as a short-lived tier.

What reads and writes its rows is handed in by whoever puts the parts together: this module knows no database.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

from sayonce.errors import BlobNotFound, CatalogError, InvalidSettings, StorageError, StorageUnavailable
from sayonce.storage.contract import PLAIN, Serving, Storage, StoredBlob
from sayonce.storage.paths import validated

_PAGE = 500


class Rows(Protocol):
    """The database's rows of bytes, by the storage's name and the path. CatalogError where it cannot be asked."""

    async def put(self, storage: str, path: str, data: bytes, metadata: str) -> None:
        """Makes or replaces a row; a power cut does not undo it."""

    async def get(self, storage: str, path: str) -> bytes | None:
        """A row's bytes."""

    async def told(self, storage: str, path: str) -> str | None:
        """A row's metadata."""

    async def drop(self, storage: str, path: str) -> None:
        """Deletes a row, if there is one."""

    async def page(self, storage: str, prefix: str, after: str, most: int) -> Sequence[tuple[str, int, float]]:
        """Path, size and time of the rows whose path begins with `prefix` and comes after `after`, in order."""


class DatabaseStorage(Storage):
    """Rows of the catalog's database under the name of this storage."""

    backend = "database"

    def __init__(self, name: str, rows: Rows) -> None:
        self.name = name
        self._rows = rows

    @classmethod
    def from_settings(cls, name: str, table: Mapping[str, object]) -> DatabaseStorage:
        rest = {**table}
        rows, url = rest.pop("rows", None), str(rest.pop("url", "database://"))
        if rest or url != "database://" or rows is None:
            raise InvalidSettings(
                f"The storage '{name}' in the catalog's database takes no settings of its own.",
                remedy="Its address is database://, and DATABASE_URL says which database that is.",
            )
        return cls(name, rows)  # type: ignore[arg-type]

    async def write(self, path: str, data: bytes, metadata: Mapping[str, str], serving: Serving = PLAIN) -> None:
        with self._translated(path):
            await self._rows.put(self.name, path, data, json.dumps(dict(metadata)))

    async def read(self, path: str) -> bytes:
        with self._translated(path):
            data = await self._rows.get(self.name, path)
        if data is None:
            raise self._missing()
        return data

    async def metadata(self, path: str) -> Mapping[str, str]:
        with self._translated(path):
            told = await self._rows.told(self.name, path)
        if told is None:
            raise self._missing()
        found: dict[str, str] = json.loads(told)
        return found

    async def delete(self, path: str) -> None:
        with self._translated(path):
            await self._rows.drop(self.name, path)

    async def list(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        after = ""
        while True:
            with self._translated():
                page = await self._rows.page(self.name, prefix, after, _PAGE)
            for path, size, modified in page:
                yield StoredBlob(path, size, datetime.fromtimestamp(modified, UTC))
            if len(page) < _PAGE:
                return
            after = page[-1][0]

    async def probe(self) -> None:
        await self.write("probe", b"sayonce", {})
        await self.delete("probe")

    @contextmanager
    def _translated(self, path: str = "x") -> Iterator[None]:
        try:
            validated(path)
        except ValueError as error:
            raise StorageError(f"That is no path of a blob: {error}.", backend=self.backend) from error
        try:
            yield
        except CatalogError as error:
            raise StorageUnavailable(error.message, backend=self.backend, remedy=error.remedy) from error

    def _missing(self) -> BlobNotFound:
        return BlobNotFound("The blob is not in the database.", backend=self.backend, remedy="It is made anew.")
