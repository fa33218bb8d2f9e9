"""100,000 small recordings brought along from another's table: how many a second, and what memory it takes."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from sayonce import settings as configuration
from sayonce.app import running
from sayonce.batch.importing import Importing, Manner, Report
from sayonce.batch.pieces import Reading
from sayonce.batch.sources.table import SqlTable
from sayonce.cache.shelf import Place
from sayonce.speech.formats import MP3
from sayonce.storage.paths import PathTemplate
from sayonce.testing.postgres import PostgresServer, postgres_server
from sayonce.testing.vendors.sound import audio

MANY = int(os.environ.get("MANY", "100_000"))
SECONDS = 0.6  # a word or two, 6 KB of mp3
_CASES = (("SQLite", "local", MANY), ("PostgreSQL", "local", MANY // 5), ("SQLite", "database://", MANY // 5))
# So many recordings of their own; each of a table is one of them.
_TAKES = 200


def run() -> str:
    """The table, in Markdown."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(range(os.cpu_count() or 1)))  # it is measured itself, beside nobody
    told = ["| catalog, storage | recordings | a second | when all is known | memory at a tenth, and at the end |"]
    told.append("| --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder, postgres_server() as server:
        for name, storage, many in _CASES:
            told.append(_measured(name, storage, _table(Path(folder), many), Path(folder), server))
    return "\n".join(told)


def _table(folder: Path, many: int) -> str:
    """The address of a database like the seed's, with its `tts_cache`."""
    place = folder / f"theirs-{many}.db"
    if place.exists():
        return f"sqlite:///{place}"
    takes = [audio(f"take {n}", SECONDS, MP3) for n in range(_TAKES)]
    with sqlite3.connect(place) as link:
        link.execute("CREATE TABLE tts_cache (id INTEGER PRIMARY KEY, said TEXT, voice TEXT, audio BLOB)")
        rows = ((n, f"Prompt {n}", "nova", takes[n % _TAKES]) for n in range(many))
        link.executemany("INSERT INTO tts_cache VALUES (?, ?, ?, ?)", rows)
    return f"sqlite:///{place}"


def _measured(name: str, storage: str, table: str, folder: Path, server: PostgresServer) -> str:
    home = folder / f"{name} {storage}".replace("/", "")
    url = f"sqlite:///{home}/catalog.db" if name == "SQLite" else server.url(server.create())
    given = {"data_dir": home, "database_url": url, "openai_api_key": "sk-x", "storage": storage}
    settings = configuration.load(upkeep=False, **given)
    with _memory() as held:
        first, report = asyncio.run(_imported(settings, table))
        again, _ = asyncio.run(_imported(settings, table))
    many, share = report.count["imported"], first / (first + again)
    early, late = held[int(len(held) * share / 10)], held[int(len(held) * share) - 1]
    rates = f"{many:,} | **{many / first:,.0f}** | {many / again:,.0f}"
    return f"| {name}, {storage} | {rates} | {early / 1e6:,.0f} MB, {late / 1e6:,.0f} MB |"


async def _imported(settings: configuration.Settings, table: str) -> tuple[float, Report]:
    columns = {"text": "said", "voice": "voice", "data": "audio"}
    async with running(settings) as gateway:
        place = Place(gateway.storages[settings.storage], PathTemplate(settings.path_template))
        reading = Reading(gateway.cast, {"model": "tts-1", "format": "mp3"})
        importing = Importing(gateway.catalog, place, reading, Manner(), time.time)
        source = SqlTable(table, "tts_cache", columns, {}, settings.max_audio)
        began, report = time.perf_counter(), Report()
        async for current in importing.run(source):
            report = current
        took = time.perf_counter() - began
        await source.aclose()
    return took, report


@contextmanager
def _memory() -> Iterator[list[int]]:
    """What this process holds, looked at now and then."""
    held: list[int] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            held.append(psutil.Process().memory_info().rss)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield held
    finally:
        over.set()
        looking.join()
