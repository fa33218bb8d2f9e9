"""A million mixed requests through the lane and past it, with ten thousand idle connections beside them: is every hit
counted once?"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import tempfile
import time
from pathlib import Path

import httpx

from bench.hits import LIMITS
from bench.machinery import gateway, vendor

REQUESTS = int(os.environ.get("SOAK", "1000000"))
CONNECTIONS, IDLE = 64, 10_000


def run() -> str:
    """The table, in Markdown."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with (
        tempfile.TemporaryDirectory() as folder,
        vendor() as upstream,
        gateway(
            Path(folder), upstream, SAYONCE_ELEVENLABS_BASE_URL=upstream, ELEVENLABS_API_KEY="x", **LIMITS
        ) as url,
    ):
        asked = _mixture(url)
        before = _counted(url)
        began = time.monotonic()
        seen, idle = asyncio.run(_load(url, asked))
        elapsed = time.monotonic() - began
        after = _counted(url)
    counted = {name: after[name] - before[name] for name in after}
    rows = {
        "requests": f"{sum(seen.values()):,} in {elapsed:.0f} s, {CONNECTIONS} connections busy and {idle:,} idle",
        "hits that the load generator saw": f"{seen['hit']:,}",
        "hits in the rollups": f"{counted['hits']:,.0f}",
        "difference": f"{counted['hits'] - seen['hit']:,.0f}",
        "answered by the lane": f"{counted['lane']:,.0f}",
        "idle connections still open": f"{idle:,}",
    }
    return "\n".join(("| | |", "| --- | ---: |", *(f"| {name} | {value} |" for name, value in rows.items())))


def _mixture(url: str) -> list[bytes]:
    """Requests' bytes: the doors, formats, and what the lane declines; all of them hits by now, or audio."""
    asked = []
    with httpx.Client(base_url=url, timeout=60) as http:
        for n in range(20):
            body = {"model": "tts-1", "voice": "nova", "input": f"Sentence number {n} of the mixture."}
            speech = [("/v1/audio/speech", body, "")] * 4
            speech += [("/v1/audio/speech", body, "cache-control: max-age=0\r\n")]
            speech += [("/v1/audio/speech", body | {"response_format": "wav"}, "")]
            speech += [("/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM", {"text": f"Sentence number {n}."}, "")]
            for path, told, header in speech:
                for _ in range(3):
                    answer = http.post(path, json=told)
                asked.append(_request("POST", path, json.dumps(told).encode(), header))
            asked.append(_request("GET", f"/audio/{answer.headers['x-content-hash']}.mp3", b"", ""))
    return asked


def _request(method: str, path: str, body: bytes, header: str) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{header}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _counted(url: str) -> dict[str, float]:
    stats = httpx.get(f"{url}/api/cache-stats").json()["stats"]
    page = httpx.get(f"{url}/metrics").text.splitlines()
    lane = sum(float(line.split()[-1]) for line in page if line.startswith("sayonce_lane_answered_total"))
    return {"hits": stats["hits"], "lane": lane}


async def _load(url: str, asked: list[bytes]) -> tuple[dict[str, int], int]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    idle = [await asyncio.open_connection(host, int(port)) for _ in range(IDLE)]
    seen = {"hit": 0, "audio": 0}
    left = iter(range(REQUESTS))
    await asyncio.gather(*(_ask(host, int(port), asked, left, seen) for _ in range(CONNECTIONS)))
    alive = sum(not reader.at_eof() for reader, _ in idle)
    for _, writer in idle:
        writer.close()
    return seen, alive


async def _ask(host: str, port: int, asked: list[bytes], left: object, seen: dict[str, int]) -> None:
    reader, writer = await asyncio.open_connection(host, port, limit=1_000_000)
    for n in left:  # type: ignore[attr-defined]
        request = asked[n % len(asked)]
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(head.decode())
        await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r")[0]))
        counts = request.startswith(b"POST") and b"x-tts-cache: hit" in head
        seen["hit" if counts else "audio"] += 1
    writer.close()
