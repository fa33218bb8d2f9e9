"""The hot lane beside nginx, and beside the gateway without it; and what it costs the requests that it declines."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from bench.hits import BODY, LIMITS, key_in, warm
from bench.machinery import gateway, load, middle, nginx, tail, vendor

ROUNDS, SECONDS, CONNECTIONS = 5, 2, (1, 16, 256)
# Texts whose mp3 is about so many kilobytes.
TEXTS = {3: "Hello.", 30: BODY["input"], 300: "Words, and words, and " * 25}
PATH = "/v1/audio/speech"


def run() -> str:
    """The tables, in Markdown."""
    if missing := [name for name in ("wrk", "nginx", "h2load") if not shutil.which(name)]:
        return f"Not measured: no {missing[0]}. On Debian: apt-get install wrk nginx-light nghttp2-client"
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        upstream = stack.enter_context(vendor())
        data = Path(folder) / "data"
        key = key_in(data)
        urls = {
            "nginx": stack.enter_context(nginx(Path(folder) / "nginx", upstream)) + PATH,
            "lane": stack.enter_context(gateway(data, upstream, **LIMITS)) + PATH,
            "off": stack.enter_context(gateway(data, upstream, SAYONCE_HOT_LANE="false", **LIMITS)) + PATH,
        }
        return "\n\n".join((_grid(urls, key), _numbered(urls, key), _tails(urls, key), _declined(urls, key)))


def _grid(urls: dict[str, str], key: str) -> str:
    rows = []
    for size, text in TEXTS.items():
        body = BODY | {"input": text}
        for url in urls.values():
            warm(url, key, body)
        for connections in CONNECTIONS:
            row = _compared(urls, key, body, connections=connections)
            rows.append((f"{size} KB, {connections} connections", *row))
    return _table(("", "nginx, a second", "with the lane", "× nginx", "× without it"), rows)


def _numbered(urls: dict[str, str], key: str) -> str:
    """With a header that differs each time, so that no segment comes twice."""
    row = _compared(urls, key, BODY, connections=16, numbered=True)
    heads = ("each with an X-Request-Id of its own", "nginx, a second", "with the lane", "× nginx", "× without it")
    return _table(heads, [("30 KB, 16 connections", *row)])


def _compared(
    urls: dict[str, str], key: str, body: dict[str, str], *, connections: int, numbered: bool = False
) -> tuple[str, ...]:
    rates: dict[str, list[float]] = {name: [] for name in urls}
    for _ in range(ROUNDS):
        for name, url in urls.items():
            done = load(url, body, connections=connections, seconds=SECONDS, key=key, numbered=numbered)
            rates[name].append(done.rate)
    of = {name: statistics.median(given) for name, given in rates.items()}
    ratios = (f"{of['lane'] / of['nginx']:.2f}", f"{of['lane'] / of['off']:.2f}")
    return middle(rates["nginx"]), middle(rates["lane"]), *ratios


def _tails(urls: dict[str, str], key: str) -> str:
    """At half of each one's own peak."""
    rows = []
    for name in ("nginx", "lane"):
        rate = load(urls[name], BODY, connections=16, seconds=SECONDS, key=key).rate / 2
        given = [tail(urls[name], BODY, connections=16, seconds=4, rate=rate, key=key) for _ in range(ROUNDS)]
        rows.append((name, f"{rate:,.0f}", middle(given)))
    return _table(("at half of its peak rate, 30 KB, 16 connections", "requests a second", "p99 ms"), rows)


def _declined(urls: dict[str, str], key: str) -> str:
    """Requests that go the whole way, with the lane and without."""
    kinds = {
        "at its headers": {"header": ("Cache-Control", "max-age=0")},
        "held, and never learnt (events)": {"body": BODY | {"stream_format": "sse"}},
        "held, and refused": {"body": BODY | {"response_format": "mp9"}, "refused": True},
    }
    rows = []
    for name, how in kinds.items():
        rates: dict[str, list[float]] = {"lane": [], "off": []}
        for _ in range(2 * ROUNDS):
            for which, given in rates.items():
                asked = {"body": BODY, "connections": 16, "seconds": SECONDS, "key": key} | how
                given.append(load(urls[which], **asked).rate)
        ratio = statistics.median(a / b for a, b in zip(rates["lane"], rates["off"], strict=True))
        rows.append((name, middle(rates["lane"]), middle(rates["off"]), f"{ratio:.3f}"))
    return _table(("what the lane declines", "with it, a second", "without it", "ratio"), rows)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (heads, *rows)]
    return "\n".join((lines[0], "| --- |" + " ---: |" * (lines[0].count("|") - 2), *lines[1:]))
