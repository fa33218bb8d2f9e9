"""What the doctor's tests share: what it finds, a bucket of another package's, and servers that answer as told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from sayonce.catalog.catalog import Catalog
from sayonce.catalog.registry import connect
from sayonce.checkup.findings import Finding
from sayonce.checkup.rounds import check_up
from sayonce.settings import load
from tests.buckets import Inside, buckets

Told = dict[tuple[str, str], Finding]


async def told(patience: float = 20.0, **settings: Any) -> Told:
    """What is found of these settings, by part and by what was checked."""
    given = {"data_dir": Path("data").absolute(), **settings}
    return {
        (finding.part, finding.what): finding
        async for part in check_up(lambda: load(**given), patience)
        for finding in part
    }


def verdicts(found: Told, part: str) -> dict[str, str]:
    return {what: str(finding.verdict) for (of, what), finding in found.items() if of == part}


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inside]:
    """A bucket that another package's storage keeps."""
    with buckets(tmp_path, monkeypatch, "mine") as made:
        yield made["mine"]


@asynccontextmanager
async def answering(answer: Callable[[bytes], bytes | None]) -> AsyncIterator[tuple[str, list[bytes]]]:
    """The address of a server that answers each request's beginning with these bytes (None: never), and what it was
    sent."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(65_536))
        said = answer(heard[-1])
        if said is None:
            await reader.read()  # until whoever asked has left
        writer.write(said or b"")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}", heard


def http_answer(status: int = 200, body: bytes = b"", date: float | None = None, **headers: str) -> bytes:
    sent = {"content-length": str(len(body)), "connection": "close", **headers}
    if date is not None:
        sent["date"] = formatdate(date, usegmt=True)
    lines = [f"HTTP/1.1 {status} So", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
    return "\r\n".join(lines).encode() + body


async def prepared(url: str) -> None:
    catalog = Catalog(connect(url), time.time)
    await catalog.newest_change()
    await catalog.aclose()
