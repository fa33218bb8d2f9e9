"""Replicas of one gateway on PostgreSQL and Redis: what a hit costs, how soon others hear a flight, and forget."""

from __future__ import annotations

import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from bench.hits import BODY
from bench.machinery import gateway, load, middle, vendor
from sayonce.testing.postgres import postgres_server
from sayonce.testing.redis import redis_server

ROUNDS, SECONDS, CONNECTIONS = 6, 4, 16
# Texts that are heard on two replicas at once, and deletions.
FLIGHTS, DELETIONS = 60, 30
# How long the vendor takes to its first byte, and between two pieces, in seconds.
FIRST_BYTE, PACE = 0.15, 0.02
PATH = "/v1/audio/speech"


@dataclass(frozen=True)
class Replica:
    """A gateway's address, and its process."""

    url: str
    process: psutil.Process


def run() -> str:
    """The tables, in Markdown."""
    if not shutil.which("wrk"):
        return "Not measured: this needs wrk. On Debian: apt-get install wrk"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(postgres_server())
        redis = stack.enter_context(redis_server())
        alone = {"DATABASE_URL": server.url(server.create())}
        shared = {"DATABASE_URL": server.url(server.create()), "REDIS_URL": redis.url()}
        silent = {"DATABASE_URL": server.url(server.create())}
        quick = stack.enter_context(vendor())
        with _replicas(folder / "one", quick, 1, alone) as one, _replicas(folder / "two", quick, 2, shared) as two:
            hits = _hits(one, two)
        slow = stack.enter_context(vendor(first_byte=FIRST_BYTE, pace=PACE))
        with _replicas(folder / "three", slow, 3, shared) as three:
            heard = asyncio.run(_heard(three))
            told = asyncio.run(_forgotten(three))
        with _replicas(folder / "four", slow, 3, silent) as three:
            untold = asyncio.run(_forgotten(three))
    return "\n\n".join((hits, heard, _table_of_deletions({"with Redis": told, "without": untold})))


@contextmanager
def _replicas(folder: Path, upstream: str, number: int, settings: dict[str, str]) -> Iterator[list[Replica]]:
    with ExitStack() as stack:
        found = []
        for _ in range(number):
            url = stack.enter_context(gateway(folder, upstream, **settings))
            port = int(url.rpartition(":")[2])
            found.append(Replica(url, _listening(port)))
        yield found


def _listening(port: int) -> psutil.Process:
    for process in psutil.Process().children(recursive=True):
        if any(each.laddr.port == port and each.status == "LISTEN" for each in process.net_connections("tcp")):
            return process
    raise RuntimeError("nobody listens there")


def _hits(one: Sequence[Replica], two: Sequence[Replica]) -> str:
    for replica in (*one, *two):
        for _ in range(3):
            httpx.post(replica.url + PATH, json=BODY, timeout=60).raise_for_status()
    costs: dict[str, list[float]] = {"one": [], "two": []}
    for _ in range(ROUNDS):
        for name, replicas in (("one", one), ("two", two)):
            costs[name].append(_cost(replicas))
    ratio = statistics.median(costs["two"]) / statistics.median(costs["one"])
    return "\n".join(
        (
            "| | µs of CPU a hit | × one's |",
            "| --- | ---: | ---: |",
            f"| one replica | {middle([each * 1e6 for each in costs['one']])} | |",
            f"| two, each half of the load | {middle([each * 1e6 for each in costs['two']])} | {ratio:.2f} |",
        )
    )


def _cost(replicas: Sequence[Replica]) -> float:
    """CPU seconds of all replicas for each hit, all of them loaded in turn."""
    before = [replica.process.cpu_times() for replica in replicas]
    answers = 0.0
    for replica in replicas:
        seconds = SECONDS // len(replicas)
        answers += load(replica.url + PATH, BODY, connections=CONNECTIONS, seconds=seconds).rate * seconds
    after = [replica.process.cpu_times() for replica in replicas]
    spent = sum(b.user + b.system - a.user - a.system for a, b in zip(before, after, strict=True))
    return spent / answers


async def _heard(replicas: Sequence[Replica]) -> str:
    """How long after the first listener's first byte another's comes, on another replica."""
    late: list[float] = []
    calls = 0
    async with httpx.AsyncClient(timeout=60) as http:
        for n in range(FLIGHTS):
            text = f"Number {n} is heard on two replicas at once, while it is being spoken for the first time."
            first = asyncio.create_task(_first_byte(http, replicas[0], text))
            await asyncio.sleep(FIRST_BYTE / 3)
            (here, outcome), (there, joined) = await asyncio.gather(first, _first_byte(http, replicas[1], text))
            if (outcome, joined) != ("miss", "joined"):
                raise RuntimeError(f"{outcome} and {joined}")
            late.append((there - here) * 1_000)
            calls += 1
    worst = sorted(late)[int(len(late) * 0.99)]
    return "\n".join(
        (
            "| heard on another replica | median ms | p99 ms |",
            "| --- | ---: | ---: |",
            f"| its first byte after the local listener's ({calls} flights) | {middle(late)} | {worst:.1f} |",
        )
    )


async def _first_byte(http: httpx.AsyncClient, replica: Replica, text: str) -> tuple[float, str]:
    came = 0.0
    async with http.stream("POST", replica.url + PATH, json=BODY | {"input": text}) as answer:
        answer.raise_for_status()
        async for _ in answer.aiter_raw():
            came = came or time.perf_counter()
    return came, answer.headers["x-tts-cache"]


async def _forgotten(replicas: Sequence[Replica]) -> list[float]:
    """How long after the answer to a deletion the last replica's memory still has it."""
    took = []
    async with httpx.AsyncClient(timeout=60) as http:
        for n in range(DELETIONS):
            body = BODY | {"input": f"Number {n} is deleted as soon as everybody remembers it."}
            answers = [await http.post(replica.url + PATH, json=body) for replica in (*replicas, *replicas)]
            name = answers[0].headers["x-content-hash"]
            (await http.delete(f"{replicas[0].url}/api/voice/{name}")).raise_for_status()
            gone = time.perf_counter()
            took.append(max(await asyncio.gather(*(_until_gone(http, each, body) for each in replicas))) - gone)
    return took


async def _until_gone(http: httpx.AsyncClient, replica: Replica, body: dict[str, str]) -> float:
    while True:
        answer = await http.post(replica.url + PATH, json=body, headers={"Cache-Control": "only-if-cached"})
        if answer.status_code == 504:
            return time.perf_counter()


def _table_of_deletions(told: dict[str, list[float]]) -> str:
    lines = ["| a deletion has left every replica's memory | median s | longest s |", "| --- | ---: | ---: |"]
    lines += [f"| {name} | {middle(took)} | {max(took):.2f} |" for name, took in told.items()]
    return "\n".join(lines)
