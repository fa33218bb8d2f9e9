"""What a miss adds to the upstream's own time to first byte."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import httpx

from bench.machinery import gateway, middle, vendor

ROUNDS, MISSES = 5, 60


def run() -> str:
    """The table, in Markdown."""
    direct: list[float] = []
    through: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        vendor() as upstream,
        gateway(Path(folder), upstream) as ours,
        httpx.Client(timeout=60) as client,
    ):
        for lap in range(ROUNDS + 1):
            _round(client, upstream, lap)  # the vendor makes the audio, so that what is measured is the way
            direct.append(_round(client, upstream, lap))
            through.append(_round(client, ours, lap))
    direct, through = direct[1:], through[1:]  # the first lap opens connections
    added = [ours - theirs for ours, theirs in zip(through, direct, strict=True)]
    return "\n".join(
        (
            "| time to first byte | ms |",
            "| --- | ---: |",
            f"| the upstream, asked directly | {middle(direct)} |",
            f"| through the gateway | {middle(through)} |",
            f"| added by a miss | {middle(added)} |",
        )
    )


def _round(client: httpx.Client, url: str, lap: int) -> float:
    """The median time to first byte of texts that the gateway has not heard, in milliseconds."""
    times = []
    for n in range(MISSES):
        text = f"Miss number {n} of lap {lap}."
        began = time.perf_counter()
        with client.stream("POST", f"{url}/v1/audio/speech", json=_body(text)) as answer:
            pieces = answer.iter_raw()
            next(pieces)
            times.append((time.perf_counter() - began) * 1000)
            for _ in pieces:
                pass
    return statistics.median(times)


def _body(text: str) -> dict[str, str]:
    return {"model": "tts-1", "voice": "nova", "input": text, "response_format": "mp3"}
