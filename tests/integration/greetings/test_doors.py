"""`/admin/tenants/{tenant}` and `/admin/tts/greeting/{business_id}`."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from sayonce.access import keys
from sayonce.access.callers import Role
from sayonce.catalog.records import Tenant
from sayonce.speech.voices import VoiceSettings
from tests.conftest import House, MakeHouse, until

TEXT = "Good morning, this is the corner shop."


async def greet(house: House, business: str = "shop", **body: Any) -> httpx.Response:
    return await house.http.post(f"/admin/tts/greeting/{business}", json=body)


async def standing(house: House, business: str = "shop") -> dict[str, Any]:
    told: dict[str, Any] = (await house.http.get(f"/admin/tts/greeting/{business}")).json()
    return told


async def put(house: House, method: str = "PUT", **body: Any) -> httpx.Response:
    return await house.http.request(method, "/admin/tenants/shop", json=body)


@pytest.fixture
async def shop(house: House) -> House:
    await house.gateway.catalog.put_tenant(Tenant("shop"))
    return house


# ── the greeting ─────────────────────────────────────────────────────────────────────────────────


async def test_a_greeting_is_made_once_and_told_where_it_is(shop: House) -> None:
    answer = await greet(shop, text=TEXT, voice="nova")
    told = answer.json()
    assert answer.status_code == 200, told
    assert (told["status"], told["cached"], shop.calls) == ("ok", False, 1)
    audio = await shop.http.get(told["audio_url"])
    assert (audio.status_code, audio.headers["x-content-hash"]) == (200, told["content_hash"])
    again = (await greet(shop)).json()
    assert (again["status"], again["cached"], again["content_hash"], shop.calls) == (
        *("ok", True, told["content_hash"]),
        1,
    )
    kept = await shop.gateway.catalog.find(bytes.fromhex(told["content_hash"]))
    assert kept is not None
    assert (kept.until, kept.owner.tenant, kept.owner.scope, kept.voice) == (None, "shop", "tenant", "nova")
    assert await shop.gateway.catalog.pinned() == (1, kept.size)
    assert await shop.gateway.catalog.tenant("shop") == Tenant(
        "shop", voice=VoiceSettings(voice="nova"), greeting=TEXT
    )


async def test_a_voice_may_name_the_vendor_that_is_named_already(shop: House) -> None:
    assert (await greet(shop, text=TEXT, provider="openai", voice="openai/nova")).status_code == 200
    assert [body["voice"] for body in shop.vendors.counts.bodies] == ["nova"]


async def test_who_speaks_for_the_business_gets_the_same_from_memory(shop: House) -> None:
    await greet(shop, text=TEXT, voice="nova", model="tts-1")
    _, key = await keys.create(shop.gateway.catalog, "shop", "", [Role.SPEAK], lambda: 0.0)
    await until(lambda: not shop.gateway.gate.open)  # that there is a first key is heard within a second
    heard = await shop.speak(TEXT, headers={"authorization": f"Bearer {key}"})
    assert (heard.outcome, shop.calls) == ("hit", 1)


@pytest.mark.parametrize("public", [False, True])
async def test_its_url_is_signed_unless_the_tenant_is_public(make_house: MakeHouse, public: bool) -> None:
    house = await make_house(require_keys=True)
    await house.gateway.catalog.put_tenant(Tenant("shop", public=public))
    _, key = await keys.create(house.gateway.catalog, "default", "", [Role.ADMIN], lambda: 0.0)
    house.http.headers["authorization"] = f"Bearer {key}"
    url = (await greet(house, text=TEXT)).json()["audio_url"]
    del house.http.headers["authorization"]
    assert ("sig=" in url) != public
    assert (await house.http.get(url)).status_code == 200
    bare = await house.http.get(url.partition("?")[0])
    assert bare.status_code == (200 if public else 404)


async def test_what_is_told_is_stored_and_the_rest_stays(shop: House) -> None:
    await greet(shop, text=TEXT, voice="nova", speed=1.25, instructions="Kindly.")
    first = (await standing(shop))["content_hash"]
    told = (await greet(shop, voice="onyx")).json()
    assert told["content_hash"] != first
    now = await standing(shop)
    assert (now["text"], now["voice"]) == (TEXT, {"voice": "onyx", "speed": 1.25, "instructions": "Kindly."})
    await greet(shop, speed=None)
    assert (await standing(shop))["voice"] == {"voice": "onyx", "instructions": "Kindly."}
    assert shop.calls == 3
    assert [body["voice"] for body in shop.vendors.counts.bodies] == ["nova", "onyx", "onyx"]


async def test_its_format_and_chain_are_the_tenants(make_house: MakeHouse) -> None:
    house = await make_house(before=["deepgram"])
    await house.gateway.catalog.put_tenant(Tenant("shop", chain=("deepgram", "openai")))
    told = (await greet(house, text=TEXT, format="ulaw")).json()
    assert told["audio_url"].partition("?")[0].endswith(".ulaw")
    assert (house.calls, house.vendors.deepgram.counts.calls) == (0, 1)


async def test_who_prefers_not_to_wait_is_told_where_it_will_be(shop: House) -> None:
    shop.vendors.behave(first_byte=0.3)
    answer = await shop.http.post(
        "/admin/tts/greeting/shop", json={"text": TEXT}, headers={"prefer": "respond-async"}
    )
    told = answer.json()
    assert (answer.status_code, told["status"], told["cached"]) == (202, "queued", False)
    assert (await shop.http.get(answer.headers["location"])).json()["status"] == "queued"
    await until(_is_made(shop))
    now = (await greet(shop)).json()
    assert (now["cached"], now["content_hash"], shop.calls) == (True, told["content_hash"], 1)


async def test_many_at_once_are_one_generation(shop: House) -> None:
    shop.vendors.behave(first_byte=0.1)
    told = await asyncio.gather(*(greet(shop, text=TEXT) for _ in range(8)))
    assert {answer.status_code for answer in told} == {200}
    assert len({answer.json()["content_hash"] for answer in told}) == 1
    assert shop.calls == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"text": " "}, "text"),
        ({"text": 7}, "text"),
        ({"text": "a\x00b"}, "text"),
        ({"text": "x" * 100_001}, "text"),
        ({"speed": 0}, "speed"),
        ({"text": TEXT, "voice": {"id": "nova"}}, "voice"),
        ({"text": TEXT, "format": "mp9"}, "format"),
        ({"text": TEXT, "provider": "nobody"}, "provider"),
        ({"text": TEXT, "provider": "espeak", "voice": "klingon"}, "voice"),
        ({"greeting": TEXT}, "greeting"),
        ({}, "text"),
    ],
)
async def test_what_is_wrong_is_said_and_not_stored(shop: House, body: dict[str, Any], param: str) -> None:
    answer = await greet(shop, **body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert await shop.gateway.catalog.tenant("shop") == Tenant("shop")
    assert shop.calls == 0


async def test_who_and_what_is_not_there(shop: House) -> None:
    assert (await greet(shop, "nobody", text=TEXT)).status_code == 404
    assert (await shop.http.get("/admin/tts/greeting/nobody")).status_code == 404
    assert (await shop.http.get("/admin/tenants/nobody")).status_code == 404
    assert (await shop.http.patch("/admin/tenants/nobody", json={})).status_code == 404
    refused = (await greet(shop)).json()["error"]
    assert "no greeting" in refused["message"]
    assert '{"text":' in refused["message"]
    assert (await standing(shop))["status"] == "none"
    assert (await shop.http.post("/admin/tts/greeting/shop", content=b"[1]")).status_code == 400


async def test_the_gateways_own_tenant_is_always_there(house: House) -> None:
    assert (await greet(house, "default", text=TEXT)).status_code == 200
    assert (await house.http.get("/admin/tenants/default")).json()["greeting"] == TEXT


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH"])
async def test_only_an_admin_may(make_house: MakeHouse, method: str) -> None:
    house = await make_house(require_keys=True)
    await house.gateway.catalog.put_tenant(Tenant("shop", greeting=TEXT))
    _, key = await keys.create(house.gateway.catalog, "shop", "", [Role.SPEAK, Role.SHARE], lambda: 0.0)
    for headers, status in (({}, 401), ({"authorization": f"Bearer {key}"}, 403)):
        for path, how in (("tenants/shop", method), ("tts/greeting/shop", "GET" if method == "GET" else "POST")):
            answer = await house.http.request(how, f"/admin/{path}", headers=headers, json={"greeting": "Ha!"})
            assert answer.status_code == status
    assert await house.gateway.catalog.tenant("shop") == Tenant("shop", greeting=TEXT)


# ── a vendor that is down ────────────────────────────────────────────────────────────────────────


async def test_why_it_could_not_be_made_is_told_at_once(make_house: MakeHouse) -> None:
    house = await make_house(attempts=1)
    await house.gateway.catalog.put_tenant(Tenant("shop"))
    house.vendors.behave(status=503)
    answer = await greet(house, text=TEXT)
    told = await standing(house)
    assert (answer.status_code, told["status"], told["audio_url"]) == (503, "queued", None)
    assert told["failure"]["error"] == answer.json()["error"]["code"]
    assert TEXT not in str(told["failure"])
    house.vendors.behave()
    assert (await greet(house)).status_code == 200
    told = await standing(house)
    assert (told["status"], told["failure"]) == ("ok", None)


async def test_a_vendors_failure_is_told_and_the_greeting_made_later(make_house: MakeHouse) -> None:
    house = await make_house(attempts=1)
    house.gateway.speaker._pauses = (0.01, 0.02)
    await house.gateway.catalog.put_tenant(Tenant("shop"))
    before = (await greet(house, text="We are open.")).json()
    house.vendors.behave(status=503)
    answer = await greet(house, text=TEXT)
    assert (answer.status_code, answer.headers["x-should-retry"]) == (503, "true")
    assert TEXT not in answer.text
    failed = await until(_failure(house))
    assert failed["failure"]["error"] == "provider_unavailable"
    assert (failed["status"], failed["text"]) == ("queued", TEXT)
    assert before["content_hash"] in failed["audio_url"], "callers hear what was there before"
    assert (await house.http.get(failed["audio_url"])).status_code == 200
    house.vendors.behave()
    assert (await greet(house)).json()["cached"] is False
    assert (await standing(house))["failure"] is None


async def test_a_spent_budget_is_told(make_house: MakeHouse) -> None:
    house = await make_house(upstreams={"openai": {"provider": "openai", "price": 15}})
    await house.gateway.catalog.put_tenant(Tenant("shop", budget=0))
    answer = await greet(house, text=TEXT)
    assert (answer.status_code, answer.json()["error"]["code"], house.calls) == (429, "insufficient_quota", 0)


# ── the tenant ───────────────────────────────────────────────────────────────────────────────────

EVERYTHING: dict[str, Any] = {
    "rate": 5.0,
    "burst": 9.0,
    "budget": 20.0,
    "public": True,
    "disabled": False,
    "chain": ["openai", "espeak"],
    "voice": {"voice": "nova", "speed": 1.25},
    "greeting": TEXT,
}


async def test_a_tenant_is_made_with_its_greeting(house: House) -> None:
    answer = await put(house, **EVERYTHING)
    assert answer.json() == EVERYTHING | {"id": "shop"}
    assert (await house.http.get("/admin/tenants/shop")).json() == answer.json()
    await until(_is_made(house))
    assert house.vendors.counts.texts == {TEXT: 1}


async def test_to_put_says_all_and_to_patch_what_is_told(house: House) -> None:
    await put(house, **EVERYTHING)
    patched = (await put(house, "PATCH", rate=None, voice={"speed": None, "language": "en"}, chain=[])).json()
    changed = {"rate": None, "voice": {"voice": "nova", "language": "en"}, "chain": []}
    assert patched == EVERYTHING | changed | {"id": "shop"}
    assert (await put(house, "PATCH", voice=None)).json()["voice"] == {}
    usual = {"rate": None, "burst": None, "budget": None, "public": False, "disabled": False, "chain": []}
    assert (await put(house, budget=7)).json() == usual | {"id": "shop", "budget": 7, "voice": {}, "greeting": None}


async def test_an_unchanged_greeting_is_not_made_anew(house: House) -> None:
    await put(house, greeting=TEXT)
    await until(_is_made(house))
    await put(house, greeting=f"  {TEXT} ", rate=5)
    await put(house, "PATCH", budget=7)
    assert (await standing(house))["status"] == "ok"
    assert house.calls == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"rate": 0}, "rate"),
        ({"burst": "many"}, "burst"),
        ({"budget": -1}, "budget"),
        ({"public": "perhaps"}, "public"),
        ({"chain": ["nobody"]}, "chain"),
        ({"chain": "openai"}, "chain"),
        ({"voice": "nova"}, "voice"),
        ({"voice": {"speed": -1}}, "speed"),
        ({"voice": {"volume": 2}}, "volume"),
        ({"voice": {"provider": "espeak", "voice": "klingon"}}, "voice"),
        ({"greeting": "a\x00b"}, "greeting"),
        ({"greeting": 7}, "greeting"),
        ({"name": "shop"}, "name"),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_what_is_wrong_of_a_tenant(house: House, method: str, body: dict[str, Any], param: str) -> None:
    await house.gateway.catalog.put_tenant(Tenant("shop", 3.0))
    answer = await put(house, method, **body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert await house.gateway.catalog.tenant("shop") == Tenant("shop", 3.0)


async def test_a_name_that_no_tenant_can_have(house: House) -> None:
    for name in ("a%20b", ".hidden", "x" * 81):
        assert (await house.http.put(f"/admin/tenants/{name}", json={})).status_code == 400


def _is_made(house: House) -> Any:
    async def made() -> bool:
        return bool((await standing(house))["status"] == "ok")

    return made


def _failure(house: House) -> Any:
    async def failed() -> dict[str, Any] | None:
        told = await standing(house)
        return told if told["failure"] else None

    return failed
