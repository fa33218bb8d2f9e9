"""A point lookup of the catalog, as the engine needs it, and the engine's transactions."""

from __future__ import annotations

import asyncio
import hashlib
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from sayonce.catalog.catalog import Catalog
from sayonce.catalog.records import Asset, Blob, Lease, TakeOff, Use
from sayonce.catalog.sqlite import SqliteDatabase
from sayonce.speech.formats import MP3
from sayonce.speech.requests import Owner

ASSETS, LOOKUPS = 2_000, 5_000


def run() -> str:
    """The table, in Markdown."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run())


async def _run() -> str:
    with tempfile.TemporaryDirectory() as folder:
        catalog = Catalog(SqliteDatabase(Path(folder) / "catalog.db"), time.time)
        names = [hashlib.sha256(b"%d" % n).digest() for n in range(ASSETS)]
        taking, landing = [], []
        for name in names:
            wish = TakeOff(name, name, "default", "bench")
            took, lease = await _timed(partial(catalog.take_off, wish, 10))
            assert isinstance(lease, Lease)
            taking.append(took)
            asset = _asset(name)
            land = partial(catalog.land, lease, asset, Use("request"), None, alone=True)
            landing.append((await _timed(land))[0])
        looking = [(await _timed(partial(catalog.variants, names[n % ASSETS])))[0] for n in range(LOOKUPS)]
        await catalog.aclose()
    lines = ["| | median ms | p99 ms |", "| --- | ---: | ---: |"]
    for what, times in (("point lookup", looking), ("take-off", taking), ("landing (synced to disk)", landing)):
        ordered = sorted(times)
        lines.append(f"| {what} | {statistics.median(ordered):.3f} | {ordered[int(len(ordered) * 0.99)]:.3f} |")
    return "\n".join(lines)


async def _timed(work: Callable[[], Awaitable[Any]]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = await work()
    return (time.perf_counter() - began) * 1000, result


def _asset(name: bytes) -> Asset:
    return Asset(
        content_hash=name,
        recipe_hash=name,
        format=MP3,
        owner=Owner(),
        upstream="bench",
        model=None,
        voice="nova",
        language=None,
        text="A text.",
        characters=7,
        size=30_000,
        digest=name,
        duration=3.7,
        sample_rate=24_000,
        marks=(),
        cost=0.0,
        transcoded=False,
        flags=frozenset(),
        made_at=time.time(),
        until=None,
        blobs=(Blob("local", f"audio/{name.hex()}.mp3", name),),
    )
