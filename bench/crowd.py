"""Five hundred listeners on one cold text."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from pathlib import Path

import httpx

from bench.machinery import gateway, middle, vendor

LISTENERS, ROUNDS = 500, 5
_RULE = "| --- | ---: | ---: | ---: |"


def run() -> str:
    """The table, in Markdown."""
    lines = [
        "| round | upstream calls | different bodies | slowest first byte after the first, ms |",
        "| --- | ---: | ---: | ---: |",
    ]
    spreads = []
    with (
        tempfile.TemporaryDirectory() as folder,
        vendor(first_byte=1.0) as upstream,
        gateway(Path(folder), upstream) as url,
    ):
        for n in range(ROUNDS):
            before = httpx.get(f"{upstream}/control").json()["calls"]
            heard = asyncio.run(_crowd(url, f"A cold text, round {n}."))
            calls = httpx.get(f"{upstream}/control").json()["calls"] - before
            firsts = [at for at, _ in heard]
            spreads.append((max(firsts) - min(firsts)) * 1000)
            lines.append(f"| {n + 1} | {calls} | {len({body for _, body in heard})} | {spreads[-1]:.1f} |")
    return "\n".join([*lines, f"| median | | | {middle(spreads)} |"])


async def _crowd(url: str, text: str) -> list[tuple[float, bytes]]:
    host, _, port = url.removeprefix("http://").partition(":")
    body = f'{{"model": "tts-1", "voice": "nova", "input": "{text}"}}'.encode()
    head = (
        f"POST /v1/audio/speech HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    links = await asyncio.gather(*(asyncio.open_connection(host, int(port)) for _ in range(LISTENERS)))
    for _, writer in links:
        writer.write(head.encode() + body)
    return await asyncio.gather(*(_listen(reader, writer) for reader, writer in links))


async def _listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[float, bytes]:
    """When the first byte of the audio came, and a digest of it all."""
    await reader.readuntil(b"\r\n\r\n")
    audio = hashlib.sha256()
    first = 0.0
    while size := int(await reader.readline(), 16):
        data = await reader.readexactly(size + 2)
        first = first or time.perf_counter()
        audio.update(data[:-2])
    writer.close()
    return first, audio.digest()
