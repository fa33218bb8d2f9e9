"""The chain outlives any vendor's bad day, and never files one voice under another (law 2)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from time import time
from typing import Any

import pytest

from sayonce.catalog.records import Tenant
from sayonce.testing.waiting import DEADLINE
from tests.conftest import House, MakeHouse, until

TEXT = "Hello there, my friend."


@pytest.fixture
async def chained(make_house: MakeHouse) -> Callable[..., Awaitable[House]]:
    async def make(**settings: Any) -> House:
        given = {
            "chain": "elevenlabs,deepgram",
            "voices": {"elevenlabs/21m00Tcm4TlvDq8ikWAM": {"deepgram": "aura-2-thalia-en"}},
            "attempts": 1,
            "breaker_failures": 3,
            "breaker_rest": 0.2,
            "poll_seconds": 0.05,
        }
        return await make_house(before=("elevenlabs", "deepgram"), **(given | settings))

    return make


async def say(house: House, text: str = TEXT, headers: dict[str, str] | None = None, **body: Any) -> Any:
    answer = await house.http.post("/api/voice", json={"text": text, **body}, headers=headers)
    return answer.json() if answer.status_code == 200 else answer


def calls(house: House) -> tuple[int, int]:
    return house.vendors.elevenlabs.counts.calls, house.vendors.deepgram.counts.calls


async def test_the_next_speaks_in_its_place_under_its_own_recipe(chained: Any) -> None:
    house = await chained()
    a, b = house.vendors.elevenlabs, house.vendors.deepgram
    a.behave(status=503)
    said = await say(house)
    assert (said["provider"], said["voice"], said["outcome"]) == ("deepgram", "aura-2-thalia-en", "miss")
    again = await say(house)
    assert (again["provider"], again["outcome"], b.counts.calls) == ("deepgram", "hit", 1)
    a.behave()
    back = await say(house)
    assert (back["provider"], back["outcome"]) == ("elevenlabs", "miss"), "when it is back, its voice is back"
    assert back["content_hash"] != said["content_hash"]
    assert (await say(house))["outcome"] == "hit"
    assert (a.counts.calls, b.counts.calls) == (3, 1)


async def test_who_is_known_dead_is_not_asked_until_a_probe_succeeds(chained: Any) -> None:
    house = await chained(breaker_rest=30.0)
    house.vendors.elevenlabs.behave(trouble="reset")
    for n in range(6):
        assert (await say(house, f"Number {n}."))["provider"] == "deepgram"
    assert calls(house) == (3, 6)
    health = (await house.http.get("/api/health")).json()
    assert (health["status"], health["upstreams"]["elevenlabs"]) == ("degraded", "open")
    assert (await house.http.get("/api/health/ready")).status_code == 200
    metrics = (await house.http.get("/metrics")).text
    assert 'sayonce_upstream_open{upstream="elevenlabs"} 1.0' in metrics
    assert 'sayonce_substitutions_total{asked="elevenlabs",upstream="deepgram"} 6.0' in metrics


async def test_a_probe_brings_its_voice_back(chained: Any) -> None:
    house = await chained()
    house.vendors.elevenlabs.behave(status=500)
    for n in range(3):
        await say(house, f"Number {n}.")
    house.vendors.elevenlabs.behave()

    async def back() -> bool:
        return (await say(house, "Are you back?"))["provider"] == "elevenlabs"

    await until(back)
    assert (await house.http.get("/api/health")).json()["upstreams"]["elevenlabs"] == "closed"


async def test_kept_audio_is_served_while_its_vendor_is_down(chained: Any) -> None:
    house = await chained()
    first = await say(house)
    house.vendors.elevenlabs.behave(trouble="never")
    assert (await say(house))["content_hash"] == first["content_hash"]
    assert calls(house) == (1, 0)


async def test_two_vendors_down_at_once(chained: Any) -> None:
    house = await chained()
    house.vendors.elevenlabs.behave(status=500)
    house.vendors.deepgram.behave(status=401)
    answer = await say(house)
    told = answer.json()["error"]
    assert (answer.status_code, told["code"]) == (503, "no_provider_available")
    assert "'elevenlabs' answered 500" in told["message"]
    assert "'deepgram' does not accept the gateway's key (401)" in told["message"]
    assert TEXT not in answer.text
    assert (await house.rows(), house.blobs()) == (0, [])
    assert calls(house) == (1, 1)


@pytest.mark.parametrize(
    "bad_day",
    [
        {"status": 401},
        {"status": 401, "error": {"status": "quota_exceeded"}},
        {"status": 429},
        {"status": 429, "headers": {"retry-after": "60"}},
        {"status": 302, "headers": {"location": "http://169.254.169.254/"}},
        {"trouble": "reset"},
        {"trouble": "html"},
        {"trouble": "json"},
        {"trouble": "empty"},
        {"trouble": "garbage"},
        {"trouble": "never"},
        {"key": "another"},
    ],
)
async def test_each_bad_day_before_the_first_byte(chained: Any, bad_day: dict[str, Any]) -> None:
    patience = 0.3 if bad_day.get("trouble") == "never" else DEADLINE
    house = await chained(upstreams={"elevenlabs": {"provider": "elevenlabs", "first_byte_timeout": patience}})
    house.vendors.elevenlabs.behave(**bad_day)
    said = await say(house)
    assert (said["provider"], said["outcome"]) == ("deepgram", "miss")
    assert calls(house) == (1, 1)
    assert (await house.rows(), len(house.blobs())) == (1, 1)


@pytest.mark.parametrize("trouble", ["cut", "abort", "half"])
async def test_what_breaks_after_the_first_byte_is_not_pieced_together(chained: Any, trouble: str) -> None:
    house = await chained()
    house.vendors.elevenlabs.behave(trouble=trouble, seconds=20.0, times=1)
    with pytest.raises(Exception, match=r"peer closed|incomplete|closed"):
        await house.speak(TEXT, model="elevenlabs", voice="21m00Tcm4TlvDq8ikWAM")
    assert (await house.rows(), house.blobs()) == (0, [])
    assert calls(house) == (1, 0)
    healed = await house.speak(TEXT, model="elevenlabs", voice="21m00Tcm4TlvDq8ikWAM")
    assert (healed.status, healed.headers["x-tts-provider"]) == (200, "elevenlabs")


async def test_patience_in_seconds_and_in_dates_is_given(chained: Any) -> None:
    for told in ("30", formatdate(time() + 30, usegmt=True)):
        house = await chained()
        house.vendors.elevenlabs.behave(status=429, headers={"retry-after": told}, times=1)
        before = calls(house)[0]
        for n in range(5):
            assert (await say(house, f"{told} {n}."))["provider"] == "deepgram"
        assert calls(house)[0] == before + 1, "a storm of requests is one call"


async def test_who_is_too_late_lands_all_the_same(chained: Any) -> None:
    house = await chained(deadline=4.0)
    house.vendors.elevenlabs.behave(first_byte=3.0)
    said = await say(house)
    assert said["provider"] == "deepgram"
    await until(house.rows)

    async def landed() -> bool:
        return await house.rows() == 2

    await until(landed)
    kept = await say(house)
    assert (kept["provider"], kept["outcome"]) == ("elevenlabs", "hit")
    assert calls(house) == (1, 1)


async def test_everyone_who_waits_moves_on_together(chained: Any) -> None:
    house = await chained()
    house.vendors.elevenlabs.behave(trouble="reset", first_byte=0.1)
    house.vendors.deepgram.behave(first_byte=0.1)
    said = await asyncio.gather(*(say(house) for _ in range(20)))
    assert {each["content_hash"] for each in said} == {said[0]["content_hash"]}
    assert calls(house) == (1, 1)


async def test_who_is_asked_by_name_starts_at_its_place(chained: Any) -> None:
    house = await chained()
    assert (await say(house, provider="deepgram"))["provider"] == "deepgram"
    house.vendors.deepgram.behave(status=500)
    answer = await say(house, "Another.", provider="deepgram")
    assert (answer.status_code, calls(house)[0]) == (503, 0), "nobody comes after the last"
    assert (await say(house, "A third.", provider="openai", model="tts-1"))["provider"] == "openai"


async def test_the_chain_of_a_request(chained: Any) -> None:
    house = await chained()
    house.vendors.deepgram.behave(status=500)
    assert (await say(house, chain=["deepgram", "openai"]))["provider"] == "openai"
    assert (await say(house, "Two.", headers={"x-sayonce-chain": "deepgram, openai"}))["provider"] == "openai"
    wrong = await say(house, chain=["deepgram", "nobody"])
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "chain")


async def test_the_chain_of_a_tenant(chained: Any) -> None:
    house = await chained()
    assert (await say(house, "One."))["provider"] == "elevenlabs"
    await house.gateway.catalog.put_tenant(Tenant("default", chain=("deepgram", "elevenlabs")))

    async def heeded() -> bool:
        return (await say(house, "Two."))["provider"] == "deepgram"

    await until(heeded)


async def test_a_text_too_long_for_the_first_goes_to_the_next(chained: Any) -> None:
    house = await chained(chain="deepgram,openai")
    assert (await say(house, "word " * 500))["provider"] == "openai"
    assert (await say(house, "Short."))["provider"] == "deepgram"


async def test_a_text_too_long_for_the_next_is_its_reason(chained: Any) -> None:
    house = await chained()
    house.vendors.elevenlabs.behave(status=500)
    answer = await say(house, "word " * 500)
    assert answer.status_code == 503
    assert "'deepgram' cannot say this: The text has 2499 characters." in answer.json()["error"]["message"]


async def test_what_the_next_cannot_do_is_left_out(chained: Any) -> None:
    house = await chained()
    house.vendors.elevenlabs.behave(status=500)
    said = await say(house, speed=0.75, language="en", options={"seed": 3})
    assert said["provider"] == "deepgram"
    assert house.vendors.deepgram.counts.bodies[-1]["speed"] == "0.75"
    house = await chained(chain="openai,deepgram")
    house.vendors.behave(status=500)
    assert (await say(house, speed=3.0, model="tts-1"))["provider"] == "deepgram"
    assert "speed" not in house.vendors.deepgram.counts.bodies[-1]


async def test_only_what_is_kept(chained: Any) -> None:
    house = await chained(breaker_rest=30.0)
    house.vendors.elevenlabs.behave(status=500)
    for n in range(3):
        await say(house, f"Number {n}.")
    only = {"cache-control": "only-if-cached"}
    assert (await say(house, "Number 1.", headers=only))["provider"] == "deepgram"
    assert (await say(house, "Number 7.", headers=only)).status_code == 504
    assert calls(house) == (3, 3)


async def test_a_vendor_that_is_not_set_up_is_gone_past(make_house: MakeHouse) -> None:
    house = await make_house(before=("deepgram",), chain="elevenlabs,deepgram")
    assert (await say(house))["provider"] == "deepgram"
    answer = await say(house, provider="replicate")
    assert answer.status_code == 502
    assert "REPLICATE_API_TOKEN" in answer.json()["error"]["message"]


async def test_a_lone_vendor_rests_too(make_house: MakeHouse) -> None:
    house = await make_house(attempts=1, breaker_failures=2, breaker_rest=30.0)
    house.vendors.behave(status=500)
    for n in range(2):
        assert (await house.speak(f"Number {n}.")).status == 503
    rested = await house.speak("Number 3.")
    assert (rested.status, rested.error["code"], house.calls) == (503, "provider_resting", 2)
    assert 1 <= int(rested.headers["retry-after"]) <= 30


async def test_openais_clients_need_not_know_who_speaks(make_house: MakeHouse) -> None:
    """They must name a model of OpenAI's, which nobody in this chain has."""
    house = await make_house(
        openai_base_url=None,
        openai_api_key=None,
        before=("replicate", "deepgram"),
        chain="replicate,deepgram",
        voices={"openai/onyx": {"replicate": "am_adam"}, "replicate/af_nicole": {"deepgram": "aura-2-thalia-en"}},
        attempts=1,
    )
    for voice in ("af_nicole", "onyx"):
        heard = await house.speak(voice=voice)
        assert (heard.status, heard.outcome, heard.headers["x-tts-provider"]) == (200, "miss", "replicate")
        assert (await house.speak(voice=voice)).outcome == "hit"
    unmapped = await house.speak(voice="nova")
    assert (unmapped.status, unmapped.error["param"]) == (400, "voice")
    assert '[voices."openai/<voice>"] replicate' in unmapped.error["message"]
    house.vendors.replicate.behave(status=503)
    stood_in = await house.speak("Another text.", voice="af_nicole")
    assert (stood_in.status, stood_in.headers["x-tts-provider"]) == (200, "deepgram")


@pytest.mark.parametrize(
    ("asked", "name", "param", "setting"),
    [
        ({"voice": "openai/nova"}, "openai", "voice", "Set OPENAI_API_KEY."),
        ({"voice": "deepgram/"}, "deepgram", "voice", "Set DEEPGRAM_API_KEY."),
        ({"voice": "declared/x"}, "declared", "voice", "Add [upstreams.declared]."),
        ({"voice": "en-us", "model": "openai/gpt-4o-mini-tts"}, "openai", "model", "Set OPENAI_API_KEY."),
    ],
)
async def test_who_is_named_before_a_voice_and_not_set_up_is_told(
    make_house: MakeHouse, asked: dict[str, str], name: str, param: str, setting: str
) -> None:
    house = await make_house(openai_api_key=None, openai_base_url=None)
    refused = await house.speak(**asked)
    assert refused.status in (400, 404)
    told = f"There is no upstream '{name}' set up. There are: espeak. {setting}"
    assert (refused.error["message"], refused.error["param"]) == (told, param)


@pytest.mark.parametrize("voice", ["nobody/nova", "espeak/nobody", "nova-x"])
async def test_any_other_voice_that_nobody_has_is_a_voice(make_house: MakeHouse, voice: str) -> None:
    house = await make_house(openai_api_key=None, openai_base_url=None)
    assert "has no voice of that name" in (await house.speak(voice=voice)).error["message"]


async def test_who_takes_any_voice_takes_one_with_a_name_before_it(house: House) -> None:
    assert (await house.speak(voice="deepgram/aura")).status == 200
    assert house.vendors.counts.bodies[0]["voice"] == "deepgram/aura"
