"""Exports and imports whose files cannot be read or written any more, or that are told to stop in the middle."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sayonce.batch import importing
from sayonce.batch.exporting import Exporting, Report
from sayonce.batch.sources.folder import Folder
from sayonce.catalog.imports import Imports
from sayonce.catalog.records import Selection
from sayonce.errors import InvalidRequest, StorageFull
from tests.conftest import House, MakeHouse, until
from tests.integration.importing.conftest import (
    TEXT,
    bring,
    counted,
    folder_of,
    leases_of,
    recording,
    stopped_while_taking,
)


async def export(house: House, folder: Path) -> Report:
    running = Exporting(house.gateway.catalog, house.gateway.shelf, folder).run(Selection())
    return [report async for report in running][-1]


def partials(root: Path) -> list[Path]:
    """What was written aside, and is at no place yet."""
    return [path for path in root.rglob("*") if ".partial" in str(path.relative_to(root)) and path.is_file()]


@contextmanager
def full_disk() -> Iterator[None]:
    """Meanwhile the system lets nobody write a file of more than a few bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# ── exporting ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("where", ["afile", "afile/x", "/proc/nope", "n" * 300])
def test_what_can_be_no_folder_is_told(command: Any, tmp_path: Path, where: str) -> None:
    (tmp_path / "afile").write_text("mine")
    answer = command("export", where)
    assert isinstance(answer.exception, InvalidRequest), answer.exception
    assert where in str(answer.exception)
    assert "Name one that is empty, or can be made." in str(answer.exception)


async def test_a_full_disk_is_told_and_a_further_run_goes_on(make_house: MakeHouse, tmp_path: Path) -> None:
    house = await make_house(flush_seconds=600)
    for n in range(3):
        await house.speak(f"{TEXT} {n}")
    with full_disk(), pytest.raises(StorageFull, match=r"out: File too large\. .*run it again: it goes on"):
        await export(house, tmp_path / "out")
    assert (tmp_path / "out" / "manifest.jsonl.partial").is_file()
    further = await export(house, tmp_path / "out")
    assert further.written + further.there == 3, "one that was being written when the disk had room again is there"
    assert partials(tmp_path / "out") == []


@pytest.mark.parametrize("there", ["manifest.jsonl", "manifest.jsonl.partial"])
async def test_what_stands_in_the_way_of_the_manifest_is_told(house: House, tmp_path: Path, there: str) -> None:
    await house.speak(TEXT)
    (tmp_path / "out" / there).mkdir(parents=True)
    with pytest.raises(StorageFull, match="out: Is a directory"):
        await export(house, tmp_path / "out")


async def test_an_export_that_is_stopped_leaves_nothing_half(house: House, tmp_path: Path) -> None:
    for n in range(30):
        await house.speak(f"{TEXT} {n}")
    running = asyncio.create_task(export(house, tmp_path / "out"))
    await until(lambda: list((tmp_path / "out").rglob("*.mp3")) or running.done())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await until(lambda: [path.name for path in partials(tmp_path / "out")] in (["manifest.jsonl.partial"], []))
    report = await export(house, tmp_path / "out")
    assert (report.seen, report.failed, partials(tmp_path / "out")) == (30, 0, [])


# ── importing ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("n" * 300,), "is no folder"),
        ((".", "--manifest", "n" * 300 + ".jsonl"), "there is no such file"),
        ((".", "--manifest", "unreadable.jsonl"), "cannot be read: Input/output error. See to its rights"),
        ((".", "--manifest", "folder.jsonl"), "is a folder"),
    ],
)
def test_what_is_no_manifest_is_told(command: Any, tmp_path: Path, words: tuple[str, ...], why: str) -> None:
    (tmp_path / "unreadable.jsonl").symlink_to("/proc/self/mem")
    (tmp_path / "folder.jsonl").mkdir()
    answer = command("import", *words)
    assert isinstance(answer.exception, InvalidRequest), answer.exception
    assert why in str(answer.exception)


async def test_a_file_that_its_disk_does_not_give_is_refused_with_its_row(house: House, tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text('{"file": "mem", "text": "One.", "voice": "nova", "format": "mp3"}')
    report = await bring(house, Folder(Path("/proc/self"), tmp_path / "manifest.jsonl", {}, 1_000))
    assert report.refused == [("line 1", "its file cannot be read: Input/output error.")]


async def test_a_manifest_that_goes_away_is_told(house: House, tmp_path: Path) -> None:
    source = Folder(folder_of(tmp_path / "in", [{"file": "a"}], {}), None, {}, 1_000)
    (tmp_path / "in" / "manifest.jsonl").unlink()
    with pytest.raises(InvalidRequest, match=r"manifest\.jsonl: there is no such file"):
        await bring(house, source)


@pytest.mark.parametrize("driver", ["sqlite", "sqlite+pysqlite", "sqlite+aiosqlite"])
@pytest.mark.parametrize("name", ["nosuch.db", "{here}/nosuch.db", "file:nosuch.db?uri=true", "there"])
def test_a_database_that_is_not_there_is_not_made(command: Any, tmp_path: Path, driver: str, name: str) -> None:
    (tmp_path / "there").mkdir()
    address = f"{driver}:///{name.format(here=tmp_path)}"
    answer = command("import", address, "--table", "cache", "--column", "data=audio")
    assert isinstance(answer.exception, InvalidRequest), answer.exception
    assert ("there is no file." if name == "there" else "nosuch.db.") in str(answer.exception)
    assert "There is no table" not in str(answer.exception)
    assert list(tmp_path.rglob("*nosuch*")) == []


@pytest.mark.parametrize("address", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_none_of_a_file(command: Any, tmp_path: Path, address: str) -> None:
    answer = command("import", address, "--table", "cache", "--column", "data=audio")
    assert "There is no table 'cache'" in str(answer.exception)


@pytest.mark.parametrize("name", ["theirs.db", "file:theirs.db?mode=ro&uri=true"])
@pytest.mark.parametrize("driver", ["sqlite", "sqlite+aiosqlite"])
def test_a_database_that_may_only_be_read(command: Any, tmp_path: Path, driver: str, name: str) -> None:
    with sqlite3.connect(tmp_path / "theirs.db") as theirs:
        theirs.execute("CREATE TABLE cache (id INTEGER PRIMARY KEY, audio BLOB)")
    (tmp_path / "theirs.db").chmod(0o400)
    answer = command("import", f"{driver}:///{name}", "--table", "cache", "--column", "data=audio")
    assert answer.exit_code == 0, answer.exception


async def test_an_import_that_is_stopped_leaves_nothing_half(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_BATCH", 4)
    rows = [{"file": f"{n}.mp3", "text": f"{TEXT} {n}", "voice": "nova", "model": "tts-1"} for n in range(40)]
    files = {f"{n}.mp3": recording(f"{TEXT} {n}") for n in range(40)}
    folder = folder_of(tmp_path / "in", rows, files)
    running = asyncio.create_task(bring(house, folder))
    await until(lambda: house.blobs() or running.done())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()
    assert await leases_of(house) == 0
    await until(lambda: not partials(tmp_path / "data" / "audio"))
    there = await house.rows()
    again = counted(await bring(house, folder))
    assert (again.get("known", 0), again.get("imported", 0)) == (there, 40 - there)
    assert len(house.blobs()) == 40


async def test_an_import_that_is_stopped_while_it_takes_its_leases_gives_them_back(
    make_house: MakeHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await make_house(flush_seconds=600)
    folder = folder_of(tmp_path / "in", [{"file": "a.mp3", "text": TEXT, "voice": "nova"}], {"a.mp3": recording()})
    await stopped_while_taking(house, tmp_path / "data" / "catalog.db", Imports, bring(house, folder), monkeypatch)
    assert counted(await bring(house, folder)) == {"imported": 1}
