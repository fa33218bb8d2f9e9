"""Is this machine's clock right? Leases and signed addresses go by it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import httpx

from sayonce.checkup.findings import Finding, Part

#: How many seconds two clocks may be apart before it is said, and before it is too much.
APART, FAR_APART = 5.0, 60.0

_PART = Part("clock")


class Clocks:
    """What others' clocks said, as seconds that they are before this machine's."""

    def __init__(self) -> None:
        self._ahead: dict[str, float] = {}

    def add(self, whose: str, ahead: float) -> None:
        """Another clock, by how much it is ahead."""
        self._ahead[whose] = ahead

    def told(self, whose: str, now: float) -> None:
        """Another clock that just said `now`, in whole seconds since 1970."""
        self.add(whose, now + 0.5 - time.time())

    def told_by(self, whose: str, headers: httpx.Headers) -> None:
        """A server's clock, as its answer says; nothing where it does not."""
        try:
            date = parsedate_to_datetime(headers["date"]).timestamp()
            self.told(whose, date + float(headers.get("age", 0)))  # what a CDN answers may be older
        except (KeyError, ValueError, OverflowError):
            return

    def findings(self) -> Iterator[Finding]:
        """Each clock that is apart, or that none is."""
        if not self._ahead:
            yield _PART.skipped("time", "Nobody told the time.")
        for whose, ahead in self._ahead.items():
            if abs(ahead) > APART:
                yield self._apart(whose, ahead)
        if self._ahead and all(abs(ahead) <= APART for ahead in self._ahead.values()):
            yield _PART.ok("time", f"It agrees with {', '.join(self._ahead)}.")

    def _apart(self, whose: str, ahead: float) -> Finding:
        way = "behind" if ahead > 0 else "ahead of"
        said = f"This machine's clock is {abs(ahead):,.0f} seconds {way} that of {whose}."
        remedy = "Let both follow a time server (NTP): leases and signed addresses go by the time."
        return (_PART.wrong if abs(ahead) > FAR_APART else _PART.warning)("time", said, remedy)
