"""What a vendor bills is booked, also where nobody can use what it said; and nobody is paid for what cannot help."""

from __future__ import annotations

import stat
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.conftest import House, MakeHouse, until

RACHEL = "21m00Tcm4TlvDq8ikWAM"
TEXT = "Hello there, my friend."


async def spent(house: House) -> tuple[int, int]:
    """Characters, and millionths of the currency."""
    await house.gateway.flush()
    count = (await house.gateway.catalog.statistics()).count
    return count.characters, count.spent_micros


@pytest.mark.parametrize(
    "how", [{"trouble": "cut"}, {"trouble": "abort"}, {"trouble": "half"}, {"pace": 0.3}], ids=str
)
async def test_what_breaks_off_is_billed_all_the_same(make_house: MakeHouse, how: dict[str, Any]) -> None:
    house = await make_house(attempts=1, generation_limit=1.0, upstreams={"openai": {"price": 15}})
    house.vendors.behave(seconds=4.0, piece=1_000, **how)
    body = {"model": "tts-1", "voice": "nova", "input": TEXT}
    with suppress(httpx.HTTPError):  # how it is told is another test's
        await house.http.post("/v1/audio/speech", json=body)
    await until(lambda: not house.gateway.engine.flying)
    assert await spent(house) == (len(TEXT), len(TEXT) * 15)
    assert await house.rows() == 0


async def test_what_never_began_is_not(make_house: MakeHouse) -> None:
    house = await make_house(attempts=1, upstreams={"openai": {"price": 15}})
    for how in ({"status": 500}, {"trouble": "html"}, {"trouble": "empty"}):
        house.vendors.behave(**how)
        assert (await house.speak()).status >= 500
    assert await spent(house) == (0, 0)


async def test_who_tells_no_times_is_not_paid_for_them(make_house: MakeHouse) -> None:
    house = await make_house(before=("elevenlabs", "deepgram"), chain="elevenlabs,deepgram", attempts=1)
    house.vendors.elevenlabs.behave(status=503)
    for path in ("with-timestamps", "stream/with-timestamps"):
        answer = await house.http.post(f"/v1/text-to-speech/{RACHEL}/{path}", json={"text": TEXT})
        assert answer.status_code == 503
        assert "tells no times" in answer.text
    assert house.vendors.deepgram.counts.calls == 0


async def test_with_the_budget_spent_what_a_substitute_said_is_still_served(make_house: MakeHouse) -> None:
    given: dict[str, Any] = {"chain": "elevenlabs,deepgram", "attempts": 1, "budget": 0.003, "breaker_failures": 99}
    given["upstreams"] = {"elevenlabs": {"price": 100}, "deepgram": {"price": 100}}
    house = await make_house(before=("elevenlabs", "deepgram"), **given)
    house.vendors.elevenlabs.behave(status=503)
    first = await house.http.post("/api/voice", json={"text": TEXT})
    assert first.json()["provider"] == "deepgram"
    again = await house.http.post("/api/voice", json={"text": TEXT})
    assert (again.status_code, again.json()["provider"], again.json()["outcome"]) == (200, "deepgram", "hit")
    new = await house.http.post("/api/voice", json={"text": "Never said before."})
    assert (new.status_code, new.json()["error"]["code"]) == (429, "insufficient_quota")
    assert house.vendors.deepgram.counts.calls == 1


async def test_nobody_else_on_the_machine_reads_the_catalog(house: House) -> None:
    await house.speak()
    for file in house.gateway.settings.data_dir.glob("catalog.db*"):
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file.name
