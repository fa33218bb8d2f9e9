"""What is kept changes its storage while it is served: always found, never paid for again, and it can be stopped."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from sayonce.cache.moving import Moving, Report, Route
from sayonce.catalog.moves import Moves
from sayonce.catalog.tables import uses
from sayonce.errors import StorageFull
from sayonce.storage.local import LocalStorage
from tests.conftest import House, MakeHouse, until
from tests.integration.importing.conftest import TEXT, leases_of, stopped_while_taking

OLD, NEW = "database", "bucket"


@pytest.fixture(params=["sqlite", "postgresql"])
def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/catalog.db"
    url: str = request.getfixturevalue("postgres")
    return url


def storages(tmp_path: Path) -> dict[str, dict[str, Any]]:
    return {OLD: {"url": "database://"}, NEW: {"backend": "local", "root": str(tmp_path / "bucket")}}


async def filled(make_house: MakeHouse, tmp_path: Path, catalog: str, many: int = 6, **how: Any) -> House:
    told = {"poll_seconds": 0.05, "memory": 0, "storages": storages(tmp_path), "storage": OLD}
    house = await make_house(database_url=catalog, **(told | how))
    for n in range(many):
        assert (await house.speak(f"{TEXT} {n}")).outcome == "miss"
    return house


async def move(house: House, source: str | None = None, to: str = NEW, grace: float = 0.2) -> Report:
    gateway = house.gateway
    moving = Moving(gateway.catalog, gateway.shelf, gateway.storages, Route(to, source, grace, life=2.0))
    return [report async for report in moving.run()][-1]


async def places(house: House) -> list[tuple[str, int]]:
    held = (await house.gateway.catalog.statistics()).by_storage
    return sorted((name, each.blobs) for name, each in held.items() if each.blobs)


async def paths(house: House, storage: str) -> list[str]:
    return [blob.path async for blob in house.gateway.storages[storage].list()]


async def test_all_of_it_is_moved_and_nothing_is_left_behind(
    make_house: MakeHouse, tmp_path: Path, catalog: str
) -> None:
    house = await filled(make_house, tmp_path, catalog)
    before = await paths(house, OLD)
    number, size = await house.gateway.catalog.moves.count(NEW, None)
    report = await move(house)
    assert (report.moved, report.bytes, report.failed, report.busy) == (number, size, 0, 0) == (6, size, 0, 0)
    assert await places(house) == [(NEW, 6)]
    assert (await paths(house, OLD), await paths(house, NEW)) == ([], before)
    assert [(await house.speak(f"{TEXT} {n}")).outcome for n in range(6)] == ["hit"] * 6
    assert (await move(house)).moved == 0
    told = await house.gateway.storages[NEW].metadata(before[0])
    assert told["catalog"] == await house.gateway.catalog.identity(), "enough to adopt it"
    assert house.calls == 6


async def test_readers_always_find_it(make_house: MakeHouse, tmp_path: Path, catalog: str) -> None:
    house = await filled(make_house, tmp_path, catalog, many=20)
    outcomes: set[tuple[int, str | None]] = set()
    over = asyncio.Event()

    async def listen(offset: int) -> int:
        asked = 0
        while not over.is_set():
            heard = await house.speak(f"{TEXT} {(offset + asked) % 20}")
            outcomes.add((heard.status, heard.outcome))
            asked += 1
        return asked

    listening = [asyncio.create_task(listen(5 * n)) for n in range(4)]
    for to in (NEW, OLD, NEW):
        assert (await move(house, to=to)).moved == 20
    over.set()
    asked = sum(await asyncio.gather(*listening))
    assert asked > 100
    assert (outcomes, house.calls) == ({(200, "hit")}, 20)


async def test_old_copies_stay_until_every_gateway_has_read_of_it(
    make_house: MakeHouse, tmp_path: Path, catalog: str
) -> None:
    house = await filled(make_house, tmp_path, catalog)
    gateway = house.gateway
    running = Moving(gateway.catalog, gateway.shelf, gateway.storages, Route(NEW, grace=60.0)).run()
    assert (await anext(running)).moved == 6
    stopped = asyncio.create_task(anext(running))
    await until(lambda: gateway.feed.lag < 0.05)
    assert await places(house) == [(NEW, 6), (OLD, 6)]
    assert len(await paths(house, OLD)) == 6
    stopped.cancel()
    await asyncio.gather(stopped, return_exceptions=True)
    assert (await move(house)).moved == 0, "they are not moved again"


async def test_what_a_stopped_run_has_left_the_next_one_ends(
    make_house: MakeHouse, tmp_path: Path, catalog: str
) -> None:
    house = await filled(make_house, tmp_path, catalog)
    gateway = house.gateway
    running = Moving(gateway.catalog, gateway.shelf, gateway.storages, Route(NEW, grace=1.0)).run()
    assert (await anext(running)).moved == 6
    await running.aclose()
    assert (await move(house, grace=1.0)).moved == 0
    assert await places(house) == [(NEW, 6)]


class Killed(BaseException):
    """The process is no more."""


@pytest.mark.parametrize("moment", ["write", "settle", "delete"])
async def test_it_goes_on_where_it_was_killed(
    make_house: MakeHouse, tmp_path: Path, catalog: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sayonce.cache.shelf import Shelf

    house = await filled(make_house, tmp_path, catalog)
    where = {"write": (LocalStorage, "write"), "settle": (Moves, "settle"), "delete": (Shelf, "discard")}[moment]

    async def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as life:
        life.setattr(*where, killed)
        with pytest.raises(Killed):
            await move(house)
    assert [(await house.speak(f"{TEXT} {n}")).outcome for n in range(6)] == ["hit"] * 6
    await move(house)
    assert await places(house) == [(NEW, 6)]
    assert [(await house.speak(f"{TEXT} {n}")).outcome for n in range(6)] == ["hit"] * 6
    assert house.calls == 6


async def test_only_from_there_and_not_what_is_there_for_a_while(
    make_house: MakeHouse, tmp_path: Path, catalog: str
) -> None:
    house = await filled(make_house, tmp_path, catalog, storage="local", tier=OLD)
    assert await places(house) == [(OLD, 6), ("local", 6)]
    assert (await move(house, OLD)).moved == 0, "a tier's copies end by themselves"
    assert (await move(house, "local")).moved == 6
    assert await places(house) == [(NEW, 6), (OLD, 6)]


async def test_a_messages_own_file_stays_its_messages(make_house: MakeHouse, tmp_path: Path, catalog: str) -> None:
    house = await filled(make_house, tmp_path, catalog, many=0)
    body = {"text": TEXT, "thread_id": "t1", "message_id": "m1", "save_to_volume": True}
    first = await house.http.post("/api/tts/speak", json=body, headers={"x-sayonce-user": "ann"})
    assert first.headers["x-tts-cache"] == "miss"
    report = await move(house)
    assert (report.failed, await places(house)) == (0, [(NEW, report.moved)])
    lies = select(uses.c.storage).where(uses.c.path.is_not(None))
    database = house.gateway.catalog._database
    assert await database.read(lambda link: set(link.execute(lies).scalars())) == {NEW}, "where its use says it is"
    again = await house.http.post("/api/tts/speak", json=body, headers={"x-sayonce-user": "ann"})
    assert (again.headers["x-tts-cache"], again.content, house.calls) == ("hit", first.content, 1)
    await house.gateway.upkeep.run(dry=False, sweep_all=True)
    assert (await house.speak(TEXT, headers={"x-sayonce-user": "ann"})).status == 200


async def test_what_is_removed_meanwhile_stays_removed(
    make_house: MakeHouse, tmp_path: Path, catalog: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await filled(make_house, tmp_path, catalog, many=1)
    write = LocalStorage.write

    async def removed(self: LocalStorage, path: str, data: bytes, metadata: Any, *rest: Any) -> None:
        await write(self, path, data, metadata, *rest)
        await house.gateway.shelf.remove(bytes.fromhex(metadata["content_hash"]), "default", lambda _: True)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(LocalStorage, "write", removed)
        report = await move(house)
    assert (report.moved, report.busy, await house.rows()) == (0, 1, 0)
    assert (await house.speak(f"{TEXT} 0")).outcome == "miss"


async def test_what_is_lost_is_told_and_stays(make_house: MakeHouse, tmp_path: Path) -> None:
    house = await filled(make_house, tmp_path, f"sqlite:///{tmp_path}/catalog.db", many=2, storage="local")
    gone, broken = sorted(path for path in (tmp_path / "data" / "audio").rglob("*.mp3"))
    gone.unlink()
    broken.write_bytes(b"Not what it was.")
    report = await move(house)
    assert (report.moved, report.failed) == (0, 2)
    assert {why.partition(" in ")[0].partition(" from ")[0] for _, why in report.left} == {
        "its bytes are gone",
        "its bytes",
    }


async def test_a_full_disk_ends_it_and_nothing_is_lost(
    make_house: MakeHouse, tmp_path: Path, catalog: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await filled(make_house, tmp_path, catalog)
    with monkeypatch.context() as disk:

        async def full(*_: Any) -> None:
            raise StorageFull("Nothing can be written.", backend="local")

        disk.setattr(LocalStorage, "write", full)
        with pytest.raises(StorageFull):
            await move(house)
    assert await places(house) == [(OLD, 6)]
    assert (await move(house)).moved == 6


async def test_what_is_flying_is_left_for_the_next_run(make_house: MakeHouse, tmp_path: Path) -> None:
    from sayonce.catalog.records import Lease, alone_with

    house = await filled(make_house, tmp_path, f"sqlite:///{tmp_path}/catalog.db", many=2)
    [copy, _] = await house.gateway.catalog.moves.page(NEW, None, 0, 10)
    lease = await house.gateway.catalog.take_off(alone_with(copy.asset, "test"), 30.0)
    assert isinstance(lease, Lease)
    report = await move(house)
    assert (report.moved, report.busy) == (1, 1)
    await house.gateway.catalog.renew(lease, 30.0)
    await house.gateway.catalog.release(lease)
    assert (await move(house)).moved == 1


async def test_stopped_while_it_takes_its_leases_it_gives_them_back(
    make_house: MakeHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await filled(make_house, tmp_path, f"sqlite:///{tmp_path}/catalog.db", flush_seconds=600)
    await stopped_while_taking(house, tmp_path / "catalog.db", Moves, move(house), monkeypatch)
    assert await leases_of(house) == 0
    assert (await move(house)).moved == 6
