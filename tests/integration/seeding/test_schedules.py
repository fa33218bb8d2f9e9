"""What is due is done by one of any number of processes."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.conftest import House, MakeHouse, until
from tests.integration.seeding.test_doors import MANIFEST, TEXTS

_NIGHT = {"cron": "0 3 * * *"}


class Clock:
    """Time stands until it is told to be just before the next three o'clock, UTC; from then on it passes."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead

    def nearly_three(self) -> None:
        now = self()
        self.ahead += (now // 86_400 + 1) * 86_400 + 3 * 3_600 - now - 0.2


@asynccontextmanager
async def nearly_three(clock: Clock, *houses: House) -> AsyncIterator[None]:
    """It is nearly three, and the houses' clockworks run."""
    clock.nearly_three()
    async with AsyncExitStack() as stack:
        for house in houses:
            await stack.enter_async_context(house.gateway.clockwork.running())
        yield


async def test_a_collection_is_seeded_by_one_of_two(make_house: MakeHouse) -> None:
    clock = Clock()
    houses = [await make_house(clock=clock, schedules={"night": {**_NIGHT, "seed": "a book"}}) for _ in range(2)]
    await houses[0].http.post("/api/collections", json=MANIFEST)
    async with nearly_three(clock, *houses):
        assert (await until(lambda: _seeded(houses[0])))["made"] == 6
        assert await houses[1].gateway.catalog.claim("schedule night", 40_000) is False
    assert houses[0].calls == 6


async def test_a_manifest_is_gone_through_anew_in_the_voices_most_listened_to(
    make_house: MakeHouse, tmp_path: Path
) -> None:
    clock, manifest = Clock(), tmp_path / "a book.jsonl"
    manifest.write_text("".join(f"{json.dumps({'text': text})}\n" for text in TEXTS))
    table = {**_NIGHT, "seed": str(manifest), "popular": 1}
    house = await make_house(clock=clock, schedules={"night": table}, flush_seconds=0.05)
    for voice, times in (("alloy", 1), ("nova", 3)):
        for _ in range(times):
            await house.speak("Something else.", voice=voice)
    await until(lambda: _listened(house))
    async with nearly_three(clock, house):
        assert (await until(lambda: _seeded(house)))["items"] == 3
    assert (await house.speak(TEXTS[0], voice="nova")).outcome == "hit"
    assert (await house.speak(TEXTS[0], voice="alloy")).outcome == "miss"


async def test_upkeep_is_run(make_house: MakeHouse) -> None:
    clock = Clock()
    house = await make_house(clock=clock, schedules={"night": {**_NIGHT, "do": "upkeep"}}, upkeep=False, keep=60)
    await house.speak("Kept for a minute.")
    async with nearly_three(clock, house):
        await until(lambda: _empty(house))
        await until(lambda: not house.blobs())


async def test_what_cannot_be_done_keeps_no_other_from_being_done(make_house: MakeHouse) -> None:
    clock = Clock()
    tables = {"first": {**_NIGHT, "seed": "nothing"}, "second": {**_NIGHT, "seed": "a book"}}
    house = await make_house(clock=clock, schedules=tables)
    await house.http.post("/api/collections", json=MANIFEST)
    async with nearly_three(clock, house):
        await until(lambda: _seeded(house))


async def _seeded(house: House) -> dict[str, Any] | None:
    answer = await house.http.get("/api/seeds/a book")
    told: dict[str, Any] = answer.json()
    return told if answer.status_code == 200 and told["status"] == "done" else None


async def _listened(house: House) -> bool:
    return len((await house.gateway.catalog.statistics("default")).by_voice) == 2


async def _empty(house: House) -> bool:
    return await house.rows() == 0
