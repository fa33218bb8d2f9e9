"""Real dialogue, replayed in order before a vendor that bills by the character: what was billed, and what was saved.

`CORPUS` names a file of JSON lines with a `text` each, such as the agent's turns of Taskmaster-4
(github.com/google-research-datasets/Taskmaster).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import httpx

from bench.billing import billed, texts
from bench.machinery import gateway, vendor


def run() -> str:
    """The table, in Markdown."""
    corpus = os.environ.get("CORPUS")
    if not corpus:
        return "Not measured: `CORPUS=… make bench ONLY=replay` names a file of JSON lines with a `text` each."
    said = texts(corpus)
    with (
        tempfile.TemporaryDirectory() as folder,
        vendor() as upstream,
        gateway(Path(folder), upstream) as ours,
        httpx.Client(timeout=60) as client,
    ):
        refused = sum(_speak(client, ours, text) for text in said)
        told = client.get(f"{upstream}/control").json()
    calls, characters = billed(said)
    asked = sum(map(len, said))
    rows = [
        f"| turns replayed | {len(said):,} | {asked:,} |",
        f"| billed by the vendor | {told['calls']:,} | {told['characters']:,} |",
        f"| distinct texts, counted apart (`bench/billing.py`) | {calls:,} | {characters:,} |",
        f"| difference | {told['calls'] - calls} | {told['characters'] - characters} |",
        f"| saved | {1 - told['calls'] / len(said):.1%} | {1 - told['characters'] / asked:.1%} |",
        f"| answered with an error | {refused} | |",
    ]
    return "\n".join(["| | calls | characters |", "| --- | ---: | ---: |", *rows])


def _speak(client: httpx.Client, url: str, text: str) -> bool:
    """Whether it was refused."""
    body = {"model": "tts-1", "voice": "nova", "input": text}
    return client.post(f"{url}/v1/audio/speech", json=body).status_code != 200
