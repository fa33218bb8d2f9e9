"""10^9 texts and 10^5 requests a second: who answers them, reckoned; and whether the reckoning is right, by sending
two million requests over a million texts through real caches.

Requests are Zipf's: the text at rank r is asked for in proportion to r^-s. Every cache is reckoned as one that keeps
what was asked for last (LRU), by Che's approximation: what is in it stays for one and the same time after it was
asked for. The gateway's memory keeps what is asked for most (TinyLFU), and answers a little more than that.
"""

from __future__ import annotations

import math
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from moka_py import Moka

TEXTS, REQUESTS = 10**9, 100_000
CLIP = 32_500  # bytes in memory: 30 KB of audio, and what an entry costs beside it
REPLICAS, MEMORY, SHARED, CDN = 16, 16 * 10**9, 512 * 10**9, 5 * 10**12
EXPONENTS = (0.8, 1.0)

#: How many texts are asked for how often a second, each: the likes of each other together.
Stream = list[tuple[float, float]]


@dataclass(frozen=True)
class Layout:
    """What stands between listeners and the storage: a CDN, memories (whether one text's requests meet in one of
    them) and a tier that they share, each with its room, in clips."""

    name: str
    memory: float
    by_text: bool
    shared: float = 0
    cdn: float = 0
    replicas: int = REPLICAS


_ROOM = MEMORY / CLIP
LAYOUTS = (
    Layout("16 replicas, requests anywhere", _ROOM, False),
    Layout("the same, with a shared tier", _ROOM, False, SHARED / CLIP),
    Layout("16 replicas, requests by their text", _ROOM, True),
    Layout("the same, with a shared tier", _ROOM, True, SHARED / CLIP),
    Layout("the same, and a CDN: every listener by URL", _ROOM, True, SHARED / CLIP, CDN / CLIP),
)


def run() -> str:
    """The tables, in Markdown."""
    return "\n\n".join((_plan(), _checked()))


def _plan() -> str:
    lines = [
        f"| {TEXTS:,} texts, {REQUESTS:,} requests a second | reach the gateways | pass their memory "
        "| pass the shared tier, too |",
        "| --- | ---: | ---: | ---: |",
    ]
    for exponent in EXPONENTS:
        for layout in LAYOUTS:
            told = " | ".join(f"{rate:,.0f}" for rate in passing(zipf(TEXTS, exponent, REQUESTS), layout))
            lines.append(f"| s = {exponent}, {layout.name} | {told} |")
    return "\n".join(lines)


# ── reckoning ────────────────────────────────────────────────────────────────────────────────────


def zipf(texts: int, exponent: float, requests: float) -> Stream:
    """So many requests a second over so many texts."""
    weights = list(_ranks(texts, exponent))
    share = requests / total(weights)
    return [(count, weight * share) for count, weight in weights]


def _ranks(texts: int, exponent: float, exact: int = 10_000) -> Iterator[tuple[float, float]]:
    """The first ranks one by one, the others in steps of a hundredth, each step with its mean weight."""
    for rank in range(1, exact + 1):
        yield 1, rank**-exponent
    low = exact
    while low < texts:
        high = min(texts, math.ceil(low * 1.01))
        yield high - low, (_below(high, exponent) - _below(low, exponent)) / (high - low)
        low = high


def _below(rank: int, exponent: float) -> float:
    """The integral of the weights up to a rank."""
    edge = rank + 0.5
    return math.log(edge) if exponent == 1.0 else edge ** (1 - exponent) / (1 - exponent)


def total(stream: Stream) -> float:
    """All requests a second."""
    return math.fsum(count * rate for count, rate in stream)


def passing(stream: Stream, layout: Layout) -> tuple[float, float, float]:
    """Requests a second that the CDN lets through, that the memories do, and that the shared tier does. Whatever was
    asked for at one place passes it only after as long as it stays there; so for whoever stands behind, it is gone
    already unless it stays longer there. Of several places side by side that is not so."""
    edge = _stay(stream, layout.cdn)
    reaching = _after(stream, edge)
    stay = _stay(reaching, layout.memory * (layout.replicas if layout.by_text else 1))
    looking = _after(reaching, stay - edge)
    before = max(edge, stay) if layout.by_text else edge
    reading = _after(looking, _stay(looking, layout.shared) - before)
    return total(reaching), total(looking), total(reading)


def _after(stream: Stream, stay: float) -> Stream:
    """What passes a cache: who was not asked for for so long."""
    return [(count, rate * math.exp(-rate * max(stay, 0))) for count, rate in stream]


def _stay(stream: Stream, entries: float) -> float:
    """How long a clip stays where so many have room, in seconds: as many are asked for in that time."""
    low, high = -12.0, 18.0  # powers of ten
    for _ in range(50 if entries else 0):
        middle = (low + high) / 2
        held = math.fsum(-count * math.expm1(-rate * 10**middle) for count, rate in stream)
        low, high = (middle, high) if held < entries else (low, middle)
    return float(10**low) if entries else 0.0


# ── checking ─────────────────────────────────────────────────────────────────────────────────────

_TEXTS, _SENT, _WARM = 1_000_000, 2_000_000, 1_000_000
SMALL = (
    Layout("4 memories of 5,000, requests anywhere", 5_000, False, replicas=4),
    Layout("and a shared tier of 50,000", 5_000, False, 50_000, replicas=4),
    Layout("4 memories of 5,000, requests by their text", 5_000, True, replicas=4),
    Layout("and a shared tier of 50,000", 5_000, True, 50_000, replicas=4),
)

#: Whether it has that text; if not, it has it from now on, or until it thinks better of it.
Cache = Callable[[int], bool]


def _checked() -> str:
    lines = [
        f"| {_TEXTS:,} texts, s = 1.0: what passes of {_SENT - _WARM:,} requests | reckoned | sent through LRUs "
        "| through the gateway's own memory |",
        "| --- | ---: | ---: | ---: |",
    ]
    texts = _requests(random.Random(6))
    for layout in SMALL:
        reckoned = passing(zipf(_TEXTS, 1.0, 1.0), layout)[-1]
        sent = " | ".join(f"{_sent(texts, layout, make):.1%}" for make in (_recent, _kept))
        lines.append(f"| {layout.name} | {reckoned:.1%} | {sent} |")
    return "\n".join(lines)


def _requests(chance: random.Random) -> list[int]:
    """Texts by their rank, in the order in which they are asked for."""
    weights = list(accumulate(1 / rank for rank in range(1, _TEXTS + 1)))
    return chance.choices(range(_TEXTS), cum_weights=weights, k=_SENT)


def _sent(texts: Sequence[int], layout: Layout, make: Callable[[float], Cache]) -> float:
    """The share of requests that pass all the caches, once they are warm."""
    memories = [make(layout.memory) for _ in range(layout.replicas)]
    behind = _recent(layout.shared)
    chance = random.Random(7)
    passed = 0
    for n, text in enumerate(texts):
        has = memories[text % layout.replicas if layout.by_text else chance.randrange(layout.replicas)]
        passed += not (has(text) or behind(text)) and n >= _WARM
    return passed / (_SENT - _WARM)


def _recent(entries: float) -> Cache:
    """A cache that forgets what was not asked for for longest."""
    held: OrderedDict[int, None] = OrderedDict()

    def has(text: int) -> bool:
        there = text in held
        held[text] = None
        held.move_to_end(text)
        if len(held) > entries:
            held.popitem(last=False)
        return there

    return has


def _kept(entries: float) -> Cache:
    """A cache as the gateway's hot tier is."""
    held: Moka[int, bool] = Moka(int(entries))

    def has(text: int) -> bool:
        if held.get(text):
            return True
        held.set(text, True)
        return False

    return has
