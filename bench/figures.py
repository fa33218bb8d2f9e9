"""What `/api/cache-stats` takes before a million assets, and hits that are not in memory beside those who ask for it
without a pause."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench.hits import BODY, warm
from bench.machinery import load, middle, vendor
from bench.scale import SIZES, filled, gateway
from sayonce.testing.postgres import postgres_server

ROUNDS = 5
FIGURES, NOTHING = "/api/cache-stats", "/api/health"


def run() -> str:
    """The tables, in Markdown."""
    counted = ["| /api/cache-stats, ms | counted | told again |", "| --- | ---: | ---: |"]
    beside = [
        "| hits beside two who ask without a pause, 4 connections, median ms | nobody | /api/health | "
        "/api/cache-stats | counts meanwhile |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory() as folder, postgres_server() as server, vendor() as upstream:
        for engine in ("SQLite", "PostgreSQL"):
            for size in SIZES:
                url = filled(engine, size, Path(folder), server)
                with gateway(url, Path(folder), upstream, SAYONCE_MEMORY="0") as (address, _, _):
                    counted.append(f"| {engine}, {size:,} assets | {_asked(address)} |")
                    beside.append(f"| {engine}, {size:,} assets | {_beside(address)} |")
    return "\n".join(counted) + "\n\n" + "\n".join(beside)


def _asked(address: str) -> str:
    """The first answer, and those that follow."""
    took = []
    with httpx.Client(base_url=address, timeout=60) as http:
        for _ in range(101):
            began = time.perf_counter()
            http.get(FIGURES).raise_for_status()
            took.append((time.perf_counter() - began) * 1_000)
    return f"{took[0]:,.0f} | {middle(took[1:])}"


def _beside(address: str) -> str:
    speech = f"{address}/v1/audio/speech"
    warm(speech, None)
    times: dict[str, list[float]] = {"": [], NOTHING: [], FIGURES: []}
    counts: set[float] = set()
    for _ in range(ROUNDS):
        for path, medians in times.items():
            with _storm(address, path, counts):
                medians.append(load(speech, BODY, connections=4, seconds=4).median)
    return " | ".join([*map(middle, times.values()), str(len(counts))])


@contextmanager
def _storm(address: str, path: str, counts: set[float]) -> Iterator[None]:
    """Two who ask for it again as soon as they are answered. When what they are told was counted is noted."""
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=address, timeout=60) as http:
            while not over.is_set():
                told = http.get(path).json()
                if "stats" in told:
                    counts.add(told["stats"]["as_of"])

    askers = [threading.Thread(target=ask) for _ in range(2 if path else 0)]
    for asker in askers:
        asker.start()
    try:
        yield
    finally:
        over.set()
        for asker in askers:
            asker.join()
