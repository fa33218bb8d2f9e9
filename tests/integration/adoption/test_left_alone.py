"""What adoption leaves alone: what is kept, or flying, or changes meanwhile, or is not what it says."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from sayonce.cache import adoption
from sayonce.cache.adoption import Outcome
from sayonce.catalog.records import Lease, TakeOff, Use
from sayonce.catalog.tables import blobs as blob_rows
from sayonce.errors import StorageUnavailable
from sayonce.storage.local import LocalStorage
from sayonce.testing.catalogs import asset as an_asset
from tests.conftest import Heard, House, MakeHouse, until
from tests.integration.adoption.conftest import adopt, ask, assets, counted, forget


async def test_what_is_flying_is_left_to_its_flight(make_house: MakeHouse, elsewhere: str) -> None:
    before = await make_house()
    old = await before.speak()
    after = await make_house(database_url=elsewhere)
    before.vendors.behave(first_byte=3_600.0)
    speaking = asyncio.create_task(after.speak())
    await until(lambda: before.calls == 2)
    for dry in (True, False):
        assert counted(await adopt(after, dry=dry)) == {Outcome.BUSY: 1}
    assert await after.rows() == 0
    speaking.cancel()
    [flight] = after.gateway.engine._flights.values()
    assert flight.task is not None
    flight.task.cancel()
    await until(lambda: not after.gateway.engine.flying)
    assert counted(await adopt(after)) == {Outcome.ADOPTED: 1}
    again = await after.speak()
    assert (again.outcome, again.audio, before.calls) == ("hit", old.audio, 2)


async def test_who_asks_while_it_is_adopted_waits_and_pays_nothing(
    make_house: MakeHouse, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await make_house()
    old = await before.speak()
    after = await make_house(database_url=elsewhere)
    asked: list[asyncio.Task[Heard]] = []
    write = LocalStorage.write

    async def slow(self: LocalStorage, *given: Any) -> None:
        asked.append(asyncio.create_task(after.speak()))
        await until(lambda: after.gateway.engine.flying)
        await write(self, *given)

    monkeypatch.setattr(LocalStorage, "write", slow)
    assert counted(await adopt(after)) == {Outcome.ADOPTED: 1}
    [speaking] = asked
    assert (await speaking).audio == old.audio
    assert before.calls == 1


async def test_another_recording_stays(house: House) -> None:
    """Spoken anew since the catalog was lost: what is kept now is not mixed with what was kept then."""
    old = await house.speak()
    await house.speak(response_format="wav")
    await forget(house)
    house.vendors.behave(seconds=2.5)
    new = await house.speak()
    assert (new.outcome, new.audio != old.audio) == ("miss", True)
    assert counted(await adopt(house)) == {Outcome.KNOWN: 1, Outcome.KEPT: 2}
    house.gateway.hot.clear()
    assert (await house.speak()).audio == new.audio
    assert await house.rows() == 1


async def test_one_more_file_of_what_is_kept_is_found(house: House) -> None:
    """The very bytes, at a message's place that the catalog has forgotten: the row has one more blob."""
    await ask(house, {"one": {}, "two": {}}, "m1")
    await ask(house, {"one": {}, "two": {}}, "m2")
    known = await assets(house)
    one = blob_rows.c.path == "tts_audio/ann/t1/m2.mp3"
    await house.gateway.catalog._database.write(lambda connection: connection.execute(delete(blob_rows).where(one)))
    assert counted(await adopt(house))[Outcome.ADOPTED] == 1
    assert await assets(house) == known


async def test_of_two_recordings_the_newer_one(house: House) -> None:
    """A refresh whose old file could not be deleted."""
    await house.speak()
    [old] = house.blobs()
    beside = old.with_name(old.name + ".meta.json")
    files = {path: path.read_bytes() for path in (old, beside)}
    house.vendors.behave(seconds=2.5)
    new = await house.speak(headers={"cache-control": "no-cache"})
    for path, data in files.items():
        path.write_bytes(data)
    written = old.stat().st_mtime_ns
    await forget(house)
    assert counted(await adopt(house)) == {Outcome.ADOPTED: 1, Outcome.KEPT: 1}
    assert old.stat().st_mtime_ns == written
    again = await house.speak()
    assert (again.outcome, again.audio) == ("hit", new.audio)


@pytest.mark.parametrize("landed", [True, False])
async def test_a_place_that_was_taken_meanwhile_is_not_written_over(
    house: House, landed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message changes between the look and the stamp; its row may be yet to come."""
    await message(house, "What was said first.")
    await forget(house)
    read = LocalStorage.read

    async def changed(self: LocalStorage, path: str) -> bytes:
        data = await read(self, path)
        monkeypatch.setattr(LocalStorage, "read", read)
        await message(house, "What was said then.")
        if not landed:
            await forget(house)
        return data

    monkeypatch.setattr(LocalStorage, "read", changed)
    assert counted(await adopt(house)) == {Outcome.BUSY: 1}
    if not landed:
        assert counted(await adopt(house)) == {Outcome.ADOPTED: 1}
    house.gateway.hot.clear()
    assert await message(house, "What was said then.") == "hit"
    assert house.calls == 2


async def test_a_place_that_is_taken_at_the_last_moment_stays_who_took_its(
    make_house: MakeHouse, elsewhere: str
) -> None:
    """In one transaction, whatever was asked before it."""
    house = await make_house(database_url=elsewhere)
    mine, theirs = an_asset("mine"), an_asset("theirs", blobs=an_asset("mine").blobs)
    for kept, adopted in ((theirs, True), (mine, False)):
        lease = await house.gateway.catalog.take_off(TakeOff(kept.recipe_hash, kept.content_hash, "default", "x"), 10)
        assert isinstance(lease, Lease)
        assert await house.gateway.catalog.adopt(lease, kept, Use("adopted")) is adopted
        assert await house.gateway.catalog.progress(kept.recipe_hash) is None
    assert await house.gateway.catalog.find(theirs.content_hash) == theirs
    assert await house.gateway.catalog.find(mine.content_hash) is None


async def message(house: House, text: str) -> str:
    body = {"text": text, "thread_id": "t1", "message_id": "m1", "save_to_volume": True}
    answer = await house.http.post("/api/tts/speak", json=body, headers={"x-sayonce-user": "ann"})
    return answer.headers["x-tts-cache"]


async def test_a_lease_that_was_lost_lands_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever deletes a recipe takes its lease away, also from the adoption."""
    heard = await house.speak()
    await forget(house)
    write = LocalStorage.write

    async def deleted(self: LocalStorage, *given: Any) -> None:
        await house.http.delete(f"/api/voice/{heard.headers['x-content-hash']}")
        await write(self, *given)

    monkeypatch.setattr(LocalStorage, "write", deleted)
    assert counted(await adopt(house)) == {Outcome.BUSY: 1}
    assert await house.rows() == 0


# ── what is wrong with it ────────────────────────────────────────────────────────────────────────


async def test_what_is_broken_is_left_where_it_is(house: House) -> None:
    for n in range(6):
        await house.speak(f"Sentence number {n}.")
    await forget(house)
    files = house.blobs()
    cut, other, foreign, nonsense, renamed, _ = files
    cut.write_bytes(cut.read_bytes()[:-500])
    told(cut, digest=hashlib.sha256(cut.read_bytes()).hexdigest())  # it is what it says, but it is not whole
    other.write_bytes(files[5].read_bytes())
    (foreign.parent / (foreign.name + ".meta.json")).unlink()
    told(nonsense, made_at="yesterday")
    told(renamed, recipe_hash="ab" * 32)
    (house.gateway.settings.data_dir / "audio" / "Notes of mine.txt").write_text("not ours")
    before = {path: path.read_bytes() for path in files}
    report = await adopt(house)
    assert counted(report) == {Outcome.ADOPTED: 1, Outcome.BROKEN: 4, Outcome.FOREIGN: 2}
    assert {Path(path).name for path, _ in report.broken} == {each.name for each in (cut, other, nonsense, renamed)}
    assert all(why and "Sentence" not in why for _, why in report.broken)
    assert {path: path.read_bytes() for path in files} == before


def told(blob: Path, **changed: str) -> None:
    beside = blob.with_name(blob.name + ".meta.json")
    beside.write_text(json.dumps(json.loads(beside.read_text()) | changed))


async def test_metadata_that_is_none(house: House) -> None:
    nonsense = ["", "5", "[]", '{"content_hash": 5}', "\xff"]
    for n in range(len(nonsense)):
        await house.speak(f"Sentence number {n}.")
    await forget(house)
    for blob, beside in zip(house.blobs(), nonsense, strict=True):
        blob.with_name(blob.name + ".meta.json").write_bytes(beside.encode("latin-1"))
    assert counted(await adopt(house)) == {Outcome.FOREIGN: 4, Outcome.BROKEN: 1}


@pytest.mark.parametrize("question", ["read", "metadata"])
async def test_a_storage_that_fails_is_said_and_what_was_done_stays(
    house: House, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adoption, "_BATCH", 2)
    for n in range(3):
        await house.speak(f"Sentence number {n}.")
    await forget(house)
    last = house.blobs()[-1]
    answer = getattr(LocalStorage, question)

    async def fails(self: LocalStorage, path: str) -> Any:
        if path.endswith(last.name):
            raise StorageUnavailable("The disk is away.", backend="local")
        return await answer(self, path)

    with monkeypatch.context() as trouble, pytest.raises(StorageUnavailable):
        trouble.setattr(LocalStorage, question, fails)
        await adopt(house)
    assert await house.rows() == 2
    assert counted(await adopt(house)) == {Outcome.ADOPTED: 1, Outcome.KNOWN: 2}
