"""On the wire the lane behaves as uvicorn alone does, whatever comes, and however it comes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import re
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sayonce.api import lane
from sayonce.api.lane import LaneProtocol
from tests.conftest import DEADLINE, House, until
from tests.integration.lane.conftest import RACHEL, REQUEST_ID, SPEECH, TEXT, Ways, exchange

K = TypeVar("K")
BODY = json.dumps(SPEECH).encode()


def request(
    *headers: str, body: bytes = BODY, line: str = "POST /v1/audio/speech HTTP/1.1", length: str = ""
) -> bytes:
    """A request's bytes."""
    lines = [line, "host: localhost", *headers, f"content-length: {length or len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


_EACH_TIME = re.compile(rb"^(?:date|server-timing|request-id|dg-request-id):[^\r]*\r\n", re.MULTILINE)
REQUEST = request()
ELEVENLABS = request(line=f"POST /v1/text-to-speech/{RACHEL} HTTP/1.1", body=json.dumps({"text": TEXT}).encode())
DEEPGRAM = request(line="POST /v1/speak HTTP/1.1", body=json.dumps({"text": TEXT}).encode())
LAST = request("connection: close", body=b"", line="GET /nowhere HTTP/1.1")
CHUNKED = (
    b"POST /v1/audio/speech HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
    + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
)


def plain(answers: bytes) -> list[tuple[bytes, list[bytes], bytes]]:
    """Answers as status, headers without what differs each time, and body."""
    found = []
    answers = _EACH_TIME.sub(b"", answers)  # of all, since after HEAD the next answer is taken for a body
    while answers:
        head, _, answers = answers.partition(b"\r\n\r\n")
        status, *headers = head.split(b"\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        size = int(length[1]) if length and b" 100 " not in status else 0
        found.append((status, sorted(headers), REQUEST_ID.sub(b"", answers[:size])))
        answers = answers[size:]
    return found


@pytest.fixture
async def learnt(ways: Ways) -> Ways:
    """Both have it in memory, and the lane knows the request's bytes."""
    for house in (ways.lane, ways.whole):
        for _ in range(4):
            for asked in (REQUEST, ELEVENLABS, DEEPGRAM):
                assert await exchange(house, asked, LAST)
    assert ways.answered > 0
    return ways


KINDS: dict[str, tuple[list[bytes], int]] = {
    "alone": ([REQUEST, LAST], 1),
    "pipelined": ([REQUEST * 5 + LAST], 5),
    "pipelined with others": ([REQUEST + request(line="GET /api/nothing HTTP/1.1", body=b"") + REQUEST + LAST], 1),
    "in fifty pieces": ([REQUEST[at : at + 5] for at in range(0, len(REQUEST), 5)] + [LAST], 1),
    "byte by byte": ([bytes([byte]) for byte in REQUEST] + [LAST], 1),
    "chunked": ([CHUNKED, LAST], 0),
    "expecting to continue": ([request("expect: 100-continue"), LAST], 0),
    "HTTP/1.0": ([request(line="POST /v1/audio/speech HTTP/1.0")], 0),
    "HTTP/1.0 that stays": ([request("connection: keep-alive", line="POST /v1/audio/speech HTTP/1.0"), LAST], 0),
    "HEAD": ([request(line="HEAD /v1/audio/speech HTTP/1.1", body=b""), LAST], 0),
    "too short for its length": ([request(length=str(len(BODY) + 3)), b"   ", LAST], 0),
    "too long for its length": ([request(length=str(len(BODY) - 3)), LAST], 0),
    "two lengths": ([request(f"content-length: {len(BODY)}", length="7")], 0),
    "no length": ([REQUEST.replace(b"content-length: ", b"x-length: "), LAST], 0),
    "a negative length": ([request(length="-1")], 0),
    "many headers": ([request(*(f"x-{n}: {'y' * 50}" for n in range(500))), LAST], 0),
    "a header without end": ([b"POST /v1/audio/speech HTTP/1.1\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", LAST], 0),
    "another case": ([REQUEST.replace(b"host:", b"HoSt:"), LAST], 1),
    "an upgrade": ([request("connection: upgrade", "upgrade: websocket"), LAST], 0),
    "no HTTP": ([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"], 0),
    "an absolute target": ([REQUEST.replace(b"POST /", b"POST http://localhost/"), LAST], 0),
    "a target too long to be held": (
        [request(line=f"GET /audio/{'a' * 66_000} HTTP/1.1", body=b"xx"), LAST],
        0,
    ),
    "an empty line before": ([b"\r\n" + REQUEST, LAST], 1),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_whatever_comes(learnt: Ways, kind: str) -> None:
    pieces, by_lane = KINDS[kind]
    before = learnt.answered
    mine, other = await exchange(learnt.lane, *pieces), await exchange(learnt.whole, *pieces)
    assert plain(mine) == plain(other)
    assert plain(mine), "something is answered"
    assert learnt.answered - before == by_lane


async def test_what_comes_after_a_repeat_in_pieces_is_no_repeat(learnt: Ways) -> None:
    other = request(line="GET /api/health HTTP/1.1", body=b"")
    for _ in range(3):
        answers = plain(await exchange(learnt.lane, REQUEST[:1], REQUEST[1:], other, REQUEST, LAST))
        assert [b"x-tts-cache: hit" in headers for _, headers, _ in answers] == [True, False, True, False]


async def test_who_reads_slowly_gets_all_of_it(learnt: Ways) -> None:
    """More than the buffers hold, asked for at once, read in sips."""
    count = 300
    reader, writer = await sipping(learnt.lane)
    asking = asyncio.create_task(send(writer, REQUEST * count + LAST))
    heard = bytearray()
    while piece := await asyncio.wait_for(reader.read(1_000), DEADLINE):
        heard += piece
    await asking
    writer.close()
    one = plain(await exchange(learnt.whole, REQUEST, LAST))
    assert plain(bytes(heard)) == [one[0]] * count + [one[1]]


async def sipping(house: House) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection of a client that takes little at a time."""
    host, _, port = house.url.removeprefix("http://").rpartition(":")
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    narrow.setblocking(False)
    await asyncio.get_running_loop().sock_connect(narrow, (host, int(port)))
    return await asyncio.open_connection(sock=narrow, limit=4_096)


async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def test_who_closes_one_half_is_done_with(learnt: Ways) -> None:
    for house in (learnt.lane, learnt.whole):
        await exchange(house, REQUEST, ends=True)
        await until(lambda house=house: not house.gateway.engine.flying)
    assert plain(await exchange(learnt.lane, REQUEST, ends=True)) in (
        [],
        plain(await exchange(learnt.lane, REQUEST, LAST))[:1],
    )


async def test_idle_connections_are_no_hindrance(learnt: Ways) -> None:
    host, _, port = learnt.lane.url.removeprefix("http://").rpartition(":")
    idle = [await asyncio.open_connection(host, int(port)) for _ in range(300)]
    for _, writer in idle[::2]:
        writer.write(REQUEST[:40])
    before = learnt.answered
    assert len(plain(await exchange(learnt.lane, REQUEST, LAST))) == 2
    assert learnt.answered == before + 1
    for reader, writer in idle[::2]:
        writer.write(REQUEST[40:])
        assert (await asyncio.wait_for(reader.readline(), DEADLINE)).startswith(b"HTTP/1.1 200")
    for _, writer in idle:
        writer.close()


async def test_a_connection_that_waits_is_closed_after_its_time(learnt: Ways) -> None:
    """Its clock is not set back by each answer of the lane's, but looks again when it has run down."""
    host, _, port = learnt.lane.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(REQUEST)
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE)
    waiting = max(living(LaneProtocol), key=lambda each: each._answered_at)
    clock = waiting.timeout_keep_alive_task
    assert clock is not None
    waiting.timeout_keep_alive_handler()
    assert not waiting.transport.is_closing()
    assert waiting.timeout_keep_alive_task is not clock, "it runs on"
    waiting._answered_at -= waiting.timeout_keep_alive
    waiting.timeout_keep_alive_handler()
    await asyncio.wait_for(reader.read(), DEADLINE)
    writer.close()


async def test_what_is_held_is_answered_before_it_shuts(learnt: Ways) -> None:
    """A request of which half has come when the server is told to stop."""
    host, _, port = learnt.lane.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(REQUEST[:-10])
    held: list[LaneProtocol] = await until(lambda: [each for each in living(LaneProtocol) if each._door is not None])
    for each in held:
        each.shutdown()
    writer.write(REQUEST[-10:])
    heard = await asyncio.wait_for(reader.read(), DEADLINE)
    assert (plain(heard)[0][0], b"connection: close" in heard) == (b"HTTP/1.1 200 OK", True)
    writer.close()


async def test_an_answer_that_is_not_read_yet_outlives_the_shutdown(learnt: Ways) -> None:
    """More than the kernel's buffers hold is still to be written when the server is told to stop."""
    reader, writer = await sipping(learnt.lane)
    before = learnt.answered
    writer.write(REQUEST * 40)
    await until(lambda: learnt.answered - before >= 5)
    answered = learnt.answered - before
    for each in living(LaneProtocol):
        if each in each.connections and each.transport.get_write_buffer_size():
            each.shutdown()
    heard = plain(await asyncio.wait_for(reader.read(), DEADLINE))
    assert len(heard) >= answered
    assert {status for status, _, _ in heard} == {b"HTTP/1.1 200 OK"}
    assert len({body for _, _, body in heard}) == 1, "each is whole"
    writer.close()


async def test_who_repeats_nothing_is_left_alone(learnt: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request is counted under one reason, also what would be a repeat."""
    monkeypatch.setattr(lane, "_REST", 3_600.0)
    strange = request("cache-control: max-age=0")
    before, answered = learnt.declined, learnt.answered
    await in_turn(learnt.lane, [strange] * (lane._PATIENCE + 5) + [REQUEST, strange])
    assert learnt.answered == answered
    counted = {("openai", "header"): lane._PATIENCE, ("openai", "unlikely"): 7}
    assert since(before, learnt.declined) == counted


async def test_who_has_rested_is_looked_at_again(learnt: Ways) -> None:
    """So that what it repeats from then on is learnt."""
    before, answered = learnt.declined, learnt.answered

    def strange_until_it_rests_and_then_new() -> Iterator[bytes]:
        yield from [request("cache-control: max-age=0")] * (lane._PATIENCE + 1)
        assert since(before, learnt.declined)["openai", "unlikely"] == 1
        new = request(body=json.dumps(SPEECH | {"input": "Something else, again and again."}).encode())
        deadline = time.monotonic() + DEADLINE
        while learnt.answered < answered + 3 and time.monotonic() < deadline:
            yield new

    await in_turn(learnt.lane, strange_until_it_rests_and_then_new())
    assert learnt.answered == answered + 3


async def test_a_rest_ends_between_two_requests(learnt: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another parser has seen the beginning of what is under way."""
    monkeypatch.setattr(lane, "_REST", 3_600.0)
    reader, writer = await sipping(learnt.lane)
    for _ in range(lane._PATIENCE):
        writer.write(request("cache-control: max-age=0", line="GET /audio/xyz.mp3 HTTP/1.1", body=b""))
        await answered(reader)
    (resting,) = [each for each in living(LaneProtocol) if each.transport and each.parser is each._passing]
    passing, known = resting._passing, learnt.answered
    writer.write(REQUEST[:20])
    await until(lambda: resting.scope is not resting.cycle.scope)
    resting._look_again()
    assert resting.parser is passing
    writer.write(REQUEST[20:])
    assert (await answered(reader)).startswith(b"HTTP/1.1 200 OK")
    resting._look_again()
    writer.write(REQUEST)
    await answered(reader)
    assert (resting.parser is resting._attentive, learnt.answered) == (True, known + 1)
    writer.close()
    await until(lambda: resting not in resting.connections)
    resting._look_again()


async def answered(reader: asyncio.StreamReader) -> bytes:
    """The head of one answer, whose body has been read, too."""
    head = await reader.readuntil(b"\r\n\r\n")
    if length := re.search(rb"content-length: (\d+)", head):
        await reader.readexactly(int(length[1]))
    else:
        await reader.readuntil(b"\r\n0\r\n\r\n")
    return head


async def in_turn(house: House, requests: Iterable[bytes]) -> None:
    """Asks one after the other on one connection, a segment each."""
    host, _, port = house.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for each in requests:
        writer.write(each)
        assert (await answered(reader)).startswith(b"HTTP/1.1 200 OK")
    writer.close()


def since(before: Mapping[Any, int], now: Mapping[Any, int]) -> dict[Any, int]:
    """What was counted in between."""
    return {key: count - before.get(key, 0) for key, count in now.items() if count > before.get(key, 0)}


def living(kind: type[K]) -> list[K]:
    return [each for each in gc.get_objects() if isinstance(each, kind)]


POOL = [
    REQUEST,
    REQUEST,
    CHUNKED,
    request("cache-control: no-store"),
    request("x-forwarded-for: 1.2.3.4"),
    request("user-agent: x", "accept: */*"),
    request("connection: keep-alive"),
    request(line="GET /v1/audio/speech HTTP/1.1", body=b""),
    ELEVENLABS,
    DEEPGRAM,
    request(body=b"{"),
    request(line="GET /audio/xyz.mp3 HTTP/1.1", body=b""),
    b"\r\n",
    b"POST",
    b"\x00",
    request(length="3"),
    REQUEST[:-1],
]


@pytest.fixture(params=[(lane._PATIENCE, lane._REST), (1, 0.0)], ids=["patient", "impatient"])
def patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How soon a connection without repeats is not looked at any more, and for how long."""
    monkeypatch.setattr(lane, "_PATIENCE", request.param[0])
    monkeypatch.setattr(lane, "_REST", request.param[1])


@pytest.mark.usefixtures("patience")
@given(
    chosen=st.lists(st.sampled_from(POOL), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 1_500), max_size=6),
    flip=st.none() | st.tuples(st.integers(0, 1_500), st.integers(0, 255)),
)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_bytes_both_ways(
    learnt: Ways, chosen: list[bytes], cuts: list[int], flip: tuple[int, int] | None
) -> None:
    data = bytearray(b"".join(chosen))
    if flip is not None and flip[0] < len(data):
        data[flip[0]] = flip[1]
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [bytes(data[a:b]) for a, b in pairwise(places)]
    await heard(learnt.whole, pieces)  # a text that nobody has asked for is asked for once beforehand
    mine, other = plain(await heard(learnt.lane, pieces)), plain(await heard(learnt.whole, pieces))
    if other and other[-1][0] == b"HTTP/1.1 400 Bad Request" and b"Invalid HTTP" in other[-1][2]:
        # uvicorn hangs up on answers that it is still making, be it behind the lane; the lane's own are made.
        assert mine[-1] == other[-1]
        assert all(one == another for one, another in zip(mine[:-1], other[:-1], strict=False))
    else:
        assert mine == other


async def heard(house: House, pieces: list[bytes]) -> bytes:
    """What is answered until the server closes, or waits for more."""
    host, _, port = house.url.removeprefix("http://").rpartition(":")
    loop, answers = asyncio.get_running_loop(), bytearray()
    with socket.socket() as mine:  # a stream would drop what came before a reset, as after garbage
        mine.setblocking(False)
        await loop.sock_connect(mine, (host, int(port)))
        with contextlib.suppress(TimeoutError, ConnectionError):  # it waits for more, or has hung up
            with contextlib.suppress(ConnectionError):
                for piece in [*pieces, LAST]:
                    await loop.sock_sendall(mine, piece)
                    await asyncio.sleep(0)
            while piece := await asyncio.wait_for(loop.sock_recv(mine, 65_536), 0.25):
                answers += piece
    return bytes(answers)
