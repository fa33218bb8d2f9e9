"""Memory hits through the OpenAI door, beside nginx, a bare FastAPI route and the nearest peer."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from bench.machinery import Round, free_port, gateway, load, middle, nginx, process, vendor

ROUNDS, SECONDS, CONNECTIONS = 5, 4, 16
LIMITS = {"SAYONCE_RATE": "1000000", "SAYONCE_BURST": "1000000"}
# About 30 KB of mp3 in a POST of about 140 bytes.
BODY = {
    "model": "tts-1",
    "voice": "nova",
    "input": "A sentence that somebody has heard before, word by word.",
    "response_format": "mp3",
}


def run() -> str:
    """The table, in Markdown."""
    if not shutil.which("wrk"):
        return "Not measured: this needs wrk (and nginx for its row). On Debian: apt-get install wrk nginx-light"
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        peers = dict(_peers(Path(folder), stack))
        rounds: dict[str, list[Round]] = {name: [] for name in peers}
        for name, (url, key) in peers.items():
            if (size := warm(url, key)) < 25_000:
                raise RuntimeError(f"{name} answered {size} bytes")
        for _ in range(ROUNDS):
            for name, (url, key) in peers.items():
                rounds[name].append(load(url, BODY, connections=CONNECTIONS, seconds=SECONDS, key=key))
    return _table(rounds)


def _peers(folder: Path, stack: ExitStack) -> Iterator[tuple[str, tuple[str, str | None]]]:
    upstream = stack.enter_context(vendor())
    speech = "/v1/audio/speech"
    if shutil.which("nginx"):
        yield "nginx proxy_cache", (stack.enter_context(nginx(folder / "nginx", upstream)) + speech, None)
    bare = stack.enter_context(_uvicorn(sys.executable, "bench.peers.bare_fastapi:app", UPSTREAM=upstream))
    yield "bare FastAPI route", (bare + speech, None)
    key = key_in(folder / "data")
    ours = stack.enter_context(gateway(folder / "data", upstream, **LIMITS))
    yield "sayonce", (ours + speech, key)
    slow = stack.enter_context(gateway(folder / "data", upstream, SAYONCE_HOT_LANE="false", **LIMITS))
    yield "sayonce, hot lane off", (slow + speech, key)
    theirs = stack.enter_context(
        _uvicorn(
            str(Path(".venv/peers/bin/python").absolute()),
            "bench.peers.nearest:app",
            UPSTREAM=upstream,
            CACHE=str(folder / "peer"),
        )
    )
    yield "speech-gateway", (theirs + speech, None)


@contextmanager
def _uvicorn(python: str, app: str, **environment: str) -> Iterator[str]:
    port = free_port()
    command = [python, "-m", "uvicorn", app, "--port", str(port), "--log-level", "critical", "--no-access-log"]
    with process(command, f"http://127.0.0.1:{port}", **environment) as url:
        yield url


def key_in(folder: Path) -> str:
    command = [sys.executable, "-m", "sayonce.cli", "keys", "create", "--json"]
    told = subprocess.run(command, env={"SAYONCE_DATA_DIR": str(folder)}, capture_output=True, check=True).stdout
    key: str = json.loads(told)["key"]
    return key


def warm(url: str, key: str | None, body: dict[str, str] = BODY) -> int:
    """Has it made, kept and remembered; how many bytes it has."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return min(len(httpx.post(url, json=body, headers=headers, timeout=60).content) for _ in range(3))


def _table(rounds: dict[str, list[Round]]) -> str:
    rates = {name: statistics.median(each.rate for each in given) for name, given in rounds.items()}
    lines = [
        "| | answers a second | × nginx | × the bare route | median ms | p99 ms |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, given in rounds.items():
        medians, tails = middle([each.median for each in given]), middle([each.p99 for each in given])
        nginx = f"{rates[name] / rates['nginx proxy_cache']:.2f}" if "nginx proxy_cache" in rates else ""
        bare = f"{rates[name] / rates['bare FastAPI route']:.2f}"
        lines.append(f"| {name} | {middle([each.rate for each in given])} | {nginx} | {bare} | {medians} | {tails} |")
    return "\n".join(lines)
