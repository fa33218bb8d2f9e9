"""What was imported is a hit at every door, and nobody pays; nothing is replaced; each wrong row is told."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from sayonce.audio.probe import probe
from sayonce.batch.queue import wish_of
from sayonce.cache.orders import Steering
from sayonce.catalog.imports import Imports
from sayonce.catalog.records import Lease, TakeOff, Use
from sayonce.catalog.tables import leases
from sayonce.errors import StorageFull
from sayonce.speech.formats import BY_NAME, MP3, WAV, AudioFormat
from sayonce.speech.requests import SpeechRequest
from sayonce.storage.local import LocalStorage
from sayonce.testing.vendors.behaviour import Gate
from tests.conftest import House, MakeHouse, until
from tests.integration.importing.conftest import TEXT, bring, counted, folder_of, recording, rows_of

ROW = {"file": "a.mp3", "text": TEXT, "voice": "nova"}


@pytest.fixture(params=["sqlite", "postgresql"])
def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/catalog.db"
    url: str = request.getfixturevalue("postgres")
    return url


# ── a hit at every door ──────────────────────────────────────────────────────────────────────────


async def test_it_is_a_hit_at_every_door(make_house: MakeHouse, tmp_path: Path, catalog: str) -> None:
    house = await make_house(before=("elevenlabs", "deepgram"), database_url=catalog)
    eleven = {"upstream": "elevenlabs", "model": "eleven_multilingual_v2", "voice": "21m00Tcm4TlvDq8ikWAM"}
    rows: list[dict[str, Any]] = [
        ROW,
        ROW | {"file": "b.mp3", "format": "mp3_44100_128"} | eleven,
        ROW | {"file": "c.mp3", "upstream": "deepgram", "model": "aura-asteria-en", "voice": "aura-asteria-en"},
    ]
    high = recording(audio_format=AudioFormat("mp3", "mp3", 44_100, 128_000))
    files = {"a.mp3": recording(), "b.mp3": high, "c.mp3": recording(take="3")}
    assert counted(await bring(house, folder_of(tmp_path / "in", rows, files))) == {"imported": 3}

    heard = await house.speak(TEXT)
    assert (heard.status, heard.outcome, heard.audio) == (200, "hit", files["a.mp3"])
    wav = await house.speak(TEXT, response_format="wav")
    assert (wav.status, wav.outcome) == (200, "hit")
    door = await house.http.post(f"/v1/text-to-speech/{eleven['voice']}", json={"text": TEXT})
    assert (door.status_code, door.headers["x-tts-cache"], door.content) == (200, "hit", high)
    door = await house.http.post("/v1/speak", json={"text": TEXT})
    assert (door.status_code, door.headers["x-tts-cache"]) == (200, "hit"), "at that door's rate it is transcoded"
    door = await house.http.post("/api/voice", json={"text": TEXT, "voice": "nova", "model": "tts-1"})
    assert (door.status_code, door.json()["cached"]) == (200, True)
    assert (await house.http.get(door.json()["url"])).content == files["a.mp3"]
    assert [each.counts.calls for each in house.vendors.all.values()] == [0] * len(house.vendors.all)


async def test_who_asks_for_it_in_another_way_pays(house: House, tmp_path: Path) -> None:
    rows = [ROW | {"speed": 1.5, "tenant": "other"}, ROW | {"file": "b.mp3", "scope": "user", "user": "ann"}]
    source = folder_of(tmp_path / "in", rows, {"a.mp3": recording(), "b.mp3": recording(take="2")})
    assert counted(await bring(house, source)) == {"imported": 2}
    assert (await house.speak(TEXT)).outcome == "miss"
    assert (await house.speak(TEXT, speed=1.5)).outcome == "miss", "it is another tenant's"
    mine = await house.speak(TEXT, scope="user", user="ann")
    assert (mine.outcome, mine.audio) == ("hit", recording(take="2"))


async def test_what_is_told_of_all_holds_where_a_row_says_nothing(house: House, tmp_path: Path) -> None:
    root = tmp_path / "in"
    folder_of(root, [], {"a.mp3": recording(), "b.bin": recording(take="2")})
    (root / "manifest.jsonl").unlink()
    (root / "manifest.yaml").write_text(
        f"voice: nova\nmodel: tts-1-hd\nformat: mp3\nitems:\n- file: a.mp3\n  text: {TEXT}\n"
        f"- {{file: b.bin, text: {TEXT}, model: tts-1}}\n"
    )
    assert counted(await bring(house, root, model="gpt-4o-mini-tts")) == {"imported": 2}
    assert (await house.speak(TEXT, model="tts-1-hd")).audio == recording()
    assert (await house.speak(TEXT)).audio == recording(take="2")
    assert house.calls == 0


async def test_a_tenants_own_chain_says_who_spoke_it(make_house: MakeHouse, tmp_path: Path) -> None:
    from sayonce.access import keys
    from sayonce.access.callers import Role
    from sayonce.catalog.records import Tenant

    house = await make_house(before=("deepgram",))
    await house.gateway.catalog.put_tenant(Tenant("acme", chain=("deepgram",)))
    _, key = await keys.create(house.gateway.catalog, "acme", "", tuple(Role), lambda: 0.0)
    row = ROW | {"tenant": "acme", "model": "aura-asteria-en", "voice": "aura-asteria-en"}
    assert counted(await bring(house, folder_of(tmp_path / "in", [row], {"a.mp3": recording()}))) == {"imported": 1}
    asked = {"text": TEXT, "voice": "aura-asteria-en", "model": "aura-asteria-en"}
    answer = await house.http.post("/api/voice", json=asked, headers={"authorization": f"Bearer {key}"})
    assert (answer.json()["cached"], answer.json()["provider"]) == (True, "deepgram")


async def test_what_is_yet_to_be_made_is_made_by_it(house: House, tmp_path: Path) -> None:
    catalog, cast = house.gateway.catalog, house.gateway.cast
    order = cast.chain(SpeechRequest(text=TEXT, voice="nova", model="tts-1"), Steering(), ("openai",)).first
    [use] = await catalog.wish([wish_of(order, time.time(), Use("collection", "set"))])
    source = folder_of(tmp_path / "in", [ROW], {"a.mp3": recording()})
    assert counted(await bring(house, source, keep=60.0)) == {"imported": 1}
    assert use is not None
    assert await catalog.wished(use) is None
    assert await catalog.unmade(0, 10) == []
    asset = await catalog.find(order.content_hash)
    assert asset is not None
    assert asset.until is None, "the collection keeps it for longer than the import"


# ── nothing is replaced, and it may be run again ─────────────────────────────────────────────────


async def test_a_second_run_finds_it_known(make_house: MakeHouse, tmp_path: Path, catalog: str) -> None:
    house = await make_house(database_url=catalog)
    rows = [ROW | {"file": f"{n}.mp3", "text": f"{TEXT} {n}"} for n in range(5)]
    source = folder_of(tmp_path / "in", rows, {row["file"]: recording(row["text"]) for row in rows})
    looked = await bring(house, source, dry=True)
    assert (counted(looked), looked.bytes > 0, await house.rows(), house.blobs()) == ({"imported": 5}, True, 0, [])
    assert counted(await bring(house, source)) == {"imported": 5}
    before = {path: path.stat().st_mtime_ns for path in house.blobs()}
    assert counted(await bring(house, source)) == {"known": 5}
    assert {path: path.stat().st_mtime_ns for path in house.blobs()} == before


async def test_what_is_kept_with_other_bytes_stays(make_house: MakeHouse, tmp_path: Path, catalog: str) -> None:
    house = await make_house(database_url=catalog)
    paid = (await house.speak(TEXT)).audio
    report = await bring(house, folder_of(tmp_path / "in", [ROW], {"a.mp3": recording()}))
    assert counted(report) == {"refused": 1}
    [(place, why)] = report.refused
    assert (place, "other bytes are kept" in why) == ("line 1", True)
    house.gateway.hot.clear()
    assert (await house.speak(TEXT)).audio == paid
    other = [ROW | {"file": "a.wav"}]
    report = await bring(house, folder_of(tmp_path / "too", other, {"a.wav": recording(audio_format=WAV)}))
    assert "in another format" in report.refused[0][1]


async def test_two_formats_of_one_recipe_come_along(house: House, tmp_path: Path) -> None:
    rows = [ROW, ROW | {"file": "a.wav"}]
    files = {"a.mp3": recording(), "a.wav": recording(audio_format=WAV)}
    assert counted(await bring(house, folder_of(tmp_path / "in", rows[:1], files))) == {"imported": 1}
    assert counted(await bring(house, folder_of(tmp_path / "in", rows, files))) == {"imported": 1, "known": 1}
    assert (await house.speak(TEXT, response_format="wav")).audio == files["a.wav"]


async def test_one_said_twice_is_known_or_refused(house: House, tmp_path: Path) -> None:
    rows = [ROW, ROW | {"file": "b.mp3"}, ROW | {"file": "c.mp3", "text": f"  {TEXT}"}]
    files = {"a.mp3": recording(), "b.mp3": recording(), "c.mp3": recording(take="2")}
    report = await bring(house, folder_of(tmp_path / "in", rows, files))
    assert counted(report) == {"imported": 1, "known": 1, "refused": 1}
    assert report.refused == [("line 3", "it is said to be the same as line 1, and has other bytes.")]


async def test_a_path_that_is_anothers_is_not_taken(house: House, tmp_path: Path) -> None:
    rows = [ROW, ROW | {"file": "b.mp3", "text": TEXT + "!"}]
    source = folder_of(tmp_path / "in", rows[:1], {"a.mp3": recording(), "b.mp3": recording()})
    template = "by-bytes/{digest}.{ext}"
    assert counted(await bring(house, source, template=template)) == {"imported": 1}
    source = folder_of(tmp_path / "in", rows, {})
    report = await bring(house, source, template=template)
    assert (counted(report), "its path is another" in report.refused[0][1]) == ({"known": 1, "refused": 1}, True)
    house.gateway.hot.clear()
    assert (await house.speak(TEXT)).audio == recording()


async def test_a_flight_of_the_same_is_not_disturbed(make_house: MakeHouse, tmp_path: Path, catalog: str) -> None:
    house = await make_house(database_url=catalog)
    gate = Gate(0)
    house.vendors.behave(gate=gate)
    source = folder_of(tmp_path / "in", [ROW], {"a.mp3": recording()})
    flying = asyncio.create_task(house.speak(TEXT))
    await until(lambda: gate.waiting == 1)
    assert counted(await bring(house, source)) == {"busy": 1}
    gate.open()
    heard = await flying
    assert (heard.outcome, house.calls) == ("miss", 1)
    house.gateway.hot.clear()
    assert (await house.speak(TEXT)).audio == heard.audio


async def test_who_asks_meanwhile_waits_and_does_not_pay(
    make_house: MakeHouse, tmp_path: Path, catalog: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await make_house(database_url=catalog)
    asked: list[asyncio.Task[Any]] = []
    write = LocalStorage.write_all

    async def slow(self: LocalStorage, *what: Any) -> None:
        if not asked:
            asked.append(asyncio.create_task(house.speak(TEXT)))
            await until(lambda: waits(house))
        await write(self, *what)

    monkeypatch.setattr(LocalStorage, "write_all", slow)
    source = folder_of(tmp_path / "in", [ROW], {"a.mp3": recording()})
    assert counted(await bring(house, source)) == {"imported": 1}
    heard = await asked[0]
    assert (heard.status, heard.audio, house.calls) == (200, recording(), 0)


async def test_what_is_removed_meanwhile_does_not_land(
    make_house: MakeHouse, tmp_path: Path, catalog: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await make_house(database_url=catalog)
    source = folder_of(tmp_path / "in", [ROW], {"a.mp3": recording()})
    land = Imports.land

    async def removed_before(self: Imports, fence: int, arrivals: Any) -> Any:
        for arrival in arrivals:
            name = arrival.asset.content_hash
            removed = await house.gateway.catalog.remove(name, "default", lambda _: True)
            assert removed is not None
            await house.gateway.catalog.let_go(removed)
        return await land(self, fence, arrivals)

    monkeypatch.setattr(Imports, "land", removed_before)
    assert counted(await bring(house, source)) == {"busy": 1}
    assert await house.rows() == 0


async def test_a_lease_is_renewed_while_the_storage_is_slow(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = LocalStorage.write_all
    asked: list[asyncio.Task[Any]] = []

    async def slow(self: LocalStorage, *what: Any) -> None:
        first = await expiry(house)
        await until(lambda: time.time() > first)
        asked.append(asyncio.create_task(house.speak(TEXT)))
        await until(lambda: waits(house))
        await write(self, *what)

    monkeypatch.setattr(LocalStorage, "write_all", slow)
    source = folder_of(tmp_path / "in", [ROW], {"a.mp3": recording()})
    assert counted(await bring(house, source, life=0.5)) == {"imported": 1}
    assert ((await asked[0]).audio, house.calls) == (recording(), 0)


def waits(house: House) -> bool:
    """Whether a flight has waited for what somebody else has the lease of."""
    told: float = house.gateway.watch.metrics.waits._value.get()
    return told > 0


async def expiry(house: House) -> float:
    """When the only lease there is expires."""
    database = house.gateway.catalog._database
    told: float = await database.read(lambda link: link.execute(select(leases.c.expires)).scalar_one())
    return told


async def test_leases_are_given_back_where_the_disk_is_full(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = LocalStorage.write_all

    async def full(self: LocalStorage, blobs: Any) -> None:
        await write(self, blobs[:2])
        raise StorageFull("Nothing can be written.", backend="local")

    rows = [ROW | {"file": f"{n}.mp3", "text": f"{TEXT} {n}"} for n in range(4)]
    source = folder_of(tmp_path / "in", rows, {row["file"]: recording(row["text"]) for row in rows})
    with monkeypatch.context() as disk:
        disk.setattr(LocalStorage, "write_all", full)
        with pytest.raises(StorageFull):
            await bring(house, source)
    wish = TakeOff(b"r" * 32, b"c" * 32, "default", "t")
    assert isinstance(await house.gateway.catalog.take_off(wish, 1.0), Lease)
    assert counted(await bring(house, source)) == {"imported": 4}, "no lease is left"


async def test_retention_is_as_told(house: House, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", [ROW], {"a.mp3": recording()})
    await bring(house, source, keep=0.2, keep_text=False)
    [asset] = await rows_of(house)
    assert (asset.text, asset.until is not None) == (None, True)
    until_then = asset.until
    await until(lambda: time.time() > until_then)
    report = await bring(house, source)
    assert "run sayonce upkeep" in report.refused[0][1]
    await house.gateway.upkeep.run(dry=False, sweep_all=False)
    assert counted(await bring(house, source)) == {"imported": 1}


async def test_an_mp3_that_was_joined_of_two_is_a_hit_in_every_format(house: House, tmp_path: Path) -> None:
    half = recording(TEXT[: len(TEXT) // 2])
    tag = b"ID3\x04\0\0\0\0\0\x05hello"
    row = {"file": "a.mp3", "text": TEXT, "voice": "nova"}
    joined = tag + half + tag + half
    assert counted(await bring(house, folder_of(tmp_path / "in", [row], {"a.mp3": joined}))) == {"imported": 1}
    whole = probe(joined, MP3).duration
    for name in ("mp3", "opus", "aac", "flac", "wav"):
        heard = await house.speak(TEXT, voice="nova", model="tts-1", response_format=name)
        assert (heard.status, heard.outcome) == (200, "hit"), name
        assert abs(probe(heard.audio, BY_NAME[name]).duration - whole) < 0.2, name
    assert house.calls == 0
