"""Seeding: against the vendor's own limit, and of what is kept already."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from bench.machinery import LOAD, SERVERS, vendor

ITEMS, AT_ONCE, FIRST_BYTE, SECONDS = 10_000, 16, 0.05, 5
# The vendor and the run share the cores.
BOTH = f"{SERVERS},{LOAD}"
# What its limit is measured with.
_ASKED = 1_600
# How often a run is killed on the way.
KILLS = 3


def run() -> str:
    """The table, in Markdown."""
    told = {"first_byte": FIRST_BYTE, "seconds": SECONDS, "same": True}
    with tempfile.TemporaryDirectory() as folder:
        manifest = _manifest(Path(folder))
        with vendor(BOTH, **told) as upstream:
            limit = asyncio.run(_limit(upstream))
            rate = ITEMS / _seconds(manifest, Path(folder) / "whole", upstream)
            again = ITEMS / _seconds(manifest, Path(folder) / "whole", upstream)
        with vendor(BOTH, **told) as upstream:
            calls = _killed(manifest, Path(folder) / "killed", upstream)
    return "\n".join(
        (
            f"| seeding {ITEMS:,} items, {AT_ONCE} at a time, {FIRST_BYTE * 1000:.0f} ms a call | |",
            "| --- | ---: |",
            f"| the vendor's own limit, asked by a plain client | {limit:,.0f}/s |",
            f"| `sayonce seed` | {rate:,.0f}/s |",
            f"| of the limit | {rate / limit:.0%} |",
            f"| seeded again, all kept already | {again:,.0f}/s |",
            f"| calls billed, killed {KILLS} times on the way | {calls:,} |",
        )
    )


def _manifest(folder: Path) -> Path:
    path = folder / "book.jsonl"
    rows = (
        {"text": f"This is sentence number {n} of a long book, which nobody has heard before."} for n in range(ITEMS)
    )
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def _started(manifest: Path, folder: Path, upstream: str) -> subprocess.Popen[bytes]:
    ours = {"SAYONCE_DATA_DIR": str(folder), "OPENAI_BASE_URL": f"{upstream}/v1", "OPENAI_API_KEY": "sk-bench"}
    command = ["taskset", "-c", BOTH, sys.executable, "-m", "sayonce.cli"]
    command += ["seed", str(manifest), "--voice", "openai/nova"]
    command += ["--concurrency", str(AT_ONCE), "--json"]
    return subprocess.Popen(
        command,
        env=os.environ | ours | {"SAYONCE_LEASE_SECONDS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def _seconds(manifest: Path, folder: Path, upstream: str) -> float:
    """How long a run takes, with the start of its process."""
    began = time.perf_counter()
    running = _started(manifest, folder, upstream)
    out, _ = running.communicate()
    assert running.returncode == 0
    assert json.loads(out)["failed"] == 0
    return time.perf_counter() - began


def _killed(manifest: Path, folder: Path, upstream: str) -> int:
    """How many calls the vendor has counted when all is made at last."""
    for kill in range(1, KILLS + 1):
        running = _started(manifest, folder, upstream)
        while _calls(upstream) < kill * ITEMS // (KILLS + 1):
            time.sleep(0.1)
        running.send_signal(signal.SIGKILL)
        running.wait()
    _seconds(manifest, folder, upstream)
    return _calls(upstream)


def _calls(upstream: str) -> int:
    calls: int = httpx.get(f"{upstream}/control").json()["calls"]
    return calls


async def _limit(upstream: str) -> float:
    """What a client gets that does nothing with the answers, with as many requests at a time."""
    left = iter(range(_ASKED))
    async with httpx.AsyncClient(base_url=upstream) as http:

        async def ask() -> None:
            for n in left:
                body = {
                    "model": "tts-1",
                    "voice": "nova",
                    "input": f"To measure the limit: {n}.",
                    "response_format": "mp3",
                }
                (await http.post("/v1/audio/speech", json=body)).raise_for_status()

        await _ask(http, "Before it begins.")  # the vendor makes its audio
        began = time.perf_counter()
        await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
        return _ASKED / (time.perf_counter() - began)


async def _ask(http: httpx.AsyncClient, text: str) -> None:
    body = {"model": "tts-1", "voice": "nova", "input": text, "response_format": "mp3"}
    (await http.post("/v1/audio/speech", json=body)).raise_for_status()
