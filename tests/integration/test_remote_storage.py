"""A storage behind a network, and the whole gateway before it: its addresses, and its bad days."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from sayonce.testing.servers import serving
from sayonce.testing.supabase import FakeSupabase
from sayonce.testing.supabase.troubles import Trouble
from tests.conftest import House, MakeHouse, until

TEXT = "Hello there, my friend."


@pytest.fixture
async def cloud() -> AsyncIterator[tuple[FakeSupabase, str]]:
    fake = FakeSupabase()
    async with serving(fake) as url:
        yield fake, url


@pytest.fixture
def given(cloud: tuple[FakeSupabase, str]) -> dict[str, Any]:
    """The settings of a gateway that keeps its audio there."""
    fake, url = cloud
    return {
        "storage": "supabase://voice/prod",
        "storages": {"supabase://voice/prod": {"public_url": url, "timeout": 1.0}},
        "supabase_url": url,
        "supabase_service_key": fake.service_key,
        "storage_patience": 0.5,
        "poll_seconds": 0.05,
        "memory": "0",  # every hit comes from there
    }


@pytest.fixture
async def house(make_house: MakeHouse, given: dict[str, Any]) -> House:
    return await make_house(**given)


async def said(house: House, text: str = TEXT, **headers: str) -> dict[str, Any]:
    answer = await house.http.post("/api/voice", json={"text": text}, headers=headers)
    assert answer.status_code == 200
    told: dict[str, Any] = answer.json()
    return told


# ── addresses ────────────────────────────────────────────────────────────────────────────────────


async def test_health_says_what_is_wrong(house: House, cloud: tuple[FakeSupabase, str]) -> None:
    cloud[0].behave(Trouble("error"))
    await house.speak("Said, and not kept.")
    assert (await house.http.get("/api/health")).json()["parts"]["storage"] == "storage_unavailable"


async def test_a_url_is_the_storages_own(house: House, cloud: tuple[FakeSupabase, str]) -> None:
    told = await said(house)
    assert told["url"].startswith(cloud[1])
    async with httpx.AsyncClient() as http:
        audio = await http.get(told["url"])
    assert (audio.status_code, audio.headers["content-type"]) == (200, "audio/mpeg")
    assert audio.content == (await house.http.get(f"/audio/{told['content_hash']}.mp3")).content


async def test_it_does_not_outlive_the_asset(make_house: MakeHouse, given: dict[str, Any]) -> None:
    house = await make_house(**given, keep="60s")
    told = await said(house)
    async with httpx.AsyncClient() as http:
        audio = await http.get(told["url"])
    assert audio.status_code == 200
    address = await house.gateway.shelf.address(await _asset(house, told), 1.0)
    assert address is not None
    short, long = (int(_payload(url)["exp"]) for url in (told["url"], address))
    assert short - time.time() <= 61
    assert long - time.time() <= 2


async def _asset(house: House, told: dict[str, Any]) -> Any:
    return await house.gateway.catalog.find(bytes.fromhex(told["content_hash"]))


def _payload(url: str) -> dict[str, Any]:
    import base64
    import json

    body = url.partition("token=")[2].split(".")[1]
    decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return decoded


async def test_hits_are_sent_to_it(make_house: MakeHouse, given: dict[str, Any]) -> None:
    house = await make_house(**given, delivery="storage")
    told = await said(house)
    path = f"/audio/{told['content_hash']}.mp3"
    for method in ("GET", "HEAD"):
        answer = await house.http.request(method, path)
        assert (answer.status_code, answer.content) == (302, b"")
        assert answer.headers["x-tts-cache"] == "hit"
        assert "private" in answer.headers["cache-control"]
    followed = await house.http.get(path, follow_redirects=True)
    assert followed.content == (await house.http.get(path, follow_redirects=True)).content
    assert followed.headers["content-type"] == "audio/mpeg"
    assert (await house.http.get(path + "?v=00")).status_code == 404
    assert (await house.http.get(f"/audio/{'0' * 64}.mp3")).status_code == 404
    assert (await house.http.get(path.replace(".mp3", ".json"))).status_code == 200, "times are not the storage's"
    assert (await said(house, "Of Ann.", **{"x-sayonce-scope": "user", "x-sayonce-user": "ann"}))["url"]


async def test_what_is_another_callers_is_not_redirected_to(make_house: MakeHouse, given: dict[str, Any]) -> None:
    house = await make_house(**given, delivery="storage")
    told = await said(house, **{"x-sayonce-scope": "user", "x-sayonce-user": "ann"})
    path = f"/audio/{told['content_hash']}.mp3"
    assert (await house.http.get(path)).status_code == 404
    assert (await house.http.get(path, headers={"x-sayonce-user": "ann"})).status_code == 302


async def test_without_an_address_the_gateway_serves_it(make_house: MakeHouse, given: dict[str, Any]) -> None:
    given["storages"] = {"supabase://voice/prod": {"urls": "none"}}
    house = await make_house(**given, delivery="storage")
    told = await said(house)
    assert told["url"].startswith(house.url)
    assert (await house.http.get(told["url"])).status_code == 200


# ── bad days ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_hit_is_one_lookup_and_one_read(house: House, cloud: tuple[FakeSupabase, str]) -> None:
    await house.speak(TEXT)
    before = cloud[0].counts.copy()
    assert (await house.speak(TEXT)).outcome == "hit"
    assert cloud[0].counts - before == Counter(download=1)


@pytest.mark.parametrize(
    "trouble", [Trouble("error"), Trouble("slow", seconds=2.0), Trouble("never"), Trouble("reset"), Trouble("html")]
)
async def test_whatever_it_does_requests_are_answered(
    make_house: MakeHouse, given: dict[str, Any], cloud: tuple[FakeSupabase, str], trouble: Trouble
) -> None:
    house = await make_house(**given | {"memory": "10 MB"})
    known = await house.speak("Known before.")
    house.gateway.hot.clear()
    cloud[0].behave(trouble)
    heard = await asyncio.gather(*(house.speak(f"Sentence {n}.") for n in range(4)), house.speak("Known before."))
    assert {answer.status for answer in heard} == {200}
    assert {answer.outcome for answer in heard} <= {"miss", "bypass"}
    assert heard[-1].audio == known.audio
    rows = await house.rows()
    assert rows == 1, "nothing is known to be kept that may not be"
    cloud[0].behave()

    async def back() -> bool:
        house.gateway.hot.clear()
        return (await house.speak("Known before.")).outcome == "hit"

    await until(back)
    assert (await house.http.get("/api/health/ready")).status_code == 200


async def test_one_blob_that_is_gone_is_made_anew_and_no_other(house: House, cloud: tuple[FakeSupabase, str]) -> None:
    for text in ("One.", "Two."):
        await house.speak(text)
    bucket = cloud[0].buckets["voice"]
    gone = next(key for key in bucket.objects if key.endswith(".mp3"))
    del bucket.objects[gone]
    outcomes = sorted([(await house.speak(text)).outcome or "" for text in ("One.", "Two.")])
    assert outcomes == ["hit", "miss"]
    assert house.calls == 3
    assert [(await house.speak(text)).outcome for text in ("One.", "Two.")] == ["hit", "hit"]


async def test_other_bytes_than_its_rows_are_not_served(house: House, cloud: tuple[FakeSupabase, str]) -> None:
    first = await house.speak(TEXT)
    cloud[0].behave(Trouble("wrong", operation="download"))
    again = await house.speak(TEXT)
    assert (again.status, again.audio) == (200, first.audio)
    assert house.calls == 2


async def test_a_key_that_is_not_accepted_any_more(
    make_house: MakeHouse, given: dict[str, Any], cloud: tuple[FakeSupabase, str]
) -> None:
    """It says so, and loses nothing: the rows stay, and are hits when the key is right again."""
    house = await make_house(**given)
    await house.speak(TEXT)
    wrong = await make_house(**given | {"supabase_service_key": "sb_secret_another"})
    assert (await wrong.speak(TEXT)).outcome == "bypass"
    health = (await wrong.http.get("/api/health/ready")).json()
    assert (health["status"], health["parts"]["storage"]) == ("degraded", "storage_misconfigured")
    assert await house.rows() == 1
    assert (await house.speak(TEXT)).outcome == "hit"
