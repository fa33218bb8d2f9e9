"""What a chain adds whose first provider is known dead, beside the second provider asked alone."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import httpx

from bench.machinery import free_port, gateway, middle, vendor

ROUNDS, REQUESTS = 5, 60


def run() -> str:
    """The table, in Markdown."""
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        vendor() as upstream,
        gateway(Path(folder) / "alone", upstream, **_settings(upstream, "deepgram")) as alone,
        gateway(Path(folder) / "chained", upstream, **_settings(upstream, "elevenlabs,deepgram")) as chained,
        httpx.Client(timeout=60) as client,
    ):
        for n in range(6):  # opens the breaker
            client.post(f"{chained}/api/voice", json={"text": f"Dead {n}."}).raise_for_status()
        for what in ("kept audio", "a miss"):
            one: list[float] = []
            other: list[float] = []
            for lap in range(ROUNDS + 1):
                _warm(client, upstream, lap)
                one.append(_round(client, alone, lap, kept=what == "kept audio"))
                other.append(_round(client, chained, lap, kept=what == "kept audio"))
            added = [theirs - ours for ours, theirs in zip(one[1:], other[1:], strict=True)]
            rows.append(f"| {what} | {middle(one[1:])} | {middle(other[1:])} | {middle(added)} |")
    heads = [
        "| median, ms | the second alone | chain, the first known dead | added |",
        "| --- | ---: | ---: | ---: |",
    ]
    return "\n".join([*heads, *rows])


def _settings(upstream: str, chain: str) -> dict[str, str]:
    return {
        "SAYONCE_CHAIN": chain,
        "SAYONCE_DEEPGRAM_BASE_URL": upstream,
        "SAYONCE_ELEVENLABS_BASE_URL": f"http://127.0.0.1:{free_port()}",
        "SAYONCE_BREAKER_REST": "3600",
        "SAYONCE_ATTEMPTS": "1",
    }


def _warm(client: httpx.Client, upstream: str, lap: int) -> None:
    """The vendor makes the audio, so that what is measured is the way."""
    query = {"model": "aura-asteria-en", "encoding": "mp3", "bit_rate": "48000"}
    for n in range(REQUESTS):
        client.post(f"{upstream}/v1/speak", params=query, json={"text": _text(n, lap)}).raise_for_status()


def _text(n: int, lap: int) -> str:
    return f"Chain number {n} of lap {lap}."


def _round(client: httpx.Client, url: str, lap: int, *, kept: bool) -> float:
    times = []
    for n in range(REQUESTS):
        text = f"Kept number {n}." if kept else _text(n, lap)
        began = time.perf_counter()
        client.post(f"{url}/api/voice", json={"text": text})
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)
