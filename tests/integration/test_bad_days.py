"""A vendor's bad days at every door: what is answered, what is kept (nothing wrong), and what was paid."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from time import time
from typing import Any

import httpx
import pytest

from sayonce.testing.waiting import DEADLINE
from tests.conftest import House, MakeHouse, until

TEXT = "Hello there, my friend."
RACHEL = "21m00Tcm4TlvDq8ikWAM"

DOORS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("/v1/audio/speech", {"model": "elevenlabs", "voice": RACHEL, "input": TEXT}),
    "elevenlabs": (f"/v1/text-to-speech/{RACHEL}", {"text": TEXT}),
    "timestamps": (f"/v1/text-to-speech/{RACHEL}/with-timestamps", {"text": TEXT}),
    "deepgram": ("/v1/speak", {"text": TEXT}),
    "voice": ("/api/voice", {"text": TEXT}),
    "message": (
        "/api/tts/speak",
        {"text": TEXT, "thread_id": "t", "message_id": "m", "save_to_volume": True},
    ),
}

BEFORE = [
    ({"status": 429, "headers": {"retry-after": "9"}}, 429),
    ({"status": 429, "headers": {"retry-after": formatdate(time() + 60, usegmt=True)}}, 429),
    ({"status": 401}, 502),
    ({"status": 401, "error": {"status": "quota_exceeded"}}, 503),
    ({"status": 302, "headers": {"location": "http://169.254.169.254/latest/"}}, 502),
    ({"status": 500}, 503),
    ({"trouble": "reset"}, 503),
    ({"trouble": "html"}, 502),
    ({"trouble": "json"}, 502),
    ({"trouble": "empty"}, 502),
    ({"trouble": "garbage"}, 502),
]


@pytest.fixture
async def make(make_house: MakeHouse) -> MakeHouse:
    """Houses where everything is ElevenLabs', in whatever dialect it is asked for. They have patience: only a test
    of one that has none may depend on how fast this machine is."""

    async def make(*, first_byte: float = DEADLINE, **settings: Any) -> House:
        return await make_house(
            before=("elevenlabs",),
            chain="elevenlabs",
            upstreams={"elevenlabs": {"provider": "elevenlabs", "first_byte_timeout": first_byte, "price": 80.0}},
            attempts=1,
            voices={"deepgram/aura-asteria-en": {"elevenlabs": RACHEL}},
            **settings,
        )

    return make


@pytest.fixture
async def house(make: MakeHouse) -> House:
    return await make()


async def ask(house: House, door: str) -> httpx.Response:
    path, body = DOORS[door]
    return await house.http.post(path, json=body, headers={"x-sayonce-user": "ann"})


def message(door: str, told: dict[str, Any]) -> str:
    """The error's sentence, in the dialect of the door."""
    match door:
        case "elevenlabs" | "timestamps":
            detail = told["detail"]
            return str(detail[0]["msg"] if isinstance(detail, list) else detail["message"])
        case "deepgram":
            assert set(told) == {"err_code", "err_msg", "request_id"}
            return str(told["err_msg"])
        case _:
            assert set(told["error"]) == {"message", "type", "param", "code"}
            return str(told["error"]["message"])


async def nothing_kept(house: House, calls: int = 1, *, paid: bool = False) -> None:
    """Nothing; and `paid` is what the vendor bills: what it has begun to say."""
    await until(lambda: not house.gateway.engine.flying)
    assert (await house.rows(), house.blobs()) == (0, [])
    assert house.vendors.elevenlabs.counts.calls == calls
    stats = (await house.http.get("/api/cache-stats")).json()["stats"]
    assert (stats["spent_micros"], stats["errors"]) == (80 * len(TEXT) if paid else 0, calls)


@pytest.mark.parametrize(("how", "status"), BEFORE)
@pytest.mark.parametrize("door", DOORS)
async def test_before_the_first_byte(house: House, door: str, how: dict[str, Any], status: int) -> None:
    house.vendors.elevenlabs.behave(**how)
    answer = await ask(house, door)
    assert answer.status_code == status
    told = message(door, answer.json())
    assert told.startswith("'elevenlabs' ") or "elevenlabs" in told
    assert TEXT not in answer.text
    assert "Traceback" not in answer.text
    if status == 429:
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    await nothing_kept(house, paid=how.get("trouble") == "garbage")
    house.vendors.elevenlabs.behave()
    if status != 429:
        assert (await ask(house, door)).status_code == 200, "a good day comes again"


@pytest.mark.parametrize("door", DOORS)
async def test_no_first_byte_at_all(make: MakeHouse, door: str) -> None:
    house = await make(first_byte=0.3)
    house.vendors.elevenlabs.behave(trouble="never")
    answer = await ask(house, door)
    assert answer.status_code == 504
    assert "elevenlabs" in message(door, answer.json())
    await nothing_kept(house)
    house.vendors.elevenlabs.behave()

    async def good() -> bool:
        return (await ask(house, door)).status_code == 200

    await until(good)  # in as many tries as this machine takes to answer in time


@pytest.mark.parametrize("trouble", ["cut", "abort", "half"])
@pytest.mark.parametrize("door", DOORS)
async def test_after_the_first_byte(house: House, door: str, trouble: str) -> None:
    house.vendors.elevenlabs.behave(trouble=trouble, seconds=12.0)
    try:
        answer = await ask(house, door)
    except httpx.RemoteProtocolError:
        pass  # a live answer is cut off, so that nobody takes it for whole
    else:
        assert answer.status_code in (502, 503)
        assert message(door, answer.json())
    await nothing_kept(house, paid=True)


@pytest.mark.parametrize("door", ["openai", "voice"])
async def test_a_byte_now_and_then_does_not_last_for_ever(make: MakeHouse, door: str) -> None:
    house = await make(generation_limit=2.0)
    house.vendors.elevenlabs.behave(piece=1, pace=0.2, seconds=12.0)
    answer = await ask(house, door)
    assert answer.status_code == 504
    assert "within 2 seconds" in message(door, answer.json())
    await nothing_kept(house)  # not even one line of audio has come


@asynccontextmanager
async def raw_server(answer: bytes) -> AsyncIterator[str]:
    """A server that says just this, whatever it is asked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"content-length: 100\r\n\r\n" + b"\xff\xfb\x90\x00" * 500,  # longer than announced
        HEAD + b"content-length: 5000\r\n\r\n" + b"\xff\xfb\x90\x00" * 500,  # shorter
        HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",  # no end
        HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",  # no size
        HEAD + b"\r\n",  # nothing
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nsorry",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 99999 Hm\r\n\r\n",
    ],
)
async def test_answers_that_are_no_http_or_not_whole(make_house: MakeHouse, answer: bytes) -> None:
    async with raw_server(answer) as url:
        house = await make_house(openai_base_url=url, attempts=1)
        try:
            heard = await house.speak(TEXT)
        except httpx.RemoteProtocolError:
            heard = None
        assert heard is None or heard.status in (502, 503)
        await until(lambda: not house.gateway.engine.flying)
        assert (await house.rows(), house.blobs()) == (0, [])


@pytest.mark.parametrize("detail", [{"end": "failed"}, {"end": "canceled"}, {"looks": 1_000_000}, {"output": None}])
async def test_predictions_that_come_to_nothing(make_house: MakeHouse, detail: dict[str, Any]) -> None:
    tables = {"replicate": {"provider": "replicate", "poll": 0.01, "longest": 0.3}}
    house = await make_house(
        before=("replicate", "deepgram"), chain="replicate,deepgram", upstreams=tables, attempts=1
    )
    house.vendors.replicate.behave(detail=detail)
    said = (await house.http.post("/api/voice", json={"text": TEXT})).json()
    assert (said["provider"], await house.rows()) == ("deepgram", 1)
    house.vendors.replicate.behave()
    assert (await house.http.post("/api/voice", json={"text": TEXT})).json()["provider"] == "replicate"


async def test_a_storm_of_429s_is_weathered(make_house: MakeHouse) -> None:
    """Each asks for a little patience, and gets it: nobody is failed, nothing is asked twice that was answered."""
    house = await make_house(attempts=5)
    house.vendors.behave(status=429, headers={"retry-after-ms": "5"}, times=6)
    heard = await asyncio.gather(*(house.speak(f"Number {n % 3}.") for n in range(12)))
    assert {each.status for each in heard} == {200}
    assert (house.calls, await house.rows()) == (9, 3)
