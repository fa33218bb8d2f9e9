"""Law 10: the fence and the catalog's unique constraints decide, whatever a storage does."""

from __future__ import annotations

import asyncio

import pytest

from sayonce.catalog.records import Held, Lease, TakeOff
from sayonce.errors import FenceLost
from tests.conftest import House, until


def wish(house: House, holder: str) -> TakeOff:
    return TakeOff(b"r" * 32, b"c" * 32, "default", holder)


async def test_one_holder_at_a_time_and_rising_fences(house: House) -> None:
    catalog = house.gateway.catalog
    found = await asyncio.gather(*(catalog.take_off(wish(house, str(n)), 10) for n in range(20)))
    leases = [lease for lease in found if isinstance(lease, Lease)]
    assert len(leases) == 1
    assert sum(isinstance(other, Held) for other in found) == 19
    await catalog.release(leases[0])
    after = await catalog.take_off(wish(house, "next"), 10)
    assert isinstance(after, Lease)
    assert after.fence > leases[0].fence


async def test_a_stale_fence_renews_and_lands_nothing(house: House) -> None:
    catalog = house.gateway.catalog
    stale = await catalog.take_off(wish(house, "stale"), 0.0)
    fresh = await catalog.take_off(wish(house, "fresh"), 10)
    assert isinstance(stale, Lease)
    assert isinstance(fresh, Lease)
    with pytest.raises(FenceLost):
        await catalog.renew(stale, 10)
    await catalog.release(stale)
    assert await catalog.renew(fresh, 10)


async def test_a_flight_whose_recipe_is_deleted_lands_nothing(house: House) -> None:
    house.vendors.behave(first_byte=0.2)
    speaking = asyncio.create_task(house.speak())
    await until(lambda: house.calls == 1)
    flight = next(iter(house.gateway.engine._flights.values()))
    answer = await house.http.delete(f"/api/voice/{flight.order.content_hash.hex()}")
    assert answer.status_code == 200
    assert (await speaking).status == 200  # who listens hears it all the same
    assert (await house.rows(), house.blobs()) == (0, [])
    assert (await house.speak()).outcome == "miss"


async def test_a_flight_that_lost_its_lease_lands_nothing(house: House) -> None:
    """Another holder took over while this one slept: its bytes are not kept, whoever's came first."""
    house.vendors.behave(first_byte=0.3)
    speaking = asyncio.create_task(house.speak())
    await until(lambda: house.calls == 1)
    flight = next(iter(house.gateway.engine._flights.values()))
    catalog = house.gateway.catalog
    held = await catalog.progress(flight.order.recipe.hash)
    assert held is not None
    await catalog.release(Lease(flight.order.recipe.hash, held.fence, 0))
    taken = await catalog.take_off(
        TakeOff(flight.order.recipe.hash, flight.order.content_hash, "default", "another"), 10
    )
    assert isinstance(taken, Lease)
    assert (await speaking).status == 200
    assert (await house.rows(), house.blobs()) == (0, [])
    assert await catalog.progress(flight.order.recipe.hash) is not None


async def test_two_landings_of_one_variant_make_one_row(house: House) -> None:
    await house.speak()
    house.gateway.hot.clear()
    await asyncio.gather(*(house.speak(response_format="wav") for _ in range(10)))
    assert await house.rows() == 2
    assert len(house.blobs()) == 2
