"""The hot lane beside nginx, and beside the gateway without it; and what it costs the requests that it declines."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.hits import BODY, LIMITS, key_in, warm
from bench.machinery import gateway, load, middle, nginx, tail, vendor

ROUNDS, SECONDS, CONNECTIONS = 5, 2, (1, 16, 256)
# How many characters give about so many kilobytes.
SIZES = {3: 6, 30: 56, 300: 560}
PATH = "/v1/audio/speech"


def run() -> str:
    """The tables, in Markdown."""
    if missing := [name for name in ("wrk", "nginx", "h2load") if not shutil.which(name)]:
        return f"Not measured: no {missing[0]}. On Debian: apt-get install wrk nginx-light nghttp2-client"
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        upstream = stack.enter_context(vendor())
        key = key_in(Path(folder) / "data")
        urls = {
            "nginx": stack.enter_context(nginx(Path(folder) / "nginx", upstream)) + PATH,
            "lane": stack.enter_context(gateway(Path(folder) / "data", upstream, **LIMITS)) + PATH,
            "off": stack.enter_context(gateway(Path(folder) / "data", upstream, SAYONCE_HOT_LANE="false", **LIMITS))
            + PATH,
        }
        return "\n\n".join((_grid(urls, key), _tails(urls, key), _declined(urls, key)))


def _grid(urls: dict[str, str], key: str) -> str:
    lines = [
        "| body | connections | nginx/s | lane/s | × nginx | × lane off |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for size, characters in SIZES.items():
        body = BODY | {
            "input": BODY["input"].ljust(characters, "a")[:characters]
            if characters < 60
            else "Word, " * (characters // 6)
        }
        for url in urls.values():
            warm(url, key, body)
        for connections in CONNECTIONS:
            rates: dict[str, list[float]] = {name: [] for name in urls}
            for _ in range(ROUNDS):
                for name, url in urls.items():
                    rates[name].append(load(url, body, connections=connections, seconds=SECONDS, key=key).rate)
            of = {name: statistics.median(given) for name, given in rates.items()}
            lines.append(
                f"| {size} KB | {connections} | {middle(rates['nginx'])} | {middle(rates['lane'])} "
                f"| {of['lane'] / of['nginx']:.2f} | {of['lane'] / of['off']:.2f} |"
            )
    return "\n".join(lines)


def _tails(urls: dict[str, str], key: str) -> str:
    """At half of each one's own peak."""
    lines = [
        "| at half of its peak rate, 30 KB, 16 connections | requests a second | p99 ms |",
        "| --- | ---: | ---: |",
    ]
    for name in ("nginx", "lane"):
        rate = load(urls[name], BODY, connections=16, seconds=SECONDS, key=key).rate / 2
        given = [tail(urls[name], BODY, connections=16, seconds=4, rate=rate, key=key) for _ in range(ROUNDS)]
        lines.append(f"| {name} | {rate:,.0f} | {middle(given)} |")
    return "\n".join(lines)


def _declined(urls: dict[str, str], key: str) -> str:
    """Requests that go the whole way, with the lane and without."""
    kinds = {
        "at its headers": {"header": ("Cache-Control", "max-age=0")},
        "held, and never learnt (events)": {"body": BODY | {"stream_format": "sse"}},
        "held, and refused": {"body": BODY | {"response_format": "mp9"}, "refused": True},
    }
    lines = [
        "| requests that the lane declines | with it, a second | without | with / without |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, how in kinds.items():
        rates: dict[str, list[float]] = {"lane": [], "off": []}
        for _ in range(2 * ROUNDS):
            for which, given in rates.items():
                asked = {"body": BODY, "connections": 16, "seconds": SECONDS, "key": key} | how
                given.append(load(urls[which], **asked).rate)
        ratio = statistics.median(a / b for a, b in zip(rates["lane"], rates["off"], strict=True))
        lines.append(f"| {name} | {middle(rates['lane'])} | {middle(rates['off'])} | {ratio:.3f} |")
    return "\n".join(lines)
