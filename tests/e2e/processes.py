"""Runs sayonce in processes of its own, as people run it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from sayonce.audio.probe import probe
from sayonce.speech.formats import AudioFormat
from tests.conftest import until

SAYONCE = (sys.executable, "-m", "sayonce.cli")


@dataclass
class Server:
    """A running `sayonce serve`."""

    process: asyncio.subprocess.Process
    url: str

    def signal(self, which: signal.Signals) -> None:
        self.process.send_signal(which)

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


def environment(folder: Path, upstream: str, **settings: str) -> dict[str, str]:
    """The environment of a sayonce on that folder, before that vendor."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("SAYONCE_", "OPENAI_"))}
    ours = {
        "SAYONCE_DATA_DIR": str(folder),
        "SAYONCE_LOG_FORMAT": "json",
        "OPENAI_BASE_URL": f"{upstream}/v1",
        "OPENAI_API_KEY": "sk-x",
    }
    return plain | ours | settings


@asynccontextmanager
async def serving_process(folder: Path, upstream: str, **settings: str) -> AsyncIterator[Server]:
    """A gateway in a process of its own, on a free port."""
    process = await asyncio.create_subprocess_exec(
        *(*SAYONCE, "serve", "--port", "0"),
        env=environment(folder, upstream, **settings),
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert process.stderr is not None
    told = b""
    while b"http://127.0.0.1:" not in told:
        line = await process.stderr.readline()
        assert line, told.decode()
        told += line
    draining = asyncio.create_task(process.stderr.read())
    port = int(told.rpartition(b"127.0.0.1:")[2].split()[0].split(b"\x1b")[0])
    server = Server(process, f"http://127.0.0.1:{port}")
    try:
        await until(lambda: _answers(server.url))
        yield server
    finally:
        server.process.send_signal(signal.SIGCONT) if process.returncode is None else None
        await server.kill()
        await draining


async def command(*words: str, env: dict[str, str]) -> tuple[int, str, str]:
    """A command's exit code, output and errors."""
    process = await asyncio.create_subprocess_exec(
        *SAYONCE, *words, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def refuse_unsound(folder: Path) -> int:
    """Every row's blob is there, of its digest and length, and decodes. How many rows there are."""
    database = sqlite3.connect(folder / "catalog.db")
    rows = database.execute(
        "SELECT a.format, a.size, a.digest, b.path, b.digest FROM assets a LEFT JOIN blobs b ON b.asset = a.id"
    ).fetchall()
    database.close()
    for fmt, size, digest, path, blob_digest in rows:
        assert path is not None, "a row without a blob"
        data = (folder / "audio" / path).read_bytes()
        assert len(data) == size
        assert hashlib.sha256(data).digest() == digest == blob_digest
        probe(data, AudioFormat.parse(fmt))
    return len(rows)


async def _answers(url: str) -> bool:
    async with httpx.AsyncClient() as http:
        try:
            return (await http.get(f"{url}/api/health")).status_code == 200
        except httpx.HTTPError:
            return False
