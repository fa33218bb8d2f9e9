"""The archive of conversations: what is kept where, for whom and for how long, and that it costs nothing twice."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from sayonce.access import keys
from sayonce.access.callers import Role
from sayonce.audio.probe import probe
from sayonce.audio.transcode import transcode
from sayonce.cache.archive import recipe_of
from sayonce.catalog.records import Tenant
from sayonce.speech.formats import FLAC, MP3, OPUS, PCM, WAV, AudioFormat
from sayonce.speech.requests import Owner
from tests.conftest import House, MakeHouse, until
from tests.integration.test_retention import Clock, engine

__all__ = ["engine"]

TEXT = "Hello there, my friend."
DAY = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
PLACE = "audio-chunks/2026/11/21"
Headers = dict[str, str]


def tone(audio_format: AudioFormat = OPUS, seconds: int = 1) -> bytes:
    """Something that was recorded elsewhere."""
    pcm = b"".join((n * 397 % 20_011).to_bytes(2, "little") for n in range(24_000 * seconds))
    return transcode(pcm, PCM, audio_format)


async def say(
    house: House, text: str = TEXT, session: str = "s1", headers: Headers | None = None, **body: Any
) -> dict[str, Any]:
    answer = await post(house, session, headers, json={"text": text, "at": DAY.isoformat()} | body)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def record(
    house: House, audio: bytes, session: str = "s1", headers: Headers | None = None, **query: Any
) -> dict[str, Any]:
    answer = await post_audio(house, audio, session, headers, **{"at": DAY.timestamp()} | query)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def post(house: House, session: str, headers: Headers | None = None, **given: Any) -> httpx.Response:
    return await house.http.post(f"/api/sessions/{session}/turns", headers=headers, **given)


async def post_audio(
    house: House, audio: bytes, session: str = "s1", headers: Headers | None = None, **query: Any
) -> httpx.Response:
    kind = {"content-type": "audio/whatever"} | (headers or {})
    return await post(house, session, kind, content=audio, params=query)


async def shown(house: House, session: str = "s1", headers: Headers | None = None, **query: Any) -> dict[str, Any]:
    answer = await house.http.get(f"/api/sessions/{session}", headers=headers, params=query)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def turns(house: House, session: str = "s1", headers: Headers | None = None, **query: Any) -> list[Any]:
    """Each turn's sequence, speaker and text."""
    told = await shown(house, session, headers, **query)
    return [(turn["sequence"], turn["speaker"], turn["text"]) for turn in told["turns"]]


async def names(house: House, headers: Headers | None = None, **query: Any) -> list[str]:
    told = (await house.http.get("/api/sessions", headers=headers, params=query)).json()
    return [each["session"] for each in told["sessions"]]


def files(house: House, under: str = "audio-chunks") -> list[str]:
    root = house.gateway.settings.data_dir / "audio"
    return [path for path in (str(blob.relative_to(root)) for blob in house.blobs()) if path.startswith(under)]


async def key_of(house: House, tenant: str, *roles: Role) -> Headers:
    if await house.gateway.catalog.tenant(tenant) is None:
        await house.gateway.catalog.put_tenant(Tenant(tenant))
    _, key = await keys.create(house.gateway.catalog, tenant, "", roles or (Role.SPEAK,), lambda: 0.0)
    return {"authorization": f"Bearer {key}"}


# ── what is archived ─────────────────────────────────────────────────────────────────────────────


async def test_a_conversation_is_kept_in_order(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    house = await make_house(**engine)
    said = await say(house, speaker="assistant")
    heard = await record(house, tone(), speaker="user")
    assert (said["sequence"], said["outcome"], said["format"], said["provider"]) == (1, "miss", "opus", "openai")
    assert (heard["sequence"], heard["provider"], heard["text"], heard["size"]) == (2, "recorded", None, len(tone()))
    told = await shown(house)
    assert [(turn["sequence"], turn["speaker"], turn["text"]) for turn in told["turns"]] == [
        (1, "assistant", TEXT),
        (2, "user", None),
    ]
    for turn, posted in zip(told["turns"], (said, heard), strict=True):
        assert turn | {"url": ""} == {name: posted[name] for name in turn} | {"url": ""}
        assert turn["at"] == DAY.timestamp()
        assert turn["until"] == pytest.approx(datetime.now(UTC).timestamp() + 365 * 86_400, abs=60)
        audio = (await house.http.get(turn["url"])).content
        assert (len(audio), round(probe(audio, OPUS).duration, 3)) == (turn["size"], turn["duration"])
    totals = told["totals"]
    assert (totals["turns"], totals["size"]) == (2, said["size"] + heard["size"])
    assert totals["duration"] == pytest.approx(said["duration"] + heard["duration"], abs=0.002)
    assert (totals["began_at"], totals["last_at"], told["next"]) == (DAY.timestamp(), DAY.timestamp(), None)
    assert files(house) == sorted(f"{PLACE}/s1/{turn['content_hash']}.opus" for turn in (said, heard))
    assert len(house.blobs()) == 2, "one copy each"


async def test_what_is_kept_is_not_paid_again(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    house = await make_house(**engine)
    assert (await house.speak(TEXT)).outcome == "miss"
    said = await say(house, model="tts-1", voice="nova")
    assert (said["outcome"], said["cached"], house.calls) == ("hit", True, 1)
    assert (await house.speak(TEXT, response_format="opus")).headers["x-content-hash"] == said["content_hash"]
    assert (await say(house, model="tts-1", voice="nova", session="s2"))["outcome"] == "hit"
    assert len(files(house)) == 2
    assert house.calls == 1


async def test_a_text_said_twice_is_two_turns_of_one_asset(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    house = await make_house(**engine)
    first, second = await say(house), await say(house)
    assert (first["content_hash"], second["sequence"]) == (second["content_hash"], 2)
    totals = (await shown(house))["totals"]
    assert (totals["turns"], totals["size"]) == (2, first["size"])
    assert (len(files(house)), house.calls, await house.rows()) == (1, 1, 1)
    later = await say(house, at="2026-11-22T00:00:00Z")
    assert files(house) == [f"audio-chunks/2026/11/{day}/s1/{later['content_hash']}.opus" for day in (21, 22)]


async def test_the_same_sequence_is_the_same_turn(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    house = await make_house(**engine)
    await say(house, sequence=7)
    new = await say(house, "Something else.", sequence=7)
    assert await turns(house) == [(7, None, "Something else.")]
    assert files(house) == [f"{PLACE}/s1/{new['content_hash']}.opus"]
    assert await house.rows() == 1
    moved = await say(house, "Something else.", sequence=7, at="2026-11-22T00:00:00Z", speaker="ann")
    assert await turns(house) == [(7, "ann", "Something else.")]
    assert files(house) == [f"audio-chunks/2026/11/22/s1/{moved['content_hash']}.opus"]
    assert (await say(house))["sequence"] == 8
    assert (await record(house, tone(), sequence=8))["sequence"] == 8
    assert [turn[0] for turn in await turns(house)] == [7, 8]
    assert house.calls == 3, "nobody else kept the first text"


async def test_turns_at_once_get_sequences_of_their_own(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    houses = [await make_house(**engine) for _ in range(2)]
    houses[0].vendors.behave(first_byte=0.05)
    said = [say(houses[n % 2], f"Sentence {n % 3}.") for n in range(8)]
    heard = [record(houses[n % 2], tone(WAV, n % 2 + 1)) for n in range(4)]
    told = await asyncio.gather(*said, *heard)
    assert sorted(turn["sequence"] for turn in told) == list(range(1, 13))
    assert [turn[0] for turn in await turns(houses[0])] == list(range(1, 13))
    assert houses[0].calls == 3


@pytest.mark.parametrize("audio_format", [OPUS, MP3, WAV, FLAC])
async def test_a_recording_tells_its_format_itself(house: House, audio_format: AudioFormat) -> None:
    audio = tone(audio_format)
    told = await record(house, audio)
    assert (await house.http.get(told["url"])).content == audio
    assert told["duration"] == pytest.approx(1, abs=0.1)
    assert (await record(house, audio, "s2"))["content_hash"] == told["content_hash"]
    assert (house.calls, await house.rows(), len(house.blobs())) == (0, 1, 2)


async def test_raw_samples_need_to_be_told(house: House) -> None:
    samples = bytes(48_000)
    assert (await post_audio(house, samples)).status_code == 400
    assert (await record(house, samples, format="pcm"))["duration"] == 1.0


async def test_a_recording_answers_no_speech_request(make_house: MakeHouse) -> None:
    """Not even one for the digest as a text, of an upstream that calls itself so."""
    house = await make_house(
        upstreams={"mine": {"provider": "openai", "base_url": "http://x", "identity": "recorded"}}
    )
    digest = await house.gateway.catalog.find(bytes.fromhex((await record(house, tone()))["content_hash"]))
    assert digest is not None
    recipe = recipe_of(digest.digest, Owner("default"))
    assert recipe.hash == digest.recipe_hash
    assert "normaliser" not in recipe.fields()
    text = {"text": digest.digest.hex(), "provider": "mine", "format": "opus"}
    asked = await house.http.post("/api/voice", json=text, headers={"cache-control": "only-if-cached"})
    assert asked.status_code == 504


async def test_the_how_to_is_so(house: House, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "session-archive.md").read_text(encoding="utf-8")
    (tmp_path / "turn.opus").write_bytes(tone())
    told = []
    for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL):
        written = block.replace("http://127.0.0.1:8700", house.url).replace("curl ", "curl -sf ")
        ran = await asyncio.create_subprocess_exec("bash", "-c", written, cwd=tmp_path, stdout=subprocess.PIPE)
        told.append(json.loads((await ran.communicate())[0]))
    said, heard, session, listed, ended = told
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert keys_of(json.loads(example)) == keys_of(session)
    assert (said["speaker"], heard["speaker"], heard["provider"]) == ("assistant", "customer", "recorded")
    assert (listed["sessions"][0]["turns"], ended["turns"]) == (2, 2)


def keys_of(told: dict[str, Any]) -> tuple[list[str], ...]:
    return sorted(told), sorted(told["totals"]), sorted(told["turns"][0])


# ── how long, and until when ─────────────────────────────────────────────────────────────────────


async def test_a_turn_has_a_retention_of_its_own(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    clock = Clock()
    house = await make_house(clock=clock, keep="5m", turn_keep="30d", upkeep=False, **engine)
    await house.speak("Said elsewhere, too.", response_format="opus")
    await say(house, "Said elsewhere, too.", model="tts-1", voice="nova")
    await say(house, "Said here alone.")
    await say(house, "Not for long.", headers={"x-sayonce-keep": "5m"})
    clock.now += 301
    assert [turn[2] for turn in await turns(house)] == ["Said elsewhere, too.", "Said here alone."]
    await house.gateway.upkeep.run()
    assert len(files(house)) == 2
    clock.now += 86_400 * 30
    assert (await house.http.get("/api/sessions/s1")).status_code == 404
    assert await names(house) == []
    await house.gateway.upkeep.run()
    assert (await house.rows(), house.blobs()) == (0, [])


async def test_a_turn_may_be_kept_forever(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    clock = Clock()
    house = await make_house(clock=clock, turn_keep="forever", upkeep=False, **engine)
    assert [(await say(house))["until"], (await record(house, tone()))["until"]] == [None, None]
    clock.now += 1e9
    await house.gateway.upkeep.run()
    assert (len(await turns(house)), len(files(house))) == (2, 2)


async def test_a_copy_goes_with_its_turn_though_the_asset_stays(
    make_house: MakeHouse, engine: dict[str, Any]
) -> None:
    clock = Clock()
    house = await make_house(clock=clock, turn_keep="5m", upkeep=False, **engine)
    await house.speak(TEXT, response_format="opus")
    await say(house, model="tts-1", voice="nova")
    assert (len(files(house)), len(house.blobs())) == (1, 2)
    clock.now += 301
    report = await house.gateway.upkeep.run()
    assert (report.uses, files(house), len(house.blobs())) == (1, [], 1)
    assert (await house.speak(TEXT, response_format="opus")).outcome == "hit"


async def test_an_archive_makes_no_room(make_house: MakeHouse) -> None:
    house = await make_house(upkeep=False, max_entries=0)
    await say(house)
    await record(house, tone())
    await house.speak("Goes.")
    assert (await house.gateway.upkeep.run()).evicted == 1
    assert len(await turns(house)) == 2


async def test_a_refresh_elsewhere_loses_no_turn(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    house = await make_house(**engine)
    await say(house, speaker="ann", model="tts-1", voice="nova")
    assert (await house.speak(TEXT, headers={"cache-control": "no-cache"})).outcome == "miss"
    (turn,) = (await shown(house))["turns"]
    assert (turn["sequence"], turn["speaker"], turn["format"]) == (1, "ann", "mp3")
    assert (await house.http.get(turn["url"])).status_code == 200


# ── its end ──────────────────────────────────────────────────────────────────────────────────────


async def test_ending_a_session_leaves_what_others_keep(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    house = await make_house(**engine)
    await house.speak("Kept for a request.", response_format="opus")
    other = await say(house, "Kept in another session.", "s2", model="tts-1", voice="nova")
    mine = [
        await say(house, text, model="tts-1", voice="nova")
        for text in ("Kept for a request.", "Kept in another session.", "Kept here alone.")
    ]
    heard = await record(house, tone())
    ended = (await house.http.delete("/api/sessions/s1")).json()
    assert ended == {"deleted": True, "session": "s1", "turns": 4}
    assert (await house.http.get("/api/sessions/s1")).status_code == 404
    assert (await house.http.delete("/api/sessions/s1")).status_code == 404
    assert files(house) == [f"{PLACE}/s2/{other['content_hash']}.opus"]
    assert [(await house.http.get(turn["url"])).status_code for turn in (*mine, heard)] == [200, 200, 404, 404]
    assert (await house.speak("Kept for a request.")).outcome == "hit"
    assert (await names(house), len(house.blobs())) == (["s2"], 3), "with the variant that was just made"
    assert (await say(house, "Begun anew."))["sequence"] == 1


async def test_what_was_made_of_it_goes_with_it(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    house = await make_house(**engine)
    await say(house, model="tts-1", voice="nova")
    assert (await house.speak(TEXT)).outcome == "hit"
    assert await house.rows() == 2
    await house.http.delete("/api/sessions/s1")
    assert (await house.rows(), house.blobs()) == (0, [])
    assert (await house.speak(TEXT)).outcome == "miss"


async def test_a_long_session_ends_whole(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    house = await make_house(**engine)
    audio = tone()
    await asyncio.gather(*(record(house, audio, sequence=n) for n in range(120)))
    assert (await house.http.delete("/api/sessions/s1")).json()["turns"] == 120
    assert (await house.rows(), house.blobs()) == (0, [])


async def test_what_is_on_its_way_does_not_get_into_what_was_ended(
    make_house: MakeHouse, engine: dict[str, Any]
) -> None:
    house = await make_house(**engine)
    await record(house, tone())
    house.vendors.behave(first_byte=0.5)
    saying = asyncio.create_task(post(house, "s1", json={"text": TEXT}))
    await until(lambda: house.calls == 1)
    assert (await house.http.delete("/api/sessions/s1")).json()["turns"] == 1
    assert (await saying).status_code == 404
    assert (await house.http.get("/api/sessions/s1")).status_code == 404
    assert (await house.rows(), house.blobs()) == (0, [])


async def test_ending_and_archiving_at_once(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    """What is in it afterwards can be heard, though what ended lay at the same place."""
    houses = [await make_house(**engine) for _ in range(2)]
    audio = tone()
    await record(houses[0], audio)
    for _ in range(8):
        ending = houses[0].http.delete("/api/sessions/s1")
        posts = [post_audio(houses[1], audio, at=DAY.timestamp()) for _ in range(3)]
        ended, *posted = await asyncio.gather(ending, *posts)
        assert ended.status_code == 200
        assert {answer.status_code for answer in posted} <= {200, 404}, "404: it was ended meanwhile"
        await record(houses[1], audio)
        for turn in (await shown(houses[0]))["turns"]:
            houses[1].gateway.hot.clear()
            assert (await houses[1].http.get(turn["url"].replace(houses[0].url, houses[1].url))).content == audio


async def test_a_session_may_be_invalidated(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    house = await make_house(**engine)
    await say(house)
    await say(house, "Elsewhere.", "s2")
    done = await house.http.post("/admin/invalidate", json={"session": "s1", "tenant": "default"})
    assert done.json()["removed"] == 1
    assert (await names(house), len(house.blobs())) == (["s2"], 1)
