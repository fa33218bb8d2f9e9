"""After a start the greetings that were used last are in memory, up to a share of it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from sayonce import settings as configuration
from sayonce.api import stage
from sayonce.api.server import application
from sayonce.cache.hot import weight_of
from sayonce.catalog.records import Asset, Tenant
from sayonce.cluster.feed import ChangeFeed
from sayonce.errors import CatalogUnavailable, StorageUnavailable
from sayonce.storage.local import LocalStorage
from sayonce.testing.servers import serving
from tests.conftest import House, MakeHouse, until


async def greet(house: House, business: str) -> Asset:
    await house.gateway.catalog.put_tenant(Tenant(business))

    async def kept() -> dict[str, str] | None:
        told = {"text": f"This is {business}."}
        answer = await house.http.post(f"/admin/tts/greeting/{business}", json=told)
        return answer.json() if answer.status_code == 200 else None  # a slow disk may keep it a little later

    asset = await house.gateway.catalog.find(bytes.fromhex((await until(kept))["content_hash"]))
    assert asset is not None
    return asset


async def greeted(house: House, names: str) -> list[Asset]:
    """Greetings, used in the reverse order of that in which they were made."""
    assets = [await greet(house, name) for name in names]
    for n, asset in enumerate(reversed(assets)):
        later = time.time() + n + 1
        await house.gateway.catalog._database.write(_used, asset.content_hash, later)
    return assets


class Reads:
    """Counts what is read from the local storage."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.trouble: str | None = None
        read = LocalStorage.read

        async def counted(storage: LocalStorage, path: str) -> bytes:
            self.count += 1
            if self.trouble is not None and self.trouble in path:
                raise StorageUnavailable("As it was told to.", backend="local")
            return await read(storage, path)

        monkeypatch.setattr(LocalStorage, "read", counted)


async def test_a_restarted_gateway_reads_nothing_for_its_first_caller(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await make_house()
    asset = await greet(house, "shop")
    await house.speak("What is no greeting.")
    url = (await house.http.post("/admin/tts/greeting/shop")).json()["audio_url"]
    reads = Reads(monkeypatch)
    loaded = configuration.load(
        data_dir=house.gateway.settings.data_dir,
        openai_base_url=house.gateway.settings.openai_base_url,
        openai_api_key="sk-x",
    )
    on = await stage.Stage.open(loaded, _plain)
    try:
        async with serving(on) as there, httpx.AsyncClient(base_url=there) as http:
            await on.gateway.preloading.done.wait()
            assert reads.count == 1
            assert on.gateway.hot.get(asset.content_hash) is not None
            audio = await http.get(there + "/audio/" + url.partition("/audio/")[2])
            assert (audio.status_code, len(audio.content)) == (200, asset.size)
            again = (await http.post("/admin/tts/greeting/shop")).json()
            assert (again["cached"], reads.count) == (True, 1)
    finally:
        await on.close()


async def test_the_last_used_fill_a_share_of_memory_and_no_more(make_house: MakeHouse) -> None:
    house = await make_house()
    assets = await greeted(house, "abcdef")
    room = sum(weight_of(asset.size) for asset in assets[:3]) + 100
    other = await make_house(memory=4 * room, greetings_share=0.25)
    async with other.gateway.preloading.under_way():
        await other.gateway.preloading.done.wait()
    there = [other.gateway.hot.get(asset.content_hash) is not None for asset in assets]
    assert there == [True] * 3 + [False] * 3
    assert other.gateway.hot.weight <= room


@pytest.mark.parametrize("share", [0.0, 1.0])
async def test_none_and_all(make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    house = await make_house()
    await greeted(house, "abc")
    reads = Reads(monkeypatch)
    other = await make_house(greetings_share=share)
    async with other.gateway.preloading.under_way():
        await other.gateway.preloading.done.wait()
    assert reads.count == (3 if share else 0)


async def test_what_cannot_be_read_is_left(make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    house = await make_house()
    assets = await greeted(house, "abc")
    reads = Reads(monkeypatch)
    reads.trouble = assets[1].digest.hex()
    other = await make_house()
    async with other.gateway.preloading.under_way():
        await other.gateway.preloading.done.wait()
    assert [other.gateway.hot.get(asset.content_hash) is not None for asset in assets] == [True, False, True]


async def test_a_catalog_that_is_away_is_asked_again(make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    house = await make_house()
    [asset] = await greeted(house, "a")
    monkeypatch.setattr("sayonce.cache.preloading._AGAIN", 0.01)
    other = await make_house()
    asked, recent = [0], other.gateway.catalog.greetings.recent

    async def away(most: int) -> Any:
        asked[0] += 1
        if asked[0] < 3:
            raise CatalogUnavailable("As it was told to.", backend="sqlite")
        return await recent(most)

    monkeypatch.setattr(other.gateway.catalog.greetings, "recent", away)
    async with other.gateway.preloading.under_way():
        await other.gateway.preloading.done.wait()
    assert other.gateway.hot.get(asset.content_hash) is not None


async def test_nothing_is_loaded_before_it_is_known_what_to_forget(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await make_house()
    [asset] = await greeted(house, "a")
    read, go_on = ChangeFeed.read, asyncio.Event()

    async def held(feed: ChangeFeed) -> None:
        await go_on.wait()
        await read(feed)

    monkeypatch.setattr(ChangeFeed, "read", held)
    other = await make_house()
    begun: list[bool] = []
    recent = other.gateway.catalog.greetings.recent

    async def asked(most: int) -> Any:
        begun.append(other.gateway.feed.begun.is_set())
        return await recent(most)

    monkeypatch.setattr(other.gateway.catalog.greetings, "recent", asked)
    async with other.gateway.preloading.under_way():
        assert (await other.http.get("/api/health")).status_code == 200
        go_on.set()
        await other.gateway.preloading.done.wait()
    assert begun == [True]
    assert other.gateway.hot.get(asset.content_hash) is not None


async def test_nobody_waits_for_it(make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    house = await make_house()
    await greeted(house, "abc")
    never = asyncio.Event()

    async def slow(storage: LocalStorage, path: str) -> bytes:
        await never.wait()
        return b""

    monkeypatch.setattr(LocalStorage, "read", slow)
    on = await stage.Stage.open(configuration.load(data_dir=house.gateway.settings.data_dir), _plain)
    async with serving(on) as there, httpx.AsyncClient(base_url=there) as http:
        assert (await http.get("/api/health/ready")).status_code == 200
        assert not on.gateway.preloading.done.is_set()
    await on.close()


async def test_what_changes_while_it_loads_is_not_remembered(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await make_house()
    [asset] = await greeted(house, "a")
    other = await make_house(poll_seconds=0.05)
    read, reading, go_on = LocalStorage.read, asyncio.Event(), asyncio.Event()

    async def held(storage: LocalStorage, path: str) -> bytes:
        data = await read(storage, path)
        reading.set()
        await go_on.wait()
        return data

    monkeypatch.setattr(LocalStorage, "read", held)
    async with other.gateway.preloading.under_way():
        await reading.wait()
        before = other.gateway.hot.epoch
        await house.gateway.engine.remove(asset.content_hash, "a", lambda _: True)
        await until(lambda: other.gateway.hot.epoch > before)
        go_on.set()
        await other.gateway.preloading.done.wait()
    assert other.gateway.hot.get(asset.content_hash) is None


async def _plain(gateway: Any) -> Any:
    return application(gateway), None


def _used(connection: Any, content_hash: bytes, at: float) -> None:
    from sqlalchemy import update

    from sayonce.catalog.tables import assets

    connection.execute(update(assets).where(assets.c.content_hash == content_hash).values(used_at=at))
