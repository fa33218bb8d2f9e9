"""The chat message's door: what is kept for whom, and where."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from sayonce.access import keys
from sayonce.access.callers import Role
from sayonce.audio.probe import probe
from sayonce.catalog.records import Tenant
from sayonce.speech.formats import MP3
from tests.conftest import House, MakeHouse

TEXT = "**Hello** there, my friend."


async def speak(
    house: House, text: Any = TEXT, user: str | None = "ann", message: str | None = "m1", **body: Any
) -> httpx.Response:
    asked = {"text": text, "thread_id": "t1", "message_id": message, "save_to_volume": True} | body
    return await house.http.post(
        "/api/tts/speak", json=asked, headers={} if user is None else {"x-sayonce-user": user}
    )


def outcome(answer: httpx.Response) -> str:
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "audio/mpeg"
    assert probe(answer.content, MP3).duration > 0.3
    return answer.headers["x-tts-cache"]


def files(house: House) -> list[str]:
    root = house.gateway.settings.data_dir / "audio"
    return sorted(str(path.relative_to(root)) for path in root.rglob("*.mp3"))


async def test_a_message_is_kept_for_its_user(house: House) -> None:
    assert [outcome(await speak(house)) for _ in range(2)] == ["miss", "hit"]
    assert files(house) == ["tts_audio/ann/t1/m1.mp3"]
    assert [body["input"] for body in house.vendors.counts.bodies] == ["Hello there, my friend."]


@pytest.mark.parametrize(
    "missing", [{"save_to_volume": False}, {"user": None}, {"message": None}, {"thread_id": None}, {"thread_id": ""}]
)
async def test_where_it_is_not_to_be_kept_nothing_is_asked_or_kept(house: House, missing: dict[str, Any]) -> None:
    assert outcome(await speak(house)) == "miss"
    if missing == {"thread_id": ""}:
        assert (await speak(house, **missing)).status_code == 400
        return
    assert [outcome(await speak(house, **missing)) for _ in range(2)] == ["disabled", "disabled"]
    assert house.calls == 3
    assert (files(house), await house.rows()) == (["tts_audio/ann/t1/m1.mp3"], 1)


async def test_another_users_message_is_as_if_it_were_not_there(house: House) -> None:
    assert outcome(await speak(house)) == "miss"
    assert outcome(await speak(house, user="bob")) == "miss"
    assert files(house) == ["tts_audio/ann/t1/m1.mp3", "tts_audio/bob/t1/m1.mp3"]


@pytest.mark.parametrize("change", [{"text": "Something else."}, {"voice": "onyx"}])
async def test_a_changed_message_is_never_the_old_audio(house: House, change: dict[str, Any]) -> None:
    old = await speak(house)
    new = await speak(house, **change)
    assert (outcome(new), new.content != old.content) == ("miss", True)
    assert (files(house), await house.rows()) == (["tts_audio/ann/t1/m1.mp3"], 1)
    again = await speak(house, **change)
    assert (outcome(again), again.content) == ("hit", new.content)
    back = await speak(house)
    assert (outcome(back), back.content) == ("miss", old.content)
    assert (house.gateway.settings.data_dir / "audio" / files(house)[0]).read_bytes() == old.content


async def test_one_text_in_two_messages_is_one_asset_with_two_files(house: House) -> None:
    assert outcome(await speak(house)) == "miss"
    assert outcome(await speak(house, message="m2")) == "hit"
    assert files(house) == ["tts_audio/ann/t1/m1.mp3", "tts_audio/ann/t1/m2.mp3"]
    assert (house.calls, await house.rows()) == (1, 1)
    assert outcome(await speak(house, "Something else.")) == "miss"
    assert outcome(await speak(house, message="m2")) == "hit", "the other message keeps it"
    assert (house.calls, await house.rows()) == (2, 2)


async def test_two_messages_at_once_are_one_generation(house: House) -> None:
    house.vendors.behave(first_byte=0.1)
    heard = await asyncio.gather(*(speak(house, message=f"m{n}") for n in range(6)))
    assert sorted(map(outcome, heard)) == ["joined"] * 5 + ["miss"]
    await house.gateway.engine.land_all(10)
    assert (len(files(house)), house.calls, await house.rows()) == (6, 1, 1)


async def test_a_repeated_hit_writes_nothing(house: House) -> None:
    await speak(house)
    root = house.gateway.settings.data_dir / "audio"
    before = [(path, path.stat().st_mtime_ns) for path in house.blobs()]
    for _ in range(3):
        assert outcome(await speak(house)) == "hit"
    assert [(path, path.stat().st_mtime_ns) for path in house.blobs()] == before
    assert root.exists()


@pytest.mark.parametrize("text", ["", "   ", None])
async def test_text_is_required(house: House, text: str | None) -> None:
    answer = await speak(house, text)
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "Text is required")
    assert (await house.http.post("/api/tts/speak", json={})).json()["error"]["message"] == "Text is required"


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "..", "x" * 200, "ünï", "CON", "a\\b", "A"])
async def test_ids_cannot_lead_elsewhere(house: House, name: str) -> None:
    assert outcome(await speak(house, message=name, thread_id=name)) == "miss"
    assert outcome(await speak(house, message=name, thread_id=name)) == "hit"
    (path,) = files(house)
    assert path.startswith("tts_audio/ann/")
    assert path.count("/") == 3


async def test_the_user_is_who_the_credentials_say(make_house: MakeHouse) -> None:
    house = await make_house(user_header="X-Chat-User")
    assert outcome(await speak(house)) == "disabled", "that header is not the one"
    answer = await house.http.post(
        "/api/tts/speak",
        json={"text": TEXT, "threadId": "t", "messageId": "m", "saveToVolume": True, "user_id": "mallory"},
        headers={"x-chat-user": "ann"},
    )
    assert outcome(answer) == "miss"
    assert files(house) == ["tts_audio/ann/t/m.mp3"]


async def test_tenants_do_not_share_a_users_name(house: House) -> None:
    await house.gateway.catalog.put_tenant(Tenant("default"))
    await house.gateway.catalog.put_tenant(Tenant("other"))
    made = [
        (await keys.create(house.gateway.catalog, tenant, "", [Role.SPEAK], lambda: 0.0))[1]
        for tenant in ("default", "other")
    ]
    house.gateway.gate.forget_all()
    for key in made:
        house.http.headers["authorization"] = f"Bearer {key}"
        assert outcome(await speak(house)) == "miss"
    assert files(house) == ["tenants/other/tts_audio/ann/t1/m1.mp3", "tts_audio/ann/t1/m1.mp3"]
    del house.http.headers["authorization"]
    assert (await speak(house)).status_code == 401


async def test_a_provider_that_fails_is_stood_in_for(make_house: MakeHouse) -> None:
    house = await make_house(before=("deepgram",), chain="openai,deepgram", attempts=1)
    house.vendors.behave(status=500)
    answer = await speak(house)
    assert (outcome(answer), answer.headers["x-tts-provider"]) == ("miss", "deepgram")
    assert files(house) == ["tts_audio/ann/t1/m1.mp3"]
    house.vendors.behave()
    back = await speak(house)
    assert (outcome(back), back.headers["x-tts-provider"]) == ("miss", "openai")
    assert (files(house), await house.rows()) == (["tts_audio/ann/t1/m1.mp3"], 1)
