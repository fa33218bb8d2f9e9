"""How soon hits are back after a part of the cache is: PostgreSQL, or the S3 server, hung or killed under load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import httpx
from botocore.config import Config

from bench.hits import BODY
from bench.machinery import SERVERS, free_port, gateway, middle, vendor
from sayonce.testing.postgres import PostgresServer, postgres_server

ROUNDS, AWAY = 5, 8.0
# Texts that are asked for again and again, and those that are asked for once, when hits should be back.
_TEXTS, _FRESH = 40, 2_000


def run() -> str:
    """The table, in Markdown."""
    lines = [
        "| the part | away | hits are back after s | requests meanwhile | refused |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    with (
        tempfile.TemporaryDirectory() as folder,
        postgres_server() as server,
        _s3() as (bucket, s3),
        vendor() as upstream,
    ):
        settings = {"DATABASE_URL": server.url(), "SAYONCE_STORAGE": "s3://bench", **bucket}
        with gateway(Path(folder) / "one", upstream, **settings) as other:
            _speak_all(other)
        fresh = iter(range(_TEXTS, _TEXTS + _FRESH))  # kept, and not in this one's memory
        with gateway(Path(folder) / "two", upstream, **settings) as url:
            for name, manner, away, back in _bad_days(server, s3):
                took, asked, refused = [], 0, 0
                for _ in range(ROUNDS):
                    with _load(url) as counted:
                        took.append(_until_back(url, fresh, away, back))
                    asked, refused = asked + counted[0], refused + counted[1]
                lines.append(f"| {name} | {manner} | {middle(took)} | {asked:,} | {refused} |")
    return "\n".join(lines)


def _bad_days(
    server: PostgresServer, s3: subprocess.Popen[bytes]
) -> Iterator[tuple[str, str, Callable[[], None], Callable[[], None]]]:
    yield "PostgreSQL", "killed, and started again", server.stop, server.start
    yield "PostgreSQL", "hung", server.pause, server.resume
    yield "S3", "hung", lambda: s3.send_signal(signal.SIGSTOP), lambda: s3.send_signal(signal.SIGCONT)


def _speak_all(url: str) -> None:
    with httpx.Client(base_url=url, timeout=60) as http:
        for n in range(_TEXTS + _FRESH):
            _asked(http, n).raise_for_status()


def _until_back(url: str, fresh: Iterator[int], away: Callable[[], None], back: Callable[[], None]) -> float:
    """Seconds from the part's return until what is not in memory is a hit, three times in a row."""
    with httpx.Client(base_url=url, timeout=60) as http:
        while not _all_hits(http, fresh):
            time.sleep(0.05)
        away()
        time.sleep(AWAY)
        back()
        began = time.perf_counter()
        while not _all_hits(http, fresh):
            time.sleep(0.05)
        return time.perf_counter() - began


def _all_hits(http: httpx.Client, fresh: Iterator[int]) -> bool:
    return all(_asked(http, next(fresh)).headers.get("x-tts-cache") == "hit" for _ in range(3))


def _asked(http: httpx.Client, n: int) -> httpx.Response:
    return http.post("/v1/audio/speech", json=BODY | {"input": f"Sentence number {n}, said again and again."})


@contextmanager
def _load(url: str) -> Iterator[list[int]]:
    """Four callers who ask without a rest; how many requests there were, and how many had no audio."""
    counted, over = [0, 0], threading.Event()

    def ask(first: int) -> None:
        with httpx.Client(base_url=url, timeout=60) as http:
            n = first
            while not over.is_set():
                counted[1] += _asked(http, n % _TEXTS).status_code != 200
                counted[0] += 1
                n += 1

    callers = [threading.Thread(target=ask, args=(first * 10,)) for first in range(4)]
    for caller in callers:
        caller.start()
    try:
        yield counted
    finally:
        over.set()
        for caller in callers:
            caller.join()


@contextmanager
def _s3() -> Iterator[tuple[dict[str, str], subprocess.Popen[bytes]]]:
    """A server of S3's in a process of its own, with a bucket; the variables that name it."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    known = {"AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
    known["AWS_DEFAULT_REGION"] = "us-east-1"
    command = ["taskset", "-c", SERVERS, sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | known)
    try:
        client = boto3.client(
            "s3",
            endpoint_url=address,
            region_name="us-east-1",
            aws_access_key_id="bench",
            aws_secret_access_key="bench",
            config=Config(retries={"total_max_attempts": 20, "mode": "standard"}),
        )
        client.create_bucket(Bucket="bench")
        yield known, running
    finally:
        running.send_signal(signal.SIGCONT)
        running.terminate()
        running.wait(20)
