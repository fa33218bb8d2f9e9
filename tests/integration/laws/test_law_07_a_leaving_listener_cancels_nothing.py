"""Law 7: what is already paid for is kept, whoever leaves."""

from __future__ import annotations

import asyncio

import pytest

from tests.conftest import House, until


async def test_the_only_listener_leaves_before_the_first_byte(house: House) -> None:
    house.vendors.behave(first_byte=0.2)
    listening = asyncio.create_task(house.speak())
    await until(lambda: house.calls == 1)
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    await until(house.rows)
    assert (await house.speak()).outcome == "hit"
    assert house.calls == 1


async def test_the_only_listener_leaves_in_the_middle(house: House) -> None:
    house.vendors.behave(pace=0.02, piece=2_000)
    async with house.http.stream(
        "POST", "/v1/audio/speech", json={"model": "tts-1", "voice": "nova", "input": "Leave early."}
    ) as answer:
        await anext(answer.aiter_raw())
    await until(house.rows)
    assert (await house.speak("Leave early.")).outcome == "hit"
    assert house.calls == 1


async def test_who_joins_late_hears_from_the_start(house: House) -> None:
    house.vendors.behave(pace=0.05, piece=4_000)
    first = asyncio.create_task(house.speak("A somewhat longer text, so that there is time to join."))
    await until(lambda: any(f.begun for f in house.gateway.engine._flights.values()))
    late = await house.speak("A somewhat longer text, so that there is time to join.")
    assert (late.outcome, late.audio) == ("joined", (await first).audio)


async def test_a_slow_listener_holds_up_nobody(house: House) -> None:
    """It reads nothing at all; everyone else hears the end, and the audio is kept."""
    house.vendors.behave(first_byte=0.1, seconds=300.0)
    text = "word " * 800
    reader, writer = await asyncio.open_connection(*house.url.removeprefix("http://").split(":"))
    body = f'{{"model": "tts-1", "voice": "nova", "input": "{text}", "response_format": "wav"}}'.encode()
    writer.write(
        b"POST /v1/audio/speech HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    await until(lambda: house.calls == 1)
    heard = await house.speak(text, response_format="wav")
    assert (heard.status, heard.outcome) == (200, "joined")
    assert len(heard.audio) > 10_000_000
    writer.close()
    assert reader is not None


async def test_a_stopping_gateway_lands_its_flights(make_house) -> None:  # type: ignore[no-untyped-def]
    from sayonce.app import running
    from sayonce.cache.orders import Steering
    from sayonce.speech.requests import SpeechRequest

    house = await make_house()
    house.vendors.behave(first_byte=0.2)
    async with running(house.gateway.settings) as other:
        chain = other.cast.chain(SpeechRequest(text="Last words."), Steering())
        speaking = asyncio.create_task(other.engine.say(chain))
        await until(lambda: house.calls == 1)
    assert (await speaking).outcome == "miss"
    assert (await house.speak("Last words.", voice="alloy")).outcome == "hit"
