"""Law 1: for one recipe one generation runs at a time, and what is kept is never generated again."""

from __future__ import annotations

import asyncio
import time

import pytest

from sayonce.audio.encode import finalise
from sayonce.audio.formats import format_of
from sayonce.audio.probe import probe
from sayonce.audio.transcode import transcode
from sayonce.speech.dialects import ELEVENLABS
from tests.conftest import House, MakeHouse, until

TEXT = "Hello there, my friend. How are you today?"


async def test_a_repeat_is_a_hit(house: House) -> None:
    first, second = await house.speak(), await house.speak()
    assert (first.outcome, second.outcome) == ("miss", "hit")
    assert first.audio == second.audio
    assert house.calls == 1


async def test_a_hit_outlives_memory_and_the_process(make_house: MakeHouse) -> None:
    first = await (await make_house()).speak()
    again = await make_house()
    second = await again.speak()
    assert (second.outcome, second.audio, again.calls) == ("hit", first.audio, 1)


async def test_who_asks_at_once_shares_one_generation(house: House) -> None:
    house.vendors.behave(first_byte=0.1)
    heard = await asyncio.gather(*(house.speak() for _ in range(50)))
    assert house.calls == 1
    assert len({answer.audio for answer in heard}) == 1
    assert sorted(answer.outcome or "" for answer in heard) == ["joined"] * 49 + ["miss"]


async def test_spellings_that_sound_the_same_are_one(house: House) -> None:
    await house.speak("He said “well...”")
    assert (await house.speak('  He  said "well…" ')).outcome == "hit"
    assert (await house.speak('he said "well…"')).outcome == "miss"


@pytest.mark.parametrize("name", ["opus", "aac", "flac", "wav", "pcm"])
async def test_another_format_is_transcoded(house: House, name: str) -> None:
    first = await house.speak()
    other = await house.speak(response_format=name)
    assert (other.outcome, house.calls) == ("hit", 1)
    durations = [probe(audio, format_of(fmt)).duration for audio, fmt in ((first.audio, "mp3"), (other.audio, name))]
    assert durations[0] == pytest.approx(durations[1], abs=0.15)
    again = await house.speak(response_format=name)
    assert (again.outcome, again.audio) == ("hit", other.audio)


@pytest.mark.parametrize("name", ["wav", "opus", "flac", "aac", "pcm"])
async def test_another_format_of_a_flying_recipe_is_heard_live(house: House, name: str) -> None:
    house.vendors.behave(pace=0.02, piece=1_000, seconds=8.0)
    speaking = asyncio.create_task(house.speak())
    await until(lambda: house.calls)
    body = {"model": "tts-1", "voice": "nova", "input": "Hello there, my friend.", "response_format": name}
    async with house.http.stream("POST", "/v1/audio/speech", json=body) as other:
        pieces = other.aiter_bytes()
        heard = await anext(pieces)
        assert house.vendors.counts.finished == 0, "while the vendor is still speaking"
        heard += b"".join([piece async for piece in pieces])
    assert (other.headers["x-tts-cache"], other.headers["x-tts-variant"]) == ("joined", "transcoded")
    assert ((await speaking).outcome, house.calls) == ("miss", 1)
    again = await house.speak(response_format=name)
    assert (again.outcome, again.headers["x-tts-variant"]) == ("hit", "transcoded")
    assert finalise(heard, format_of(name)) == again.audio, "what is kept is what was heard"
    assert await until(house.rows) == 2


async def test_who_leaves_a_live_variant_takes_nothing_from_the_others(house: House) -> None:
    house.vendors.behave(pace=0.02, piece=1_000, seconds=8.0)
    speaking = asyncio.create_task(house.speak())
    await until(lambda: house.calls)
    body = {"model": "tts-1", "voice": "nova", "input": "Hello there, my friend.", "response_format": "wav"}
    async with house.http.stream("POST", "/v1/audio/speech", json=body) as other:
        await anext(other.aiter_bytes())
    assert (await speaking).outcome == "miss"

    async def both() -> bool:
        return await house.rows() == 2

    await until(both)


async def test_a_broken_flight_breaks_its_variant_and_keeps_neither(house: House) -> None:
    house.vendors.behave(trouble="abort", seconds=8.0, piece=1_000, pace=0.01)
    both = [house.speak(), house.speak(response_format="wav")]
    failed = await asyncio.gather(*both, return_exceptions=True)
    assert [type(each).__name__ for each in failed] == ["RemoteProtocolError"] * 2
    assert (await house.rows(), house.blobs(), house.calls) == (0, [], 1)


async def test_a_variant_is_made_of_the_original_and_not_of_a_poorer_variant(make_house: MakeHouse) -> None:
    """A telephone's samples are lossless, and sound worse than the MP3 that they were made of."""
    house = await make_house(before=("elevenlabs",))
    kept = {}
    for name in ("mp3_44100_192", "pcm_8000", "wav_8000", "wav_44100"):
        answer = await house.http.post(
            f"/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM?output_format={name}", json={"text": TEXT}
        )
        assert answer.headers["x-tts-cache"] == ("hit" if kept else "miss")
        kept[name] = answer.content
    assert house.vendors.elevenlabs.counts.calls == 1
    good = transcode(kept["mp3_44100_192"], ELEVENLABS["mp3_44100_192"], ELEVENLABS["wav_44100"])
    assert kept["wav_44100"] == good


async def test_native_variants_fly_each(make_house: MakeHouse) -> None:
    house = await make_house(variants="native")
    await house.speak()
    assert (await house.speak(response_format="wav")).outcome == "miss"
    assert [body["response_format"] for body in house.vendors.counts.bodies] == ["mp3", "wav"]
    assert (await house.speak(response_format="wav")).outcome == "hit"
    assert (await house.speak()).outcome == "hit"


async def test_a_refresh_replaces_every_variant(make_house: MakeHouse) -> None:
    """At once, before the change log has told anybody."""
    house = await make_house(poll_seconds=3_600)
    await house.speak()
    await house.speak(response_format="wav")
    house.vendors.behave(seconds=2.0)
    anew = await house.speak(headers={"cache-control": "no-cache"})
    assert (anew.outcome, house.calls) == ("miss", 2)
    assert await house.rows() == 1
    wav = await house.speak(response_format="wav")
    assert wav.outcome == "hit"
    assert probe(wav.audio, format_of("wav")).duration == pytest.approx(2.0, abs=0.2)
    assert (await house.speak()).audio == anew.audio


async def test_refreshes_at_once_are_one(house: House) -> None:
    await house.speak()
    house.vendors.behave(first_byte=0.1, seconds=2.0)
    heard = await asyncio.gather(*(house.speak(headers={"cache-control": "no-cache"}) for _ in range(10)))
    assert house.calls == 2
    assert len({answer.audio for answer in heard}) == 1


async def test_a_refresh_waits_for_the_flight_and_then_flies(house: House) -> None:
    house.vendors.behave(first_byte=0.1)
    plain = asyncio.create_task(house.speak())
    await until(lambda: house.calls == 1)
    anew = await house.speak(headers={"cache-control": "no-cache"})
    assert (await plain).outcome == anew.outcome == "miss"
    assert (house.calls, house.vendors.counts.most_at_once) == (2, 1)


async def test_a_refresh_of_the_same_bytes_writes_and_deletes_nothing(house: House) -> None:
    await house.speak()
    await house.speak(response_format="wav")
    before = [(path, path.stat().st_mtime_ns) for path in house.blobs()]
    assert (await house.speak(headers={"cache-control": "no-cache"})).outcome == "miss"
    assert [(path, path.stat().st_mtime_ns) for path in house.blobs()] == before
    assert await house.rows() == 2


async def test_two_gateways_on_one_folder_pay_once(make_house: MakeHouse) -> None:
    houses = [await make_house(), await make_house()]
    houses[0].vendors.behave(first_byte=0.2)
    heard = await asyncio.gather(*(house.speak() for house in houses for _ in range(5)))
    assert houses[0].calls == 1
    assert len({answer.audio for answer in heard}) == 1
    assert [answer.outcome for answer in heard].count("miss") == 1


async def test_what_expired_is_spoken_again(make_house: MakeHouse) -> None:
    passed = [0.0]
    house = await make_house(keep="30d", clock=lambda: time.time() + passed[0])
    await house.speak()
    passed[0] = 29 * 86_400
    assert (await house.speak()).outcome == "hit"
    passed[0] = 31 * 86_400
    assert (await house.speak()).outcome == "miss"
    house.gateway.hot.clear()
    assert (await house.speak()).outcome == "hit"
    assert await house.rows() == 1


async def test_only_if_cached_never_pays(house: House) -> None:
    asked = {"cache-control": "only-if-cached"}
    refused = await house.speak(headers=asked)
    assert (refused.status, refused.error["code"], house.calls) == (504, "not_kept", 0)
    await house.speak()
    assert (await house.speak(headers=asked)).outcome == "hit"


async def test_no_store_keeps_nothing_and_pays_no_more_than_it_must(house: House) -> None:
    once = {"cache-control": "no-store"}
    assert (await house.speak(headers=once)).outcome == "disabled"
    assert (await house.rows(), house.blobs()) == (0, [])
    await house.speak()
    assert (await house.speak(headers=once)).outcome == "hit"


async def test_takes_of_one_text_are_told_apart(house: House) -> None:
    takes = [await house.speak(variation=n) for n in (0, 1, 2)]
    assert [take.outcome for take in takes] == ["miss"] * 3
    assert (await house.speak(headers={"x-sayonce-variation": "2"})).outcome == "hit"
