"""The hot lane: exact repeats of first-choice hits, answered below ASGI, before any task is made.

The lane is no second truth. It answers only what the whole way has answered before, to the very same request (method,
target, credentials, body), and only while all that this answer followed from still holds; everything else goes the
whole way, as if there were no lane. docs/decisions/0006-the-hot-lane.md tells why it is there and what it rests on.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from sayonce.api.answers import LESSON, Bytes, Repeat
from sayonce.api.headers import CREDENTIALS, FORWARDED, IGNORED
from sayonce.app import Gateway
from sayonce.cache.orders import Clip
from sayonce.errors import RateLimited

# Where a repeat may be asked for: a target is one of these, or begins so.
_TARGETS = {b"/v1/audio/speech": "openai", b"/v1/speak": "deepgram", b"/api/tts/speak": "message"}
_BEGINNINGS = (
    (b"/v1/text-to-speech/", "elevenlabs"),
    (b"/v1/speak?", "deepgram"),
    (b"/audio/", "audio"),
    (b"/v1/audio/speech?", "openai"),
    (b"/api/tts/speak?", "message"),
)
# The longest body that is waited for, in bytes: above it, uvicorn would stop reading.
_LONGEST = 65_536
# How many answers are remembered. Each takes about a kilobyte; the audio is the hot tier's.
_MOST = 50_000
# Requests that come in one segment, and are short: of so many bytes, and so many of them.
_LONGEST_SEGMENT, _MOST_SEGMENTS = 2_048, 10_000
# How long, in seconds, the change log may stay unread before what is remembered is not trusted.
_DEAF = 5.0


class Known(NamedTuple):
    """A request that was answered before: the hash of all that decides its answer, and its door."""

    key: bytes
    door: str


@dataclass(slots=True)
class _Echo:
    """An answer as it is given again: its head up to the time that it took, and after that, with what both need."""

    repeat: Repeat
    epoch: int
    before: bytes
    after: bytes
    timed: bool


class Lane:
    """What the lane knows, and what it asks before it answers. One a process."""

    def __init__(self, gateway: Gateway) -> None:
        self._hot = gateway.hot
        self._gate = gateway.gate
        self._limits = gateway.limits
        self._watch = gateway.watch
        self._feed = gateway.feed
        self._deaf = max(_DEAF, 3 * gateway.settings.poll_seconds)
        self._echoes: dict[bytes, _Echo] = {}
        #: Segments that were one whole repeat each.
        self.segments: dict[bytes, Known] = {}
        self._opening: tuple[object, bytes] = (None, b"")
        own = gateway.settings.user_header.lower().encode()
        self.credentials = CREDENTIALS | {own} if own else CREDENTIALS
        self._answered = gateway.watch.metrics.lane_answered
        self._declined = gateway.watch.metrics.lane_declined

    def answer(self, known: Known, defaults: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes] | None:
        """Head and body of what is to be answered; None where the whole way is to be gone, which is counted."""
        began = time.perf_counter()
        echo = self._echoes.get(known.key)
        clip = None if echo is None else self._hot.get(echo.repeat.asset.content_hash)
        if echo is None or clip is None or (objection := self._objection(echo, clip)) is not None:
            self.decline(known.door, "new" if echo is None else "changed" if clip is None else objection)
            return None
        if echo.repeat.counted:
            self._watch.hit(clip)
        self._answered[known.door] += 1
        return self._head(echo, defaults, began), clip.data

    def decline(self, door: str, reason: str | None) -> None:
        """Counts a request that goes the whole way."""
        label = (door, reason or "")
        self._declined[label] = self._declined.get(label, 0) + 1

    def lesson(self, key: bytes) -> Callable[[Bytes], None]:
        """What the whole way tells its answer to. Whatever is forgotten from now on is not learnt any more."""
        epoch = self._gate.epoch
        return lambda answer: self._learn(key, answer, epoch)

    def remember(self, segment: bytes, known: Known) -> None:
        """Notes that these bytes are one whole request, and what it repeats."""
        if len(segment) <= _LONGEST_SEGMENT:
            _make_room(self.segments, _MOST_SEGMENTS)
            self.segments[segment] = known

    def _learn(self, key: bytes, answer: Bytes, epoch: int) -> None:
        repeat = answer.repeat
        if repeat is None or answer.status != 200:
            return
        clip = self._hot.get(repeat.asset.content_hash)
        if clip is not None and clip.asset is repeat.asset and clip.data is answer.body:
            _make_room(self._echoes, _MOST)
            self._echoes[key] = _echo(answer, repeat, epoch)

    def _objection(self, echo: _Echo, clip: Clip) -> str | None:
        """Why an answer cannot be given again; None where it can, and then it is taken from the caller's limits."""
        repeat = echo.repeat
        if clip.asset is not repeat.asset:
            return "changed"
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

    def _head(self, echo: _Echo, defaults: list[tuple[bytes, bytes]], began: float) -> bytes:
        if self._opening[0] is not defaults:  # uvicorn makes them anew each second, for the date
            self._opening = defaults, STATUS_LINE[200] + _lines(defaults)
        middle = b"total;dur=%.3f\r\n" % ((time.perf_counter() - began) * 1_000) if echo.timed else b""
        if echo.repeat.fresh:
            middle += _lines((name, make()) for name, make in echo.repeat.fresh.items())
        return b"%b%b%b%b" % (self._opening[1], echo.before, middle, echo.after)


def _echo(answer: Bytes, repeat: Repeat, epoch: int) -> _Echo:
    static = [header for header in answer.headers if header[0] not in repeat.fresh]
    at = next((n for n, (name, _) in enumerate(static) if name == b"server-timing"), None)
    if at is None:
        return _Echo(repeat, epoch, _lines(static), b"\r\n", timed=False)
    return _Echo(
        repeat, epoch, _lines(static[:at]) + b"server-timing: ", _lines(static[at + 1 :]) + b"\r\n", timed=True
    )


def _lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in headers)


def _make_room(known: dict[bytes, Any], most: int) -> None:
    if len(known) >= most:
        del known[next(iter(known))]


def _door_of(target: bytes) -> str | None:
    known = _TARGETS.get(target)
    return known or next((door for beginning, door in _BEGINNINGS if target.startswith(beginning)), None)


class LaneProtocol(HttpToolsProtocol):
    """uvicorn's protocol with the lane in it. A request that may be a repeat is held until its body is whole, and
    then answered, or let go the whole way as if it had come just now."""

    lane: Lane

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._at_rest = True  # no request is half read
        self._begun = 0  # requests in this segment
        self._repeat: Known | None = None  # what the last of them repeated
        self._looked_up = False  # the lane knows this segment, and has let it go
        self._door: str | None = None  # of the request that is held
        self._asked = b""
        self._body: list[bytes] = []
        self._answered_at = 0.0

    def data_received(self, data: bytes) -> None:
        """What was, byte for byte, one whole repeat before needs no parsing to be one again."""
        began_at_rest = self._at_rest
        known = self.lane.segments.get(data) if began_at_rest and len(data) <= _LONGEST_SEGMENT else None
        self._looked_up = known is not None and self._is_free()
        if known is not None and self._looked_up:
            answer = self.lane.answer(known, self.server_state.default_headers)
            if answer is not None:
                return self._write(answer)
        self._begin_segment()
        super().data_received(data)
        if began_at_rest and self._at_rest and self._begun == 1 and self._repeat is not None:
            self.lane.remember(data, self._repeat)

    def on_message_begin(self) -> None:
        self._at_rest = False
        self._begun += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._unset_keepalive_if_required()
        door = _door_of(self.url)
        if door is not None and (objection := self._objection()) is None:
            self._door, self._body = door, []
            return
        if door is not None:
            self.lane.decline(door, objection)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._door is None:
            super().on_body(body)
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        self._at_rest = True
        if self._door is None:
            return super().on_message_complete()
        known = Known(hashlib.sha256(b"".join((self._asked, *self._body))).digest(), self._door)
        answer = None if self._looked_up else self.lane.answer(known, self.server_state.default_headers)
        if answer is not None:
            self._door, self._repeat = None, known
            return self._write(answer)
        self.scope["extensions"] = {LESSON: self.lane.lesson(known.key)}  # type: ignore[dict-item]
        self._let_go()
        super().on_message_complete()

    def shutdown(self) -> None:
        if self._door is not None:
            self._let_go()  # it is under way, and is answered before the connection closes
        super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        left = self._answered_at + self.timeout_keep_alive - self.loop.time()
        if left > 0:  # an answer of the lane's does not set the clock back, which would take half of its time
            self._await_more(left)
        else:
            super().timeout_keep_alive_handler()

    def _begin_segment(self) -> None:
        self._begun, self._repeat = 0, None

    def _is_free(self) -> bool:
        """Whether no earlier answer goes first."""
        return (self.cycle is None or self.cycle.response_complete) and not self.flow.write_paused

    def _objection(self) -> str | None:
        """Why this request cannot be a repeat that the lane knows; None where it may be one, and is noted."""
        if not self._is_free():
            return "busy"
        method = self.parser.get_method()
        if method not in (b"POST", b"GET") or self.parser.get_http_version() != "1.1":
            return "http"
        asked, size = [method, self.url], 0
        for name, value in self.headers:
            if name in IGNORED:
                continue
            if name in self.lane.credentials:
                asked.append(b"%b:%b" % (name, value))
            elif name == b"content-length":
                size = int(value)
            elif name in FORWARDED:
                asked.append(b"forwarded:")
            elif name != b"connection" or value.lower() != b"keep-alive":
                return "header"
        if size > _LONGEST or (size == 0 and method == b"POST"):
            return "body"
        asked.append(b"\n")
        self._asked = b"\n".join(asked)
        return None

    def _let_go(self) -> None:
        """Sends what is held the whole way, as far as it has come."""
        self._door = None
        super().on_headers_complete()
        for body in self._body:
            super().on_body(body)

    def _write(self, answer: tuple[bytes, bytes]) -> None:
        self.transport.writelines(answer)
        self.server_state.total_requests += 1
        self._answered_at = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._await_more(self.timeout_keep_alive)

    def _await_more(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)


def protocol(lane: Lane) -> type[LaneProtocol]:
    """The protocol that serves with a lane."""
    return type("LaneProtocol", (LaneProtocol,), {"lane": lane})
