"""How a fake vendor behaves, and what it was asked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any


class Gate:
    """Holds answers back after their first `after` bytes (0: before their first), until it is opened. `waiting` is
    how many it holds."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.waiting = 0
        self._opened = asyncio.Event()

    def open(self) -> None:
        """Lets all go on, and whoever comes later."""
        self._opened.set()

    async def passed(self) -> None:
        """Returns when it is open."""
        self.waiting += 1
        try:
            await self._opened.wait()
        finally:
            self.waiting -= 1


@dataclass
class Behaviour:
    """How requests are answered. Times are in seconds; `trouble`, or an error's status, lasts for `times` answers. It
    is one of `html`, `json` (an error in JSON with 200), `empty`, `garbage`, `half` (a whole answer of half the
    audio), `cut` (the body ends before its length), `abort` (the connection breaks in the middle), `reset` (before
    the first byte) and `never`. `why` is an error's reason, and `error` its further fields, in the vendor's own
    words; `detail` is for a vendor's own. `gate` holds an answer back in the middle. With `same` every text sounds
    the same, which costs nothing to say; more than `most` at a time are refused with 429."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    why: str = "As it was told to."
    error: dict[str, Any] = field(default_factory=dict)
    trouble: str = ""
    times: int = 1_000_000
    first_byte: float = 0.0
    pace: float = 0.0  # between pieces
    piece: int = 4_096  # bytes
    gate: Gate | None = None
    seconds: float | None = None  # how long the audio lasts, whatever the text
    same: bool = False
    most: int | None = None
    key: str | None = None  # what must be sent as the key
    further: list[str] = field(default_factory=list)  # fields that it takes beside its own
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass
class Counts:
    """What was asked."""

    calls: int = 0
    characters: int = 0
    running: int = 0
    most_at_once: int = 0
    finished: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)  # the last hundred
    texts: dict[str, int] = field(default_factory=dict)  # how often each was spoken

    def asked(self, text: str, body: dict[str, Any]) -> None:
        """One more call to speak."""
        self.calls += 1
        self.characters += len(text)
        self.texts[text] = self.texts.get(text, 0) + 1
        self.bodies = [*self.bodies[-99:], body]
