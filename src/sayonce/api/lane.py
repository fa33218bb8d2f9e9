"""The hot lane: exact repeats of first-choice hits, answered below ASGI, before any task is made.

The lane is no second truth. It answers only what the whole way has answered before, to the very same request (method,
target, credentials, body), and only while all that this answer followed from still holds; everything else goes the
whole way, as if there were no lane. docs/decisions/0006-the-hot-lane.md tells why it is there and what it rests on.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any, TypeAlias

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from sayonce.api.answers import LESSON, Bytes
from sayonce.api.echoes import Echo, echo_of, lines
from sayonce.api.headers import Header, meaning
from sayonce.api.targets import DOORS, door_of
from sayonce.app import Gateway
from sayonce.errors import RateLimited

# The longest body that is waited for, in bytes: above it, uvicorn would stop reading.
_LONGEST = 65_536
# How many answers are remembered, each under all that decides it, or under its hash where that is longer than this.
# With it, one takes at most three kilobytes; the audio is the hot tier's.
_MOST, _LONGEST_KEY = 20_000, 1_024
# Whole requests in one segment each: of at most so many bytes, and at most so many.
_LONGEST_SEGMENT, _MOST_SEGMENTS = 2_048, 10_000
# After so many requests of a connection without a repeat it is left to uvicorn for so many seconds, and then so many
# are looked at: what is new is spoken, then learnt, then answered.
_PATIENCE, _REST, _LOOKS = 8, 1.0, 4
_BASE = HttpToolsProtocol  # named, it is found sooner than by super()
_IGNORED, _CREDENTIAL, _FORWARDED, _LENGTH = Header.IGNORED, Header.CREDENTIAL, Header.FORWARDED, Header.LENGTH
_KEPT = {b"connection": b"keep-alive"}  # what HTTP/1.1 does anyhow

#: A request that was answered before: all that decides its answer (or its hash, where that is long), and its door.
Known: TypeAlias = tuple[bytes, str]


class Lane:
    """What the lane knows, and what it asks before it answers. One a process."""

    def __init__(self, gateway: Gateway) -> None:
        self._hot = gateway.hot
        self._gate = gateway.gate
        self._limits = gateway.limits
        self._watch = gateway.watch
        self._feed = gateway.feed
        self._deaf = gateway.feed.patience
        #: Answers by the key of their request, and segments that were one whole repeat each.
        self.echoes: dict[bytes, Echo] = {}
        self.segments: dict[bytes, Known] = {}
        self._opening: tuple[object, bytes] = (None, b"")
        self.meaning = meaning(gateway.settings.user_header, gateway.settings.forwarded_token_header)
        self._answered = gateway.watch.metrics.lane_answered
        self.declined = gateway.watch.metrics.lane_declined

    def answer(self, known: Known, defaults: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes] | None:
        """Head and body of what is to be answered; None where the whole way is to be gone, which is counted."""
        began = time.perf_counter()
        key, door = known
        echo = self.echoes[key]
        clip = self._hot.get(echo.repeat.content_hash)
        objection = "changed" if clip is None or clip.asset is not echo.repeat.asset() else self._objection(echo)
        if clip is None or objection is not None:
            self.declined[door, objection or ""] += 1
            return None
        if echo.repeat.counted:
            self._watch.hit(clip)
        self._answered[door] += 1
        return self._head(echo, defaults, began), clip.data

    def lesson(self, key: bytes) -> Callable[[Bytes], None]:
        """What the whole way tells its answer to. Whatever is forgotten from now on is not learnt any more."""
        return partial(self._learn, key, self._gate.epoch)

    def remember(self, segment: bytes, known: Known) -> None:
        """Notes that these bytes are one whole request, and what it repeats."""
        _make_room(self.segments, _MOST_SEGMENTS)
        self.segments[segment] = known

    def _learn(self, key: bytes, epoch: int, answer: Bytes) -> None:
        repeat = answer.repeat
        clip = None if repeat is None or answer.status != 200 else self._hot.get(repeat.content_hash)
        if repeat is not None and clip is not None and clip.asset is repeat.asset() and clip.data is answer.body:
            _make_room(self.echoes, _MOST)
            self.echoes[key] = echo_of(answer, repeat, epoch)

    def _objection(self, echo: Echo) -> str | None:
        """Why an answer cannot be given again; None where it can, and then it is taken from the caller's limits."""
        repeat = echo.repeat
        if self._feed.lag > self._deaf:
            return "deaf"
        if repeat.until is not None and self._watch.now() >= repeat.until:
            return "expired"
        if repeat.caller is not None and not self._gate.vouches(repeat.caller, echo.epoch):
            return "caller"
        try:
            if repeat.caller is not None and repeat.counted:
                self._limits.take(repeat.caller.tenant)
        except RateLimited:
            return "limit"
        return None

    def _head(self, echo: Echo, defaults: list[tuple[bytes, bytes]], began: float) -> bytes:
        if self._opening[0] is not defaults:  # uvicorn makes them anew each second, for the date
            self._opening = defaults, STATUS_LINE[200] + lines(defaults)
        return echo.head(self._opening[1], began)


def _make_room(known: dict[bytes, Any], most: int) -> None:
    if len(known) >= most:
        del known[next(iter(known))]


class _Bystander:
    """What a parser calls for a connection that repeats nothing: uvicorn's methods, and a count. A look took 4 µs."""

    def __init__(self, connection: LaneProtocol) -> None:
        for name in ("on_message_begin", "on_url", "on_header", "on_body", "on_message_complete"):
            setattr(self, name, MethodType(getattr(_BASE, name), connection))
        on_headers_complete = MethodType(_BASE.on_headers_complete, connection)

        def counted() -> None:
            if (door := DOORS.get(connection.url) or door_of(connection.url)) is not None:
                connection.lane.declined[door, "unlikely"] += 1
            on_headers_complete()

        self.on_headers_complete = counted


class LaneProtocol(HttpToolsProtocol):
    """uvicorn's protocol with the lane in it. A request that may be a repeat is held until its body is whole, and
    then answered, or let go the whole way as if it had come just now."""

    lane: Lane

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._done: object = self.headers  # those of the last request that was whole: uvicorn makes new ones for each
        self._completed = 0  # requests in this segment
        self._repeat: Known | None = None  # what the last of them repeated
        self._looked_up = False  # the lane knows this segment, and has let it go
        self._door: str | None = None  # of the request that is held
        self._asked: list[bytes] = []  # what decides its answer: its head, and its body as it comes
        self._head, self._held_for = 0, self.lane  # how many of these are its head's, and who held it
        self._vain, self._answered_at = 0, 0.0  # looks at its requests since the lane last answered one, and when
        self._attentive, self._passing = self.parser, self.parser

    def data_received(self, data: bytes) -> None:
        """What was, byte for byte, one whole repeat before needs no parsing to be one again."""
        if self.headers is not self._done or len(data) > _LONGEST_SEGMENT:
            _BASE.data_received(self, data)
            self._repeat = None
            return
        known = self.lane.segments.get(data)
        if known is not None and self._is_free() and known[0] in self.lane.echoes:
            if (answer := self.lane.answer(known, self.server_state.default_headers)) is not None:
                return self._write(answer)
            self._looked_up = True
        self._completed = 0
        _BASE.data_received(self, data)
        if self._repeat is not None:
            self._remember(data, self._repeat)
        elif self._vain >= _PATIENCE and self.headers is self._done:
            self._rest()

    def on_headers_complete(self) -> None:
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        if (door := DOORS.get(self.url) or door_of(self.url)) is not None:
            self._vain += 1
            if (objection := self._objection()) is None:
                self._door, self._head, self._held_for = door, len(self._asked), self.lane
                return
            self.lane.declined[door, objection] += 1
        _BASE.on_headers_complete(self)

    def on_body(self, body: bytes) -> None:
        if self._door is None:
            _BASE.on_body(self, body)
        else:
            self._asked.append(body)

    def on_message_complete(self) -> None:
        self._done = self.headers
        self._completed += 1
        if self._door is not None:
            if self._held_for is self.lane:  # settings that were loaded since may mean other headers
                key = b"".join(self._asked)
                if len(key) > _LONGEST_KEY:
                    key = hashlib.sha256(key).digest()
                if (answer := self._answer((key, self._door))) is not None:
                    self._door, self._asked = None, []
                    return self._write(answer)
                self.scope["extensions"] = {LESSON: self.lane.lesson(key)}  # type: ignore[dict-item]
            self._let_go()
        _BASE.on_message_complete(self)

    def shutdown(self) -> None:
        if self._door is not None:
            self._let_go()  # it is under way, and is answered before the connection closes
        super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        left = self._answered_at + self.timeout_keep_alive - self.loop.time()
        if left > 0:  # the lane's answers do not set the clock back, which would take half of their time
            return self._await_more(left)
        super().timeout_keep_alive_handler()

    def _rest(self) -> None:
        """Leaves what comes to uvicorn, for a while. Both parsers stand between two requests when they change."""
        if self._passing is self._attentive:
            self._passing = httptools.HttpRequestParser(_Bystander(self))
            self._passing.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        self.parser = self._passing
        self.data_received = MethodType(_BASE.data_received, self)  # type: ignore[method-assign]
        self.transport.set_protocol(self)  # uvloop's has kept the method that it found
        self.loop.call_later(_REST, self._look_again)

    def _look_again(self) -> None:
        """Ends the rest, unless a request is under way: then it lasts as long again."""
        if self not in self.connections:
            return  # it is closed, or a WebSocket
        if self.cycle.more_body or self.cycle.scope is not self.scope:
            self.loop.call_later(_REST, self._look_again)
        else:
            del self.data_received
            self.transport.set_protocol(self)
            self.parser, self._done, self._vain = self._attentive, self.headers, _PATIENCE - _LOOKS

    def _is_free(self) -> bool:
        return (self.cycle is None or self.cycle.response_complete) and not self.flow.write_paused

    def _objection(self) -> str | None:
        """Why this request cannot be a repeat that the lane knows; None where it may be one, and is noted."""
        if not self._is_free():
            return "busy"
        asked, meaning = [self.url, b"\n"], self.lane.meaning
        for name, value in self.headers:
            if (means := meaning.get(name)) is _IGNORED:
                continue
            if means is _CREDENTIAL:
                asked += (name, b":", value, b"\n")
            elif means is _FORWARDED:
                asked.append(b"forwarded\n")
            elif not (means is _LENGTH and int(value) <= _LONGEST) and value.lower() != _KEPT.get(name):
                return "header"
        asked += (self.parser.get_method(), b"\n\n")
        self._asked = asked
        return None

    def _answer(self, known: Known) -> tuple[bytes, bytes] | None:
        """What the lane answers to what is held; None where it does not."""
        if self._looked_up:
            self._looked_up = False
            return None
        if known[0] in self.lane.echoes and self.parser.get_http_version() == "1.1":
            answer = self.lane.answer(known, self.server_state.default_headers)
            self._repeat = None if answer is None else known
            return answer
        self.lane.declined[known[1], "new"] += 1
        return None

    def _remember(self, data: bytes, known: Known) -> None:
        """Notes the segment, where it was one repeat and nothing else."""
        self._repeat = None
        if self._completed == 1 and self.headers is self._done:
            self.lane.remember(data, known)

    def _let_go(self) -> None:
        """Sends what is held the whole way, as far as it has come."""
        self._door = None
        _BASE.on_headers_complete(self)
        for body in self._asked[self._head :]:
            _BASE.on_body(self, body)
        self._asked = []

    def _write(self, answer: tuple[bytes, bytes]) -> None:
        self.transport.writelines(answer)
        self.server_state.total_requests += 1
        self._answered_at, self._vain = self.loop.time(), 0
        if self.timeout_keep_alive_task is None:
            self._await_more(self.timeout_keep_alive)

    def _await_more(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)


def protocol(lane: Lane) -> type[LaneProtocol]:
    """The protocol that serves with a lane."""
    return type("LaneProtocol", (LaneProtocol,), {"lane": lane})
