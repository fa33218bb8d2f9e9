"""`Prefer: respond-async` at `POST /api/voice`, and a gateway that works on its queue by itself."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest

from sayonce.access import keys
from sayonce.access.callers import Role
from sayonce.batch import queue
from sayonce.batch.queue import wish_of
from sayonce.cache.orders import Steering
from sayonce.catalog.records import Tenant
from sayonce.errors import BrokenAudio
from sayonce.speech.formats import WAV
from sayonce.speech.requests import Owner, Scope, SpeechRequest
from tests.conftest import House, MakeHouse, until

TEXT = "Say it when there is time."
ASYNC = {"Prefer": "respond-async"}


async def later(house: House, text: str = TEXT, headers: dict[str, str] = ASYNC, **body: Any) -> httpx.Response:
    return await house.http.post("/api/voice", json={"text": text, **body}, headers=headers)


async def made(house: House, content_hash: str, **headers: str) -> dict[str, Any]:
    """The row, when it is there."""

    async def there() -> dict[str, Any] | None:
        answer = await house.http.get(f"/api/voice/{content_hash}", headers=headers)
        assert answer.status_code in (200, 202), answer.text
        return answer.json() if answer.status_code == 200 else None

    row: dict[str, Any] = await until(there)
    return row


# ── the door ─────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_not_kept_is_queued_and_then_kept(house: House) -> None:
    house.vendors.behave(first_byte=0.3)
    answer = await later(house, voice="nova")
    told = answer.json()
    assert (answer.status_code, told["outcome"], told["cached"], told["voice"]) == (202, "queued", False, "nova")
    assert answer.headers["preference-applied"] == "respond-async"
    assert answer.headers["location"] == f"/api/voice/{told['content_hash']}"
    waiting = await house.http.get(answer.headers["location"])
    assert (waiting.status_code, waiting.json()["outcome"]) == (202, "queued")
    row = await made(house, told["content_hash"])
    assert (row["text"], row["voice"], row["recipe_hash"]) == (TEXT, "nova", told["recipe_hash"])
    assert (await house.http.get(told["url"])).status_code == 200
    again = await later(house, voice="nova")
    assert (again.status_code, again.json()["outcome"], house.calls) == (200, "hit", 1)
    assert "preference-applied" not in again.headers


async def test_who_waits_joins_what_is_queued(house: House) -> None:
    house.vendors.behave(first_byte=0.3)
    assert (await later(house)).status_code == 202
    await until(lambda: house.calls)
    said = await house.http.post("/api/voice", json={"text": TEXT})
    assert (said.status_code, said.json()["outcome"], house.calls) == (200, "joined", 1)


async def test_another_format_of_what_is_kept_is_there_at_once(house: House) -> None:
    await house.http.post("/api/voice", json={"text": TEXT})
    answer = await later(house, format="wav")
    assert (answer.status_code, answer.json()["outcome"], house.calls) == (200, "hit", 1)


async def test_many_at_once_are_spoken_once_and_not_all_at_once(make_house: MakeHouse) -> None:
    house = await make_house(queue_at_once=3)
    house.vendors.behave(first_byte=0.02)
    told = await asyncio.gather(*(later(house, f"Number {n % 12}.") for n in range(36)))
    for name in {answer.json()["content_hash"] for answer in told}:
        await made(house, name)
    assert set(house.vendors.counts.texts.values()) == {1}
    assert (house.calls, house.vendors.counts.most_at_once) == (12, 3)


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ("respond-async", 202),
        ("Respond-Async; foo=bar, wait=10", 202),
        ("handling=lenient, respond-async", 202),
        ("wait=5", 200),
        ("respond-asynchronously", 200),
        ("return=minimal;respond-async", 200),
        (",;=", 200),
    ],
)
async def test_of_preferences_one_is_known(house: House, told: str, status: int) -> None:
    answer = await later(house, headers={"prefer": told})
    assert answer.status_code == status
    assert ("preference-applied" in answer.headers) == (status == 202)


async def test_a_preference_in_a_header_of_its_own_counts_too(house: House) -> None:
    answer = await house.http.post(
        "/api/voice", json={"text": TEXT}, headers=[("prefer", "respond-async"), ("prefer", "wait=1")]
    )
    assert answer.status_code == 202


@pytest.mark.parametrize(("control", "status"), [("no-store", 200), ("no-cache", 200), ("only-if-cached", 504)])
async def test_who_steers_the_cache_waits(house: House, control: str, status: int) -> None:
    answer = await later(house, headers={**ASYNC, "cache-control": control})
    assert answer.status_code == status
    assert await house.gateway.catalog.unmade(0, 10) == []


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [({"text": ""}, 400, "text"), ({"provider": "nobody"}, 400, "provider"), ({"format": "mp9"}, 400, "format")],
)
async def test_what_is_wrong_is_said_at_once(house: House, body: dict[str, Any], status: int, param: str) -> None:
    answer = await house.http.post("/api/voice", json={"text": TEXT, **body}, headers=ASYNC)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert await house.gateway.catalog.unmade(0, 10) == []


async def test_how_long_it_is_kept_counts_from_when_it_is_made(house: House) -> None:
    told = (await later(house, headers={**ASYNC, "x-sayonce-keep": "1h"})).json()
    row = await made(house, told["content_hash"])
    assert abs(row["keep_until"] - row["made_at"] - 3_600) < 2


async def test_what_is_deleted_while_it_waits_is_never_spoken(make_house: MakeHouse) -> None:
    house = await make_house(queue_at_once=1)
    house.vendors.behave(first_byte=0.3)
    first = (await later(house, "The first.")).json()["content_hash"]
    second = (await later(house, "The second.")).json()["content_hash"]
    assert (await house.http.delete(f"/api/voice/{second}")).status_code == 200
    assert (await house.http.get(f"/api/voice/{second}")).status_code == 404
    assert (await house.http.delete(f"/api/voice/{second}")).status_code == 404
    await made(house, first)
    await until(lambda: not house.gateway.queue.line._workers)  # type: ignore[attr-defined]
    assert house.vendors.counts.texts == {"The first.": 1}


async def test_nobody_learns_of_what_another_has_queued(make_house: MakeHouse) -> None:
    house = await make_house(require_keys=True)
    house.vendors.behave(first_byte=0.5)
    bearers = []
    for tenant in ("one", "two"):
        await house.gateway.catalog.put_tenant(Tenant(tenant))
        _, key = await keys.create(house.gateway.catalog, tenant, "", [Role.SPEAK], lambda: 0.0)
        bearers.append({"authorization": f"Bearer {key}"})
    told = (await later(house, headers=ASYNC | bearers[0])).json()
    for method in ("GET", "DELETE"):
        answer = await house.http.request(method, f"/api/voice/{told['content_hash']}", headers=bearers[1])
        assert answer.status_code == 404
    await made(house, told["content_hash"], **bearers[0])
    assert (await house.http.get(told["url"])).status_code in (401, 404)
    assert (await house.http.get(told["url"], headers=bearers[0])).status_code == 200


async def test_where_nothing_can_be_queued_it_is_spoken_at_once(make_house: MakeHouse, tmp_path: Path) -> None:
    house = await make_house()
    await house.speak("Something that is kept.")
    writer = sqlite3.connect(tmp_path / "data" / "catalog.db", isolation_level=None)
    writer.execute("DROP TABLE uses")
    writer.close()
    answer = await later(house)
    assert (answer.status_code, answer.json()["cached"]) == (200, False)


# ── the queue of a gateway without Redis ─────────────────────────────────────────────────────────


async def test_what_was_left_is_spoken_by_the_next_gateway(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "_BATCH", 5)
    house = await make_house()
    orders = [house.gateway.cast.chain(SpeechRequest(text=f"Number {n}."), Steering()).first for n in range(12)]
    wishes = [wish_of(order, 1.0) for order in orders]
    await house.gateway.catalog.wish(wishes)
    other = await make_house(queue_at_once=2)
    async with other.gateway.queue.tended():
        await until(_all_made(other))
    assert set(other.vendors.counts.texts.values()) == {1}
    assert len(other.vendors.counts.texts) == 12


async def test_a_vendor_that_fails_is_asked_again(house: House) -> None:
    house.gateway.speaker._pauses = (0.01, 0.02, 0.04)
    house.vendors.behave(status=429, headers={"retry-after": "0.1"}, times=4)
    told = (await later(house)).json()
    await made(house, told["content_hash"])
    assert house.calls == 5


async def test_what_cannot_be_made_is_left_and_put_off(
    make_house: MakeHouse, caplog: pytest.LogCaptureFixture
) -> None:
    house = await make_house(attempts=1)
    house.gateway.speaker._pauses = (0.01, 0.02)
    house.vendors.behave(status=500, error={"message": TEXT})
    with caplog.at_level("WARNING"):
        told = (await later(house)).json()
        await until(lambda: [record for record in caplog.records if "wish.left" in str(record.msg)])
    assert house.calls == 3
    await until(_nothing_due(house))
    waiting = await house.http.get(f"/api/voice/{told['content_hash']}")
    assert waiting.status_code == 202
    assert TEXT not in caplog.text
    house.vendors.behave()
    assert (await later(house)).status_code == 202, "who asks anew does not wait"
    await made(house, told["content_hash"])


async def test_nobody_stands_in_for_who_was_asked(make_house: MakeHouse) -> None:
    house = await make_house(chain="openai,deepgram", before=["deepgram"], attempts=1)
    house.gateway.speaker._pauses = (0.01, 0.02, 0.04)
    house.vendors.behave(status=503, times=2)
    told = (await later(house)).json()
    row = await made(house, told["content_hash"])
    assert (row["provider"], house.vendors.deepgram.counts.calls) == ("openai", 0)


async def test_other_settings_make_no_other_asset_of_it(make_house: MakeHouse) -> None:
    house = await make_house(upstreams={"mine": {"provider": "openai", "base_url": "http://127.0.0.1:9/v1"}})
    order = house.gateway.cast.chain(SpeechRequest(text=TEXT, upstream="mine", voice="nova"), Steering()).first
    await house.gateway.catalog.wish([wish_of(order, 1.0)])
    moved = {"mine": {"provider": "openai", "base_url": f"{house.gateway.settings.openai_base_url}"}}
    for settings in ({"upstreams": moved}, {}):
        other = await make_house(**settings)
        await other.gateway.catalog._database.write(_due_again)
        async with other.gateway.queue.tended():
            await until(_nothing_due(other))
        assert other.calls == 0


@pytest.mark.parametrize("provider", ["openai", "elevenlabs", "deepgram", "replicate"])
async def test_a_wish_makes_its_order_again(make_house: MakeHouse, provider: str) -> None:
    house = await make_house(before=["elevenlabs", "deepgram", "replicate"])
    cast, catalog = house.gateway.cast, house.gateway.catalog
    for n, more in enumerate(({}, {"language": "en"}, {"format": WAV, "variation": 2, "cleaner": "rules 1"})):
        owner = Owner("default", Scope.USER, "ann") if n else Owner()
        request = SpeechRequest(text=f"  “Say” this\n\n\nplease, {n}.", upstream=provider, owner=owner, **more)  # type: ignore[arg-type]
        order = cast.chain(request, Steering()).first
        [use] = await catalog.wish([wish_of(order, 1.0)])
        wish = await catalog.wished(use or 0)
        assert wish is not None
        again = cast.chain(wish.request, Steering(), [provider]).first
        assert (again.content_hash, again.recipe) == (order.content_hash, order.recipe)


def _all_made(house: House) -> Any:
    async def made() -> bool:
        return await house.rows() == 12 and not await house.gateway.catalog.unmade(0, 1)

    return made


def _nothing_due(house: House) -> Any:
    async def left() -> bool:
        return not await house.gateway.catalog.unmade(0, 1)

    return left


def _due_again(connection: Any) -> None:
    from sqlalchemy import update

    from sayonce.catalog.tables import uses

    connection.execute(update(uses).values(at=1.0))


async def test_what_is_doubtful_is_told_so(house: House) -> None:
    house.gateway.speaker._pauses = ()
    house.vendors.behave(seconds=400.0)
    await later(house, voice="nova")
    [use] = await until(lambda: house.gateway.catalog.unmade(0, 9))
    with pytest.raises(BrokenAudio, match="too long or too short for its text"):
        await house.gateway.speaker.make(use)
