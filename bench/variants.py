"""How long another format of a kept 10 s clip takes to be heard, to its first and its last byte."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

import httpx

from bench.machinery import gateway, middle, vendor

CLIPS = 20
FORMATS = ("wav", "opus", "flac", "aac", "pcm")


def run() -> str:
    """The table, in Markdown."""
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        vendor() as upstream,
        gateway(Path(folder), upstream) as ours,
        httpx.Client(timeout=60) as client,
    ):
        client.post(f"{upstream}/control", content=json.dumps({"seconds": 10.0})).raise_for_status()
        for n in range(CLIPS):
            client.post(f"{ours}/v1/audio/speech", json=_body(n, "mp3")).raise_for_status()
        for name in FORMATS:
            times = [_time(client, ours, n, name) for n in range(CLIPS)]
            firsts, lasts = [first for first, _ in times], [last for _, last in times]
            rows.append(f"| mp3 to {name} | {middle(firsts)} | {middle(lasts)} | {statistics.fmean(lasts):.1f} |")
    return "\n".join(["| ms | to the first byte | to the last byte | mean |", "| --- | ---: | ---: | ---: |", *rows])


def _time(client: httpx.Client, url: str, n: int, name: str) -> tuple[float, float]:
    began = time.perf_counter()
    with client.stream("POST", f"{url}/v1/audio/speech", json=_body(n, name)) as answer:
        pieces = answer.iter_raw()
        next(pieces)
        first = time.perf_counter() - began
        for _ in pieces:
            pass
    if (answer.headers["x-tts-cache"], answer.headers.get("x-tts-variant")) != ("hit", "transcoded"):
        raise RuntimeError("that was no variant of what is kept")
    return first * 1000, (time.perf_counter() - began) * 1000


def _body(n: int, name: str) -> dict[str, str]:
    text = f"Clip number {n}: " + "ten seconds of speech, more or less, are about so many words. " * 2
    return {"model": "tts-1", "voice": "nova", "input": text, "response_format": name}
