"""A greeting changes, whatever happens meanwhile: who calls always finds one, and in the end what was told last."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import Connection, delete

from sayonce.access.tenants import altered
from sayonce.batch import greetings as module
from sayonce.cache.answers import whole
from sayonce.cache.orders import Steering
from sayonce.catalog.records import Asset, Selection, Tenant
from sayonce.catalog.tables import tenants
from sayonce.testing.vendors.behaviour import Gate
from tests.conftest import House, MakeHouse, until

OLD, NEW = "We open at nine.", "We open at ten."


async def tell(house: House, text: str | None, **more: Any) -> Tenant:
    """As the command line tells it: the tenant's row alone."""
    return await house.gateway.catalog.alter_tenant(
        "shop", lambda now: altered(now or Tenant("shop"), {"greeting": text, **more})
    )


async def heard(house: House) -> Asset | None:
    return await house.gateway.greetings.asset("shop")


def says(house: House, text: str) -> Any:
    async def said() -> bool:
        found = await heard(house)
        return found is not None and found.text == text

    return said


async def uses(house: House) -> int:
    """How many uses of greetings there are."""
    query = "SELECT count(*) FROM uses WHERE kind = 'greeting'"
    return await house.gateway.catalog._database.read(
        lambda connection: int(connection.exec_driver_sql(query).scalar_one())
    )


@pytest.fixture
async def greeted(house: House) -> Any:
    """A house whose shop has a greeting, and which tends to it."""
    async with house.gateway.greetings.tended():
        await tell(house, OLD)
        await until(says(house, OLD))
        yield house


async def test_who_only_tells_the_catalog_is_heeded(greeted: House) -> None:
    await tell(greeted, NEW)
    await until(says(greeted, NEW))
    await until(lambda: _settled(greeted))
    assert greeted.vendors.counts.texts == {OLD: 1, NEW: 1}


async def test_callers_hear_the_old_one_until_the_new_one_is_kept(greeted: House) -> None:
    gate = Gate(after=0)
    greeted.vendors.behave(gate=gate)
    asked = asyncio.create_task(greeted.http.post("/admin/tts/greeting/shop", json={"text": NEW}))
    await until(lambda: gate.waiting)
    found = await heard(greeted)
    assert found is not None
    assert found.text == OLD
    told = (await greeted.http.get("/admin/tts/greeting/shop")).json()
    assert (told["status"], told["text"]) == ("queued", NEW)
    assert (await greeted.http.get(told["audio_url"])).status_code == 200
    gate.open()
    assert (await asked).status_code == 200
    await until(says(greeted, NEW))
    assert await uses(greeted) == 1


@pytest.mark.parametrize("asked_for", [True, False])
async def test_what_was_a_greeting_lives_as_long_as_it_is_used_otherwise(
    make_house: MakeHouse, asked_for: bool
) -> None:
    now = [1_000_000.0]
    house = await make_house(clock=lambda: now[0], keep="2h")
    if asked_for:
        plain = house.gateway.cast.chain(Tenant("shop").request(OLD), Steering())
        await whole(await house.gateway.engine.say(plain))
    for text in (OLD, NEW):
        await tell(house, text)
        await house.gateway.greetings.see_to("shop")
        await until(says(house, text))
    await until(lambda: _settled(house))
    assert (await house.rows(), len(house.blobs())) == ((2, 2) if asked_for else (1, 1))
    now[0] += 7_201
    await house.gateway.upkeep.run()
    assert (await house.rows(), len(house.blobs())) == (1, 1), "a greeting stays, however long"
    found = await heard(house)
    assert found is not None
    assert found.text == NEW


async def test_two_changes_at_once(greeted: House) -> None:
    greeted.vendors.behave(first_byte=0.05)
    texts = [f"We open at {n}." for n in range(6)]
    answers = await asyncio.gather(
        *(greeted.http.post("/admin/tts/greeting/shop", json={"text": text}) for text in texts)
    )
    assert {answer.status_code for answer in answers} == {200}
    tenant = await greeted.gateway.catalog.tenant("shop")
    assert tenant is not None
    assert tenant.greeting in texts
    await until(says(greeted, tenant.greeting))
    await until(lambda: _settled(greeted))
    assert set(greeted.vendors.counts.texts.values()) == {1}
    last = (await greeted.http.post("/admin/tts/greeting/shop")).json()
    assert last["content_hash"] in {answer.json()["content_hash"] for answer in answers}
    assert last["cached"]


@pytest.mark.parametrize("nothing", [None, "", "  "])
async def test_no_greeting_ends_it(greeted: House, nothing: str | None) -> None:
    answer = await greeted.http.patch("/admin/tenants/shop", json={"greeting": nothing})
    assert (answer.status_code, answer.json()["greeting"]) == (200, None)
    assert (await heard(greeted), await uses(greeted)) == (None, 0)
    assert (await greeted.http.get("/admin/tts/greeting/shop")).json()["status"] == "none"


async def test_no_greeting_told_to_the_catalog_alone_ends_it_too(greeted: House) -> None:
    await tell(greeted, None)
    await until(lambda: _uses_are(greeted, 0))


async def test_a_tenant_that_is_gone_has_no_greeting(make_house: MakeHouse) -> None:
    house = await make_house()
    await house.gateway.catalog.put_tenant(Tenant("shop"))
    await house.http.post("/admin/tts/greeting/shop", json={"text": OLD})
    await house.gateway.catalog._database.write(_forget_tenants)
    async with house.gateway.greetings.tended():
        await until(lambda: _uses_are(house, 0))
    assert await heard(house) is None


async def test_what_nobody_saw_to_the_next_gateway_does(make_house: MakeHouse) -> None:
    house = await make_house()
    await tell(house, OLD)
    await house.gateway.catalog.put_tenant(Tenant("closed", greeting="Never.", disabled=True))
    other = await make_house()
    async with other.gateway.greetings.tended():
        await until(says(other, OLD))
    assert other.vendors.counts.texts == {OLD: 1}


async def test_of_two_gateways_that_heed_one_has_it_made(make_house: MakeHouse) -> None:
    houses = [await make_house() for _ in range(2)]
    gate = Gate(after=0)
    houses[0].vendors.behave(gate=gate)
    await tell(houses[0], OLD)
    for house in houses:
        await house.gateway.greetings.see_to("shop")
    waiting = [len(house.gateway.queue.line._known) for house in houses]  # type: ignore[attr-defined]
    gate.open()
    assert waiting == [1, 0]
    await until(says(houses[1], OLD))


@pytest.mark.parametrize("how", ["invalidated", "deleted", "lost"])
@pytest.mark.parametrize("keep_text", [True, False])
async def test_a_greeting_that_is_gone_is_made_again(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch, how: str, keep_text: bool
) -> None:
    monkeypatch.setattr(module, "_EVERY", 0.05)
    house = await make_house(keep_text=keep_text, poll_seconds=0.05)
    await house.gateway.catalog.put_tenant(Tenant("shop"))
    told = (await house.http.post("/admin/tts/greeting/shop", json={"text": OLD})).json()
    content_hash = bytes.fromhex(told["content_hash"])
    if how == "invalidated":
        assert await house.gateway.upkeep.invalidate(Selection(tenant="shop")) == 1
    elif how == "deleted":
        assert await house.gateway.engine.remove(content_hash, "shop", lambda _: True)
    else:
        [blob] = house.blobs()
        blob.unlink()
        asset = await house.gateway.shelf.find(content_hash)
        assert asset is not None
        assert await house.gateway.shelf.fetch(asset) is None
    assert await heard(house) is None
    await until(lambda: house.gateway.hot.get(content_hash) is None)
    async with house.gateway.greetings.tended():
        await until(lambda: heard(house))
    assert house.calls == 2


async def test_a_voice_that_is_not_there_today_is_left(make_house: MakeHouse, caplog: Any) -> None:
    house = await make_house()
    await house.gateway.catalog.put_tenant(Tenant("a", greeting=OLD, chain=("nobody",)))
    await tell(house, NEW)
    with caplog.at_level("WARNING"):
        async with house.gateway.greetings.tended():
            await until(says(house, NEW))
    assert "greeting.left" in caplog.text
    assert OLD not in caplog.text


async def _settled(house: House) -> bool:
    return await uses(house) == 1


async def _uses_are(house: House, number: int) -> bool:
    return await uses(house) == number


def _forget_tenants(connection: Connection) -> None:
    connection.execute(delete(tenants))
