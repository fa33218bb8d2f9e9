"""A catalog restored from a day-old dump, while the storage has moved on."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sayonce.audio.probe import probe
from sayonce.catalog.silences import EVERY
from sayonce.speech.formats import AudioFormat
from sayonce.testing.postgres import PostgresServer
from tests.conftest import House, MakeHouse
from tests.integration.adoption.conftest import adopt
from tests.integration.test_retention import Clock, outcome

_DAY = 86_400
Dump = Callable[[], Callable[[], str]]


@pytest.fixture(params=["sqlite", "postgresql"])
def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Dump]]:
    """The address of a catalog, and what dumps it: a dump is restored by calling it, and is another catalog then."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/catalog.db", lambda: _copied(tmp_path)
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.create()
    made = [name]

    def dump() -> Callable[[], str]:
        dumped = server.dump(name)

        def restore() -> str:
            made.append(server.restore(dumped))
            return server.url(made[-1])

        return restore

    yield server.url(name), dump
    for each in made:
        server.drop(each)


def _copied(folder: Path) -> Callable[[], str]:
    with (
        closing(sqlite3.connect(folder / "catalog.db")) as source,
        closing(sqlite3.connect(folder / "dump.db")) as copy,
    ):
        source.backup(copy)
    return lambda: f"sqlite:///{folder}/dump.db"


async def message(house: House, text: str) -> bytes:
    body = {"text": text, "thread_id": "t1", "message_id": "m1", "save_to_volume": True}
    answer = await house.http.post("/api/tts/speak", json=body, headers={"x-sayonce-user": "ann"})
    assert answer.status_code == 200
    return answer.content


async def a_day(house: House, clock: Clock) -> None:
    """In use all day long."""
    until = clock.now + _DAY
    while clock.now < until:
        clock.now += EVERY
        await house.gateway.catalog.note_in_use()


@pytest.fixture
async def restored(make_house: MakeHouse, catalog: tuple[str, Dump]) -> Callable[[], Awaitable[tuple[House, Clock]]]:
    """A house with the catalog of a day ago, to a storage of today."""
    url, dump = catalog

    async def make() -> tuple[House, Clock]:
        clock = Clock()
        before = await make_house(clock=clock, upkeep=False, database_url=url)
        for text in ("Said before, and still there.", "Said before, and deleted since."):
            await before.speak(text)
        await message(before, "The message as it was.")
        await before.gateway.flush()
        await a_day(before, clock)
        restore = dump()
        await before.speak("Said on the day that is lost.")
        await before.speak("And this, too.")
        await message(before, "The message as it was changed.")
        gone = await before.speak("Said before, and deleted since.")
        await before.http.delete(f"/api/voice/{gone.headers['x-content-hash']}")
        await a_day(before, clock)
        return await make_house(clock=clock, upkeep=False, database_url=restore()), clock

    return make


async def test_nothing_fails_and_nothing_wrong_is_served(
    restored: Callable[[], Awaitable[tuple[House, Clock]]],
) -> None:
    house, _ = await restored()
    paid = house.calls
    assert await outcome(house, "Said before, and still there.") == "hit"
    assert house.calls == paid
    for text in ("Said before, and deleted since.", "Said on the day that is lost."):
        heard = await house.speak(text)
        assert (heard.status, heard.outcome) == (200, "miss")
        assert await outcome(house, text) == "hit"
    assert await message(house, "The message as it was.") == await message(house, "The message as it was.")
    assert house.calls == paid + 3, "what is not as its row says is spoken anew, once"
    for path in house.blobs():
        told = json.loads(path.with_name(path.name + ".meta.json").read_text())
        assert probe(path.read_bytes(), AudioFormat.parse(told["format"])).duration > 0


async def test_the_day_that_is_lost_is_not_swept_but_adopted(
    restored: Callable[[], Awaitable[tuple[House, Clock]]],
) -> None:
    house, clock = await restored()
    clock.now += 2 * _DAY
    there = [path for path in house.blobs() if path.stat().st_mtime < clock.now - _DAY]
    seen = await house.gateway.upkeep.run(dry=True)
    await house.gateway.catalog.note_in_use()
    clock.now += 2 * EVERY
    done = await house.gateway.upkeep.run()
    assert (seen.swept, done.swept, seen.unknown, done.unknown) == (0, 0, 2, 2)
    assert all(path.exists() for path in there)

    paid, report = house.calls, await adopt(house)
    assert report.count["adopted"] == 2
    assert await outcome(house, "Said on the day that is lost.") == "hit"
    assert await outcome(house, "And this, too.") == "hit"
    assert house.calls == paid


async def test_what_a_crash_left_in_use_is_swept(
    restored: Callable[[], Awaitable[tuple[House, Clock]]],
) -> None:
    """Only silence keeps from sweeping: this catalog was in use when that was made."""
    house, clock = await restored()
    await house.gateway.catalog.note_in_use()
    clock.now += 10
    await house.speak("Left by a crash.")
    (newest,) = [path for path in house.blobs() if _made_at(path) == clock.now]
    for suffix in ("", ".meta.json"):
        left = newest.with_name("left-" + newest.name + suffix)
        left.write_bytes(newest.with_name(newest.name + suffix).read_bytes())
        os.utime(left, (0, 0))
    await a_day(house, clock)
    assert (await house.gateway.upkeep.run()).swept == 1
    assert (await house.gateway.upkeep.run(sweep_all=True)).swept == 2, "by hand, all of them"


def _made_at(path: Path) -> float:
    told = json.loads(path.with_name(path.name + ".meta.json").read_text())
    return float(told["made_at"])
