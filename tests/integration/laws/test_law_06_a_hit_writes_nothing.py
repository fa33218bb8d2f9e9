"""Law 6: a hit waits for memory alone, or for one lookup and one read; counts are written in batches."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sayonce.cache.orders import Steering
from sayonce.errors import CatalogUnavailable
from sayonce.speech.requests import SpeechRequest
from tests.conftest import House, MakeHouse, until
from tests.integration.laws.test_law_05_never_worse import locked


def watched(house: House) -> list[str]:
    """What the database is asked from now on."""
    asked: list[str] = []
    database: Any = house.gateway.catalog._database
    for name in ("look_up", "read", "survey", "write", "note"):
        setattr(database, name, _noting(asked, name, getattr(database, name)))
    return asked


def _noting(asked: list[str], name: str, real: Any) -> Any:
    def noted(*args: Any, **kwargs: Any) -> Any:
        asked.append(name)
        return real(*args, **kwargs)

    return noted


async def test_a_memory_hit_asks_nobody(make_house: MakeHouse) -> None:
    house = await make_house(flush_seconds=3600, poll_seconds=3600)
    await house.speak()
    asked = watched(house)
    for _ in range(10):
        assert (await house.speak()).outcome == "hit"
    assert asked == []


async def test_a_storage_hit_is_one_lookup(make_house: MakeHouse) -> None:
    house = await make_house(flush_seconds=3600, poll_seconds=3600)
    await house.speak()
    house.gateway.hot.clear()
    asked = watched(house)
    assert (await house.speak()).outcome == "hit"
    assert asked == ["look_up"]


async def test_a_memory_hit_is_answered_without_an_await(house: House) -> None:
    await house.speak()
    gateway = house.gateway
    chain = gateway.cast.chain(SpeechRequest(text="Hello there, my friend.", model="tts-1", voice="nova"), Steering())
    with pytest.raises(StopIteration) as answered:
        gateway.engine.say(chain).send(None)
    assert answered.value.value.outcome == "hit"


async def test_counts_come_out_right(make_house: MakeHouse) -> None:
    house = await make_house(flush_seconds=0.02)
    house.vendors.behave(first_byte=0.05)
    await asyncio.gather(*(house.speak("One.") for _ in range(5)))
    for _ in range(7):
        await house.speak("One.")
    await house.speak("Two.")
    house.vendors.behave(status=400)
    await house.speak("Three.")
    stats = (await house.http.get("/api/cache-stats")).json()["stats"]
    wanted = {"hits": 7, "joined": 4, "misses": 2, "errors": 1, "characters": 8, "entries": 2}
    assert {name: stats[name] for name in wanted} == wanted


async def test_counts_outlast_a_catalog_that_is_away(make_house: MakeHouse) -> None:
    house = await make_house(flush_seconds=3_600)
    await house.speak()
    await house.speak()
    with locked(house.gateway.settings.data_dir / "catalog.db"), pytest.raises(CatalogUnavailable):
        await house.gateway.flush()
    await until(lambda: _flushed(house))
    count = (await house.gateway.catalog.statistics()).count
    assert (count.hits, count.misses) == (1, 1)


async def _flushed(house: House) -> bool:
    try:
        await house.gateway.flush()
    except CatalogUnavailable:
        return False
    return True
