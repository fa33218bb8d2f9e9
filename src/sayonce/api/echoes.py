"""Answers as they can be given again: their heads, but for what is made anew each time."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from sayonce.api.answers import Bytes, Repeat


@dataclass(slots=True)
class Echo:
    """An answer's head up to the time that it took, and after that; `epoch` is the gate's from before it."""

    repeat: Repeat
    epoch: int
    before: bytes
    after: bytes
    timed: bool

    def head(self, opening: bytes, began: float) -> bytes:
        """The head after its `opening` lines, of an answer that was begun then, by the performance counter."""
        middle = b"total;dur=%.3f\r\n" % ((time.perf_counter() - began) * 1_000) if self.timed else b""
        if self.repeat.fresh:
            middle += lines((name, make()) for name, make in self.repeat.fresh.items())
        return b"%b%b%b%b" % (opening, self.before, middle, self.after)


def echo_of(answer: Bytes, repeat: Repeat, epoch: int) -> Echo:
    """The echo of an answer, which follows from `repeat`."""
    static = [header for header in answer.headers if header[0] not in repeat.fresh]
    at = next((n for n, (name, _) in enumerate(static) if name == b"server-timing"), len(static))
    timed = at < len(static)
    before, after = lines(static[:at]) + b"server-timing: " * timed, lines(static[at + 1 :]) + b"\r\n"
    return Echo(repeat, epoch, before, after, timed)


def lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as they are sent."""
    return b"".join(b"%b: %b\r\n" % header for header in headers)
