"""How long things are kept: uses with their own time, a tier in front, and nothing at all."""

from __future__ import annotations

from typing import Any

import pytest

from sayonce.catalog.records import Blob
from tests.conftest import House, MakeHouse, until


class Clock:
    """Seconds since 1970, as the test has it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The settings of either engine."""
    return {} if request.param == "sqlite" else {"database_url": request.getfixturevalue("postgres")}


async def outcome(house: House, text: str = "Hello there, my friend.", **headers: str) -> str | None:
    return (await house.speak(text, headers=headers)).outcome


async def blobs_of(house: House, text: str = "Hello there, my friend.") -> tuple[Blob, ...]:
    """Every copy of what a text sounds like."""
    heard = await house.speak(text)
    found = await house.gateway.catalog.find(bytes.fromhex(heard.headers["x-content-hash"]))
    assert found is not None
    return found.blobs


# ── uses ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_request_may_say_how_long_it_is_kept(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    clock = Clock()
    house = await make_house(clock=clock, keep="30d", **engine)
    assert await outcome(house, "Short.", **{"x-sayonce-keep": "5m"}) == "miss"
    assert await outcome(house, "Usual.") == "miss"
    assert await outcome(house, "Forever.", **{"x-sayonce-keep": "forever"}) == "miss"
    clock.now += 301
    assert await outcome(house, "Short.") == "miss"
    clock.now += 86_400 * 31
    assert await outcome(house, "Usual.") == "miss"
    assert await outcome(house, "Forever.") == "hit"


@pytest.mark.parametrize("header", ["5m sliding", None])
async def test_sliding_is_after_the_last_use(
    make_house: MakeHouse, engine: dict[str, Any], header: str | None
) -> None:
    clock = Clock()
    house = await make_house(clock=clock, keep="5m", keep_sliding=header is None, flush_seconds=600, **engine)
    headers = {} if header is None else {"x-sayonce-keep": header}
    await outcome(house, **headers)
    for _ in range(5):
        clock.now += 200
        assert await outcome(house) == "hit"
        await house.gateway.flush()
    clock.now += 301
    assert await outcome(house) == "miss"
    assert house.calls == 2


async def test_a_variant_slides_with_its_source(make_house: MakeHouse) -> None:
    clock = Clock()
    house = await make_house(clock=clock, keep="5m", keep_sliding=True, flush_seconds=600)
    await house.speak()
    for _ in range(4):
        clock.now += 200
        assert (await house.speak(response_format="opus")).outcome == "hit"
        await house.gateway.flush()
    assert house.calls == 1


async def test_absolute_is_not(make_house: MakeHouse) -> None:
    clock = Clock()
    house = await make_house(clock=clock, keep="5m", flush_seconds=600)
    await outcome(house)
    clock.now += 200
    assert await outcome(house) == "hit"
    await house.gateway.flush()
    clock.now += 200
    assert await outcome(house) == "miss"


@pytest.mark.parametrize("told", ["soon", "5m gliding", "forever sliding", "-5m", "é"])
async def test_a_time_that_is_none_is_refused(house: House, told: str) -> None:
    answer = await house.http.post(
        "/v1/audio/speech",
        json={"model": "tts-1", "voice": "nova", "input": "Hello."},
        headers=[(b"x-sayonce-keep", told.encode())],
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "keep"
    assert house.calls == 0


async def test_with_caching_off_nothing_is_kept(make_house: MakeHouse) -> None:
    house = await make_house(caching=False)
    assert [await outcome(house) for _ in range(3)] == ["disabled"] * 3
    assert (house.calls, await house.rows(), house.blobs()) == (3, 0, [])
    assert await outcome(house, **{"cache-control": "max-age=60"}) == "disabled"


# ── a tier ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_tier_holds_a_copy_for_its_time(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    clock = Clock()
    house = await make_house(clock=clock, tier="database://", tier_keep="5m", flush_seconds=600, **engine)
    heard = await house.speak()
    home, copy = await blobs_of(house)
    assert (home.storage, home.until) == ("local", None)
    assert (copy.storage, copy.until) == ("database://", clock.now + 300)
    for path in house.blobs():
        path.rename(path.with_suffix(".away"))  # whatever is heard now is the copy
    house.gateway.hot.clear()
    again = await house.speak()
    assert (again.outcome, again.audio) == ("hit", heard.audio)
    for path in house.blobs():
        path.rename(path.with_suffix(".mp3"))
    clock.now += 301
    house.gateway.hot.clear()
    assert (await house.speak()).outcome == "hit", "from behind it"
    report = await house.gateway.upkeep.run()
    assert (report.expired, report.copies, report.bytes) == (0, 1, 0)
    assert house.calls == 1


async def test_what_was_read_from_behind_it_is_put_there_again(make_house: MakeHouse) -> None:
    clock = Clock()
    house = await make_house(clock=clock, tier="database://", tier_keep="5m", flush_seconds=0.05)
    await house.speak()
    clock.now += 301
    house.gateway.hot.clear()
    assert await outcome(house) == "hit"

    async def there() -> bool:
        return any(blob.until == clock.now + 300 for blob in await blobs_of(house))

    await until(there)


async def test_a_sliding_tier_holds_what_is_used(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    clock = Clock()
    given = {"tier": "database://", "tier_keep": "5m", "tier_sliding": True, "flush_seconds": 600}
    house = await make_house(clock=clock, **given, **engine)
    await house.speak()
    clock.now += 200
    assert await outcome(house) == "hit"
    await house.gateway.flush()
    assert {blob.until for blob in await blobs_of(house)} == {None, clock.now + 300}


async def test_a_tier_that_fails_costs_nothing(make_house: MakeHouse) -> None:
    house = await make_house(tier="file:///proc/nowhere")
    assert await outcome(house) == "miss"
    house.gateway.hot.clear()
    assert await outcome(house) == "hit"
    assert [blob.storage for blob in await blobs_of(house)] == ["local"]


async def test_audio_in_the_database_alone(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    """As a small install has it: one database, and no folder of audio."""
    house = await make_house(storage="database://", keep="5m", **engine)
    heard = await house.speak()
    house.gateway.hot.clear()
    again = await house.speak()
    assert (again.outcome, again.audio, house.blobs()) == ("hit", heard.audio, [])
    assert (await house.http.get("/api/health/ready")).status_code == 200
