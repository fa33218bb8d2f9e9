"""Writes what is kept into a folder, with a manifest that an import takes back unchanged."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from sayonce.audio.formats import extension
from sayonce.batch.rows import LONGEST
from sayonce.batch.sources.folder import MANIFESTS
from sayonce.cache.metadata import blob_metadata
from sayonce.cache.shelf import Shelf
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.records import Asset, Selection
from sayonce.errors import InvalidRequest, StorageError, StorageFull

# Assets that are looked up together, and those of them that are read at a time.
_PAGE, _AT_ONCE = 200, 8
_MOST_NAMED = 10_000


@dataclass(slots=True)
class Report:
    """How many assets were written, or were there by an earlier run, with their bytes; and what was `lost`, by its
    content hash, and why."""

    written: int = 0
    there: int = 0
    failed: int = 0
    bytes: int = 0
    lost: list[tuple[str, str]] = field(default_factory=list)

    @property
    def seen(self) -> int:
        """How many there were."""
        return self.written + self.there + self.failed

    def lose(self, asset: Asset, why: str) -> None:
        """Notes that one could not be written."""
        self.failed += 1
        if len(self.lost) < _MOST_NAMED:
            self.lost.append((asset.content_hash.hex(), why))


class Exporting:
    """Of what is selected into a folder, which is made where it is missing. With `dry`, it only looks."""

    def __init__(self, catalog: Catalog, shelf: Shelf, folder: Path, *, dry: bool = False) -> None:
        self._catalog = catalog
        self._shelf = shelf
        self._folder = folder
        self._dry = dry

    async def run(self, which: Selection) -> AsyncIterator[Report]:
        """Gives the report as it stands after each page. InvalidRequest where the folder is no place for it,
        StorageFull where nothing more can be written to it. It may be stopped at any time and run again; the manifest
        is there when all is."""
        report = Report()
        if self._dry:
            async for page in self._pages(which):
                report.written += len(page)
                report.bytes += sum(asset.size for asset in page)
                yield report
            return
        await asyncio.to_thread(self._make_folder)
        aside = self._folder / f"{MANIFESTS[0]}.partial"
        with _written_to(self._folder):
            with _opened(aside) as manifest:
                named: set[str] = set()
                async for page in self._pages(which):
                    lines = await self._write(page, report)
                    manifest.writelines(lines)
                    named.update(json.loads(line)["content_hash"] for line in lines)
                    yield report
                await asyncio.to_thread(self._carry_over, manifest, named)
                _sync(manifest)
            aside.replace(self._folder / MANIFESTS[0])
        yield report

    async def _pages(self, which: Selection) -> AsyncIterator[list[Asset]]:
        after: int | None = 0
        while after is not None:
            page, after = await self._catalog.inventory.page(which, after, _PAGE)
            if page:
                yield list(page)

    async def _write(self, page: list[Asset], report: Report) -> list[str]:
        """Writes the files of a page; the manifest's lines of those that are there."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(asset: Asset) -> str | None:
            async with turns:
                return await self._one(asset, report)

        writing = [asyncio.create_task(one(asset)) for asset in page]
        try:
            lines = await asyncio.gather(*writing)
        finally:
            for each in writing:
                each.cancel()  # where one fails, the others are in vain
            await asyncio.gather(*writing, return_exceptions=True)
        return [line for line in lines if line is not None]

    async def _one(self, asset: Asset, report: Report) -> str | None:
        name = _name(asset)
        line = json.dumps(row_of(asset, name), ensure_ascii=False) + "\n"
        if len(line.encode()) > LONGEST:
            report.lose(asset, "its text and timings are too long for a manifest")
            return None
        if await asyncio.to_thread(self._is_there, asset, name):
            report.there += 1
            report.bytes += asset.size
            return line
        try:
            clip = await self._shelf.fetch(asset)
        except StorageError as error:
            report.lose(asset, str(error))
            return None
        if clip is None:
            report.lose(asset, "its bytes are gone from its storage: whoever asks for it has it made anew")
            return None
        await asyncio.to_thread(self._put, name, clip.data)
        report.written += 1
        report.bytes += asset.size
        return line

    # ── in a thread ──────────────────────────────────────────────────────────────────────────────

    def _make_folder(self) -> None:
        ours = {MANIFESTS[0], f"{MANIFESTS[0]}.partial", "audio"}
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            there = {path.name for path in self._folder.iterdir()}
        except OSError as error:
            raise InvalidRequest(
                f"{self._folder} cannot be a folder to export to: {_reason(error)}.",
                param="folder",
                remedy="Name one that is empty, or can be made.",
            ) from error
        if there - ours:
            raise InvalidRequest(
                f"{self._folder} holds something else already.", param="folder", remedy="Name an empty folder."
            )

    def _carry_over(self, manifest: TextIO, named: Set[str]) -> None:
        """What an earlier export has told of other files, which are there still."""
        before = self._folder / MANIFESTS[0]
        if not before.is_file():
            return
        with before.open(encoding="utf-8") as lines:
            for line in lines:
                with suppress(ValueError, KeyError, TypeError):  # what is no row of ours tells of no file of ours
                    row = json.loads(line)
                    if row["content_hash"] not in named and (self._folder / row["file"]).is_file():
                        manifest.write(line)

    def _is_there(self, asset: Asset, name: str) -> bool:
        with suppress(OSError):
            return hashlib.sha256((self._folder / name).read_bytes()).digest() == asset.digest
        return False

    def _put(self, name: str, data: bytes) -> None:
        place = self._folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        aside = place.with_name(place.name + ".partial")
        try:
            aside.write_bytes(data)
            aside.replace(place)
        except OSError:
            aside.unlink(missing_ok=True)
            raise


def row_of(asset: Asset, file: str) -> dict[str, str]:
    """What a manifest says of an asset in a file; but whose catalog kept it, which is nobody's business."""
    told = {name: value for name, value in blob_metadata(asset, "").items() if name != "catalog"}
    told |= {"file": file, "size": str(asset.size)}
    further = {"text": asset.text, "until": None if asset.until is None else repr(asset.until)}
    return told | {name: value for name, value in further.items() if value is not None}


def _name(asset: Asset) -> str:
    name = asset.content_hash.hex()
    return f"audio/{name[:2]}/{name}.{extension(asset.format)}"


@contextmanager
def _written_to(folder: Path) -> Iterator[None]:
    """Meanwhile files are written there: what the disk refuses is told with what to do."""
    try:
        yield
    except OSError as error:
        raise StorageFull(
            f"Nothing more can be written to {folder}: {_reason(error)}.",
            backend="folder",
            remedy="See to its space and rights, and run it again: it goes on where it stopped.",
        ) from error


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _opened(place: Path) -> TextIO:
    """A new file that nobody else reads: it will hold texts."""
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    return open(handle, "w", encoding="utf-8")


def _sync(file: TextIO) -> None:
    file.flush()
    os.fsync(file.fileno())
