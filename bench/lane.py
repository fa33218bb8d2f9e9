"""The hot lane beside nginx, and beside the gateway without it; and what it costs the requests that it declines."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.hits import BODY, LIMITS, key_in, warm
from bench.machinery import burst, gateway, load, middle, nginx, tail, vendor

ROUNDS, SECONDS, CONNECTIONS = 5, 2, (1, 16, 256)
# What is declined: starts of the gateways, blocks of four rounds in each, requests in a round.
STARTS, BLOCKS, BURST = 16, 2, 4_800
# Texts whose mp3 is about so many kilobytes.
TEXTS = {3: "Hello.", 30: BODY["input"], 300: "Words, and words, and " * 25}
PATH = "/v1/audio/speech"


def run() -> str:
    """The tables, in Markdown."""
    if missing := [name for name in ("wrk", "nginx", "h2load") if not shutil.which(name)]:
        return f"Not measured: no {missing[0]}. On Debian: apt-get install wrk nginx-light nghttp2-client"
    with tempfile.TemporaryDirectory() as folder, vendor() as upstream:
        data = Path(folder) / "data"
        key = key_in(data)
        with _both(data, upstream, first="lane") as ours, nginx(Path(folder) / "nginx", upstream) as theirs:
            urls = {"nginx": theirs + PATH, **ours}
            tables = [_grid(urls, key), _numbered(urls, key), _tails(urls, key)]
        return "\n\n".join((*tables, _declined(data, upstream, key)))


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


def _declined(data: Path, upstream: str, key: str) -> str:
    """Requests that go the whole way, with the lane and without.

    Two in a hundred are asked for, and the machine's own rounds differ by ten: so the rounds are short and in turn
    (lane, off, off, lane), and the gateways are started anew a few times, since two starts of one build differ, too.
    """
    kinds: dict[str, dict[str, Any]] = {
        "at its headers": {"header": ("Cache-Control", "max-age=0")},
        "held, and never learnt (events)": {"body": BODY | {"stream_format": "sse"}},
        "held, and refused": {"body": BODY | {"response_format": "mp9"}, "refused": True},
    }
    rates: dict[str, dict[str, list[float]]] = {name: {"lane": [], "off": []} for name in kinds}
    for start in range(STARTS):
        with _both(data, upstream, first="off" if start % 2 else "lane") as urls:
            for url in urls.values():
                warm(url, key)
            for name, how in kinds.items():
                asked = {"body": BODY, "connections": 16, "requests": BURST, "key": key} | how
                for which in ("lane", "off", "off", "lane") * BLOCKS:
                    rates[name][which].append(burst(urls[which], **asked))
    rows = [(name, middle(of["lane"]), middle(of["off"]), *_ratio(of)) for name, of in rates.items()]
    return _table(("what the lane declines", "with it, a second", "without it", "ratio", "of each start"), rows)


@contextmanager
def _both(data: Path, upstream: str, *, first: str) -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        urls = {}
        for which in ("lane", "off") if first == "lane" else ("off", "lane"):
            lane = {"SAYONCE_HOT_LANE": str(which == "lane").lower()}
            urls[which] = stack.enter_context(gateway(data, upstream, **LIMITS, **lane)) + PATH
        yield urls


def _ratio(rates: dict[str, list[float]]) -> tuple[str, str]:
    """The median over blocks of what one with the lane answers for each without it, and each start's own."""
    pairs = [[sum(rates[which][at : at + 2]) for at in range(0, len(rates["lane"]), 2)] for which in ("lane", "off")]
    ratios = [lane / off for lane, off in zip(*pairs, strict=True)]
    starts = [statistics.median(ratios[at : at + BLOCKS]) for at in range(0, len(ratios), BLOCKS)]
    return f"{statistics.median(ratios):.3f}", f"{min(starts):.3f} to {max(starts):.3f}"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (heads, *rows)]
    return "\n".join((lines[0], "| --- |" + " ---: |" * (lines[0].count("|") - 2), *lines[1:]))
