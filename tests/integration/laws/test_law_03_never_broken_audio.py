"""Law 3: bytes are kept only when complete, decodable and of a plausible length."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.conftest import House, until


@pytest.mark.parametrize("trouble", ["html", "empty", "garbage"])
async def test_what_is_no_audio_is_refused(house: House, trouble: str) -> None:
    house.vendors.behave(trouble=trouble)
    heard = await house.speak()
    assert (heard.status, heard.error["code"]) == (502, "broken_audio")
    assert house.calls == house.gateway.settings.attempts
    assert (await house.rows(), house.blobs()) == (0, [])
    house.vendors.behave()
    assert (await house.speak()).outcome == "miss"


@pytest.mark.parametrize("trouble", ["html", "empty", "garbage"])
@pytest.mark.parametrize("name", ["mp3", "opus", "flac", "wav", "aac"])
async def test_a_second_try_saves_the_day(house: House, trouble: str, name: str) -> None:
    house.vendors.behave(trouble=trouble, times=1)
    heard = await house.speak(response_format=name)
    assert (heard.outcome, house.calls) == ("miss", 2)


@pytest.mark.parametrize("trouble", ["cut", "abort"])
async def test_a_stream_cut_short_aborts_every_listener_and_leaves_nothing(house: House, trouble: str) -> None:
    house.vendors.behave(trouble=trouble, first_byte=0.1)
    heard = await asyncio.gather(*(house.speak() for _ in range(5)), return_exceptions=True)
    assert [type(answer) for answer in heard] == [httpx.RemoteProtocolError] * 5
    assert house.calls == 1
    await until(lambda: house.gateway.engine.flying == 0)
    assert (await house.rows(), house.blobs()) == (0, [])


async def test_audio_that_ends_in_mid_frame_is_not_kept(house: House) -> None:
    """The transfer is whole, the audio is not."""
    house.vendors.behave(trouble="half")
    with pytest.raises(httpx.RemoteProtocolError):
        await house.speak()
    assert (await house.rows(), house.blobs()) == (0, [])


async def test_a_failed_flight_fails_everyone_once(house: House) -> None:
    house.vendors.behave(status=400, first_byte=0.1, error={"code": "nope"})
    heard = await asyncio.gather(*(house.speak() for _ in range(20)))
    assert {answer.status for answer in heard} == {400}
    assert house.calls == 1


async def test_an_implausible_answer_is_kept_only_the_second_time(house: House) -> None:
    house.vendors.behave(seconds=100.0)
    first, second, third = [await house.speak() for _ in range(3)]
    assert [first.outcome, second.outcome, third.outcome] == ["miss", "miss", "hit"]
    row = (await house.http.get(f"/api/voice/{third.headers['x-content-hash']}")).json()
    assert row["flags"] == ["implausible"]


async def test_raw_audio_is_not_judged_by_its_first_byte(house: House) -> None:
    for n in range(30):
        assert (await house.speak(f"Text {n}", response_format="pcm")).outcome == "miss"


async def test_a_kept_wav_has_its_true_length(house: House) -> None:
    live = await house.speak(response_format="wav")
    kept = await house.speak(response_format="wav")
    assert kept.outcome == "hit"
    assert int.from_bytes(kept.audio[4:8], "little") == len(kept.audio) - 8
    assert live.audio[44:] == kept.audio[44:]


async def test_a_wav_made_here_has_its_true_length_too(make_house) -> None:  # type: ignore[no-untyped-def]
    house = await make_house(openai_api_key=None, openai_base_url=None)
    live = await house.speak(response_format="wav")
    kept = await house.speak(response_format="wav")
    assert live.audio[4:8] == b"\xff\xff\xff\xff"
    assert int.from_bytes(kept.audio[40:44], "little") == len(kept.audio) - 44
    assert live.audio[44:] == kept.audio[44:]


async def test_more_than_anybody_would_say_is_refused(make_house) -> None:  # type: ignore[no-untyped-def]
    house = await make_house(max_audio=10_000)
    house.vendors.behave(seconds=60.0)
    with pytest.raises(httpx.RemoteProtocolError):
        await house.speak()
    assert house.blobs() == []
