"""A circuit breaker: an upstream that fails again and again is left alone for a while, then tried once.

States: `closed` (asked as usual), `open` (left alone until its rest is over), `half-open` (one probe is out; it
decides). One breaker an upstream, and so a provider and key.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from sayonce.errors import ProviderError, ProviderRateLimited, ProviderRefused, ProviderResting

# The error rate is taken over so many calls at most, of the last minute; fewer than the least tell nothing.
_WINDOW = 20
_LEAST = 10
_MINUTE = 60.0
# Each probe that fails doubles the rest, up to this, in seconds.
_LONGEST_REST = 300.0
# No upstream is left alone for longer because it asked so, in seconds.
_LONGEST_PATIENCE = 3_600.0


_FAILED = "has failed again and again"


class State(StrEnum):
    """Whether an upstream is asked."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class Rules:
    """When it opens: after so many failures in a row, or at that share of the last calls; `rest` is in seconds."""

    failures: int = 5
    share: float = 0.5
    rest: float = 10.0


class Breaker:
    """Counts an upstream's calls. `clock` is monotonic. What the caller did wrong (ProviderRefused) is no failure;
    a ProviderRateLimited that says for how long opens it for that long at once."""

    def __init__(self, name: str, rules: Rules = Rules(), clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._rules = rules
        self._clock = clock
        self._recent: deque[tuple[float, bool]] = deque(maxlen=_WINDOW)
        self._in_a_row = 0
        self._rest = rules.rest
        self._until: float | None = None  # when its rest is over; None while closed
        self._probing = False
        self._why = _FAILED

    @property
    def state(self) -> State:
        """How it stands now."""
        if self._until is None:
            return State.CLOSED
        return State.HALF_OPEN if self._probing or self._clock() >= self._until else State.OPEN

    @property
    def resting(self) -> float | None:
        """For how many seconds the upstream is left alone; None where it may be asked."""
        if self._until is None:
            return None
        left = self._until - self._clock()
        if left > 0:
            return left
        return 1.0 if self._probing else None

    def demand(self) -> None:
        """ProviderResting where the upstream is left alone."""
        left = self.resting
        if left is not None:
            raise ProviderResting(
                f"'{self._name}' {self._why} and is left alone.",
                provider=self._name,
                retry_after=left,
                remedy="It is tried again in a moment.",
            )

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around each call. ProviderResting where it may not be made."""
        self.demand()
        probe = self._until is not None
        self._probing = self._probing or probe
        try:
            yield
        except ProviderError as error:
            self._judge(error, probe=probe)
            raise
        else:
            self._succeeded(probe=probe)
        finally:
            if probe:
                self._probing = False

    def failed(self) -> None:
        """One more failure, of a call that is still running: it is too late."""
        self._failed(probe=False)

    def _judge(self, error: ProviderError, *, probe: bool) -> None:
        if isinstance(error, ProviderRefused):
            self._succeeded(probe=probe)  # it answered
        elif isinstance(error, ProviderRateLimited) and error.retry_after:
            self._open(min(error.retry_after, _LONGEST_PATIENCE), "has asked for patience")
        else:
            self._failed(probe=probe)

    def _succeeded(self, *, probe: bool) -> None:
        if probe:
            self._close()
        elif self._until is None:
            self._in_a_row = 0
            self._recent.append((self._clock(), True))

    def _failed(self, *, probe: bool) -> None:
        if probe:
            self._rest = min(self._rest * 2, _LONGEST_REST)
            self._open(self._rest)
        elif self._until is None:  # what began before it opened tells nothing new
            self._in_a_row += 1
            self._recent.append((self._clock(), False))
            if self._in_a_row >= self._rules.failures or self._too_many():
                self._open(self._rest)

    def _too_many(self) -> bool:
        since = self._clock() - _MINUTE
        well = [good for at, good in self._recent if at >= since]
        return len(well) >= _LEAST and well.count(False) >= self._rules.share * len(well)

    def _open(self, rest: float, why: str = _FAILED) -> None:
        self._until, self._why = self._clock() + rest, why

    def _close(self) -> None:
        self._until, self._in_a_row, self._rest = None, 0, self._rules.rest
        self._recent.clear()
