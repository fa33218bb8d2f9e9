"""A catalog of a million assets beside one of ten thousand, on both engines; and upkeep under load."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import psutil

from bench.hits import BODY, warm
from bench.machinery import SERVERS, free_port, load, middle, vendor
from sayonce.catalog.assets import BY_RECIPE
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.postgres import _DIALECT
from sayonce.catalog.registry import connect
from sayonce.catalog.tables import assets, blobs, uses
from sayonce.testing.postgres import PostgresServer, postgres_server

SIZES = (10_000, 1_000_000)
LOOKUPS, ROUNDS = 2_000, 5
_ASSETS = [column.name for column in assets.columns]
_BLOBS = [column.name for column in blobs.columns if column.name != "id"]
_USES = [column.name for column in uses.columns if column.name != "id"]


def run() -> str:
    """The tables, in Markdown."""
    with tempfile.TemporaryDirectory() as folder, postgres_server() as server, vendor() as upstream:
        catalogs = {
            (engine, size): filled(engine, size, Path(folder), server)
            for engine in ("SQLite", "PostgreSQL")
            for size in SIZES
        }
        return "\n\n".join(
            (
                asyncio.run(_lookups(catalogs)),
                asyncio.run(_beside_the_driver(catalogs["PostgreSQL", SIZES[0]])),
                _starts(catalogs, Path(folder), upstream),
                _upkeep(catalogs, Path(folder), upstream),
            )
        )


# ── catalogs ─────────────────────────────────────────────────────────────────────────────────────


def filled(engine: str, size: int, folder: Path, server: PostgresServer) -> str:
    """A catalog's address, with so many assets, each with a blob and a use; a tenth of them is over in an hour."""
    url = f"sqlite:///{folder}/{size}.db" if engine == "SQLite" else server.url(server.create())
    asyncio.run(_migrated(url))
    if engine == "SQLite":
        link = sqlite3.connect(urlsplit(url).path[1:])
        with link:
            for table, columns, rows in _tables(size):
                places = ", ".join("?" * len(columns))
                link.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows)
        link.execute("ANALYZE")
        link.close()
    else:
        asyncio.run(_copied(url, size))
    return url


async def _migrated(url: str) -> None:
    database = connect(url)
    await database.migrate()
    await database.aclose()


async def _copied(url: str, size: int) -> None:
    link = await asyncpg.connect(url)
    for table, columns, rows in _tables(size):
        await link.copy_records_to_table(table, columns=columns, records=rows)
    await link.execute("SELECT setval(pg_get_serial_sequence('assets', 'id'), $1)", size)
    await link.execute("VACUUM ANALYZE")
    await link.close()


def _tables(size: int) -> Iterator[tuple[str, list[str], Iterator[tuple[Any, ...]]]]:
    now = time.time()
    yield "assets", _ASSETS, (_asset(n, now) for n in range(size))
    yield "blobs", _BLOBS, ((n + 1, "local", f"bench/{n}.mp3", _name(n), None) for n in range(size))
    reasons = ((_name(n), "request", "", 0, None, now, _until(n, now), None, False, *[None] * 5) for n in range(size))
    yield "uses", _USES, reasons


def _asset(n: int, now: float) -> tuple[Any, ...]:
    name, text = _name(n), f"Sentence number {n}, as long as most of them are."
    said = ("default", "tenant", None, "bench", "m", f"voice {n % 7}", None, text, len(text))
    kept = (30_000, name, 3.7, 24_000, None, False, "", now, _until(n, now), now, n * 7_919 % 997, 15)
    return (n + 1, name, name, "mp3/mp3/-/-", *said, *kept)


def _name(n: int) -> bytes:
    return hashlib.sha256(b"%d" % n).digest()


def _until(n: int, now: float) -> float | None:
    return now - 1 if n % 10 == 3 else None


# ── lookups ──────────────────────────────────────────────────────────────────────────────────────


async def _lookups(catalogs: dict[tuple[str, int], str]) -> str:
    opened = {which: Catalog(connect(url), time.time) for which, url in catalogs.items()}
    times: dict[tuple[str, int], list[float]] = {which: [] for which in opened}
    for _ in range(ROUNDS):
        for which, catalog in opened.items():
            times[which].append(await _median(catalog, which[1]))
    for catalog in opened.values():
        await catalog.aclose()
    lines = ["| a lookup, median ms | 10,000 assets | 1,000,000 | ratio |", "| --- | ---: | ---: | ---: |"]
    for engine in ("SQLite", "PostgreSQL"):
        small, large = (times[engine, size] for size in SIZES)
        ratio = statistics.median(large) / statistics.median(small)
        lines.append(f"| {engine} | {middle(small)} | {middle(large)} | {ratio:.2f} |")
    return "\n".join(lines)


async def _median(catalog: Catalog, size: int) -> float:
    names = [_name(n) for n in random.choices(range(size), k=LOOKUPS) if n % 10 != 3]
    taken = []
    for name in names:
        began = time.perf_counter()
        found = await catalog.variants(name)
        taken.append((time.perf_counter() - began) * 1_000)
        assert len(found) == 1
    return statistics.median(taken)


async def _beside_the_driver(url: str) -> str:
    """The same statement, by the catalog and by asyncpg alone."""
    catalog = Catalog(connect(url), time.time)
    link = await asyncpg.connect(url)
    statement = BY_RECIPE.compiled(_DIALECT).text
    prepared = await link.prepare(statement)
    mine, fetched, drivers = [], [], []
    for _ in range(ROUNDS):
        mine.append(await _median(catalog, SIZES[0]))
        fetched.append(await _asked(partial(link.fetch, statement)))
        drivers.append(await _asked(prepared.fetch))
    await link.close()
    await catalog.aclose()
    rows = (("asyncpg's fetch", fetched), ("asyncpg's prepared statement", drivers), ("the catalog", mine))
    lines = ["| the same point lookup | median ms | the catalog takes |", "| --- | ---: | ---: |"]
    for name, times in rows:
        ratio = statistics.median(mine) / statistics.median(times)
        lines.append(f"| {name} | {middle(times)} | {ratio:.2f} × |")
    return "\n".join(lines)


async def _asked(fetch: Callable[[bytes], Awaitable[object]]) -> float:
    taken = []
    for n in random.choices(range(SIZES[0]), k=LOOKUPS):
        began = time.perf_counter()
        await fetch(_name(n))
        taken.append((time.perf_counter() - began) * 1_000)
    return statistics.median(taken)


# ── gateways ─────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def gateway(url: str, folder: Path, upstream: str, **settings: str) -> Iterator[tuple[str, float, psutil.Process]]:
    """A gateway on that catalog: its address, how long it took to answer, and its process."""
    port = free_port()
    own = {
        "SAYONCE_PORT": str(port),
        "SAYONCE_DATA_DIR": str(folder / "data"),
        "SAYONCE_LOG_LEVEL": "error",
        "SAYONCE_UPKEEP": "false",
        "DATABASE_URL": url,
        "OPENAI_BASE_URL": f"{upstream}/v1",
        "OPENAI_API_KEY": "sk-bench",
    }
    began = time.perf_counter()
    command = ["taskset", "-c", SERVERS, sys.executable, "-m", "sayonce.cli", "serve"]
    running = subprocess.Popen(command, env=own | settings | {"PATH": "/usr/bin:/bin"}, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                httpx.get(f"{address}/api/health/ready", timeout=5).raise_for_status()
                break
            except httpx.HTTPError:
                if running.poll() is not None or time.perf_counter() - began > 60:
                    raise
                time.sleep(0.01)
        yield address, time.perf_counter() - began, psutil.Process(running.pid)
    finally:
        running.terminate()
        running.wait(30)


def _starts(catalogs: dict[tuple[str, int], str], folder: Path, upstream: str) -> str:
    lines = ["| | ready after s | resident MB, after 300 requests | above 10,000 |", "| --- | ---: | ---: | ---: |"]
    before: dict[str, float] = {}
    for size in SIZES:
        for engine in ("SQLite", "PostgreSQL"):
            took, resident = [], []
            for _ in range(3):
                with gateway(catalogs[engine, size], folder, upstream) as (address, seconds, process):
                    with httpx.Client() as http:
                        for n in range(300):
                            http.post(f"{address}/v1/audio/speech", json=BODY | {"input": f"Number {n}."})
                    took.append(seconds)
                    resident.append(process.memory_info().rss / 1e6)
            used = statistics.median(resident)
            more = f"{used - before[engine]:+.1f} MB" if engine in before else ""
            before.setdefault(engine, used)
            lines.append(f"| {engine}, {size:,} assets | {middle(took)} | {middle(resident)} | {more} |")
    return "\n".join(lines)


def _upkeep(catalogs: dict[tuple[str, int], str], folder: Path, upstream: str) -> str:
    """Hits that are not in memory: each is a lookup and a read, while a tenth of a million assets goes."""
    lines = [
        "| hits beside upkeep, 4 connections | without, median ms | with it | ratio | upkeep took s | assets gone |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for engine in ("SQLite", "PostgreSQL"):
        lines.append(_upkeep_of(engine, catalogs[engine, SIZES[1]], folder, upstream))
    return "\n".join(lines)


def _upkeep_of(engine: str, url: str, folder: Path, upstream: str) -> str:
    with gateway(url, folder, upstream, SAYONCE_MEMORY="0", SAYONCE_SWEEP_MOST="0") as (address, _, _):
        speech = f"{address}/v1/audio/speech"
        warm(speech, None)
        without = [load(speech, BODY, connections=4, seconds=2).median for _ in range(ROUNDS)]
        report: dict[str, Any] = {}
        began = time.perf_counter()
        working = threading.Thread(target=lambda: report.update(_told(address)))
        working.start()
        beside = []
        while working.is_alive():
            beside.append(load(speech, BODY, connections=4, seconds=2).median)
        working.join()
        took = time.perf_counter() - began
    ratio = statistics.median(beside) / statistics.median(without)
    return (
        f"| {engine}, 1,000,000 assets | {middle(without)} | {middle(beside)} | {ratio:.2f} | {took:.0f} "
        f"| {report['expired']:,} |"
    )


def _told(address: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(httpx.post(f"{address}/admin/upkeep", json={}, timeout=600).content)
    return told
