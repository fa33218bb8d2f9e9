"""Refreshes and deletions that race a flight, in one process and in two: whatever comes first, nobody is refused, no
row is without its bytes, and no bytes are without their row."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.conftest import House, MakeHouse, until
from tests.integration.test_retention import engine

__all__ = ["engine"]
_TEXT = "Said by many, while others have it said anew, and others delete it."
_ROUNDS = 6


@pytest.fixture
async def houses(make_house: MakeHouse, engine: dict[str, Any]) -> list[House]:
    """Two replicas."""
    return [await make_house(poll_seconds=0.02, upkeep=False, **engine) for _ in range(2)]


async def test_any_order(houses: list[House]) -> None:
    name = (await houses[0].speak(_TEXT)).headers["x-content-hash"]
    for seed in range(_ROUNDS):
        chance = random.Random(seed)
        houses[0].vendors.behave(first_byte=0.03, seconds=1.0 + seed / 10)  # each time other bytes
        asked = [_one(chance.choice(houses), name, chance) for _ in range(14)]
        for house in houses:
            house.gateway.hot.clear()
        statuses = await asyncio.gather(*(ask() for ask in asked))
        assert set(statuses) <= {200, 404}
        await until(lambda: consistent(houses))
        assert (await houses[0].speak(_TEXT)).status == 200


def _one(house: House, name: str, chance: random.Random) -> Callable[[], Awaitable[int]]:
    kind, wait = chance.choice(["speak", "speak", "other format", "refresh", "delete"]), chance.randrange(200)

    async def ask() -> int:
        for _ in range(wait):  # which of them is first is what is tried
            await asyncio.sleep(0)
        if kind == "delete":
            return (await house.http.delete(f"/api/voice/{name}")).status_code
        how: dict[str, Any] = {"headers": {"cache-control": "no-cache"}} if kind == "refresh" else {}
        answer = await house.speak(_TEXT, **how, **({"response_format": "wav"} if kind == "other format" else {}))
        assert answer.audio
        return answer.status

    return ask


async def test_the_place_of_a_message_is_not_taken_back(houses: list[House], monkeypatch: pytest.MonkeyPatch) -> None:
    """A flight that lost its lease wrote there; another's text may lie there by then, and its row be on its way."""
    one, other = houses
    shelf, taken = one.gateway.shelf, []
    monkeypatch.setattr(shelf, "_take_back", lambda asset: taken.append(asset))
    one.vendors.behave(first_byte=0.2)
    asked = {"text": _TEXT, "thread_id": "t1", "message_id": "m1", "save_to_volume": True}
    flying = asyncio.create_task(one.http.post("/api/tts/speak", json=asked, headers={"x-sayonce-user": "ann"}))
    await until(lambda: one.calls == 1)
    flight = next(iter(one.gateway.engine._flights.values()))
    land = one.gateway.catalog.land

    async def late(*arguments: Any, **how: Any) -> Any:
        await other.http.delete(f"/api/voice/{flight.order.content_hash.hex()}", headers={"x-sayonce-user": "ann"})
        return await land(*arguments, **how)

    monkeypatch.setattr(one.gateway.catalog, "land", late)
    assert (await flying).status_code == 200
    await until(lambda: not one.gateway.engine.flying)
    assert (one.blobs() != [], taken) == (True, [])


async def consistent(houses: list[House]) -> bool:
    """Each row has its bytes, all bytes have a row, and nobody flies."""
    if any(house.gateway.engine.flying for house in houses):
        return False
    catalog, there = houses[0].gateway.catalog, houses[0].blobs()
    named = 0
    for path in there:
        told = await houses[0].gateway.shelf._place.storage.metadata(_within(houses[0], str(path)))
        asset = await catalog.find(bytes.fromhex(told["content_hash"]))
        named += asset is not None and hashlib.sha256(path.read_bytes()).digest() == asset.digest
    return named == len(there) == await houses[0].rows()


def _within(house: House, path: str) -> str:
    return path.removeprefix(f"{house.gateway.settings.data_dir / 'audio'}/")


@pytest.mark.parametrize("first", ["refresh", "delete"])
async def test_a_refresh_and_a_deletion_while_it_flies(houses: list[House], first: str) -> None:
    """Whoever listens hears it whole, and nobody pays more than once for what they asked."""
    one, other = houses
    name = (await one.speak(_TEXT)).headers["x-content-hash"]
    await one.http.delete(f"/api/voice/{name}")
    one.vendors.behave(first_byte=0.2, seconds=2.0)
    paid = one.calls
    flying = asyncio.create_task(one.speak(_TEXT))
    await until(lambda: one.calls == paid + 1)
    refresh = asyncio.create_task(other.speak(_TEXT, headers={"cache-control": "no-cache"}))
    if first == "refresh":
        await until(lambda: other.gateway.engine.flying == 1)
    deleted = await other.http.delete(f"/api/voice/{name}")
    assert deleted.status_code == 200
    assert (await flying).status == (await refresh).status == 200
    await until(lambda: consistent(houses))
    assert (await one.speak(_TEXT)).status == 200
    assert one.calls <= paid + 3
