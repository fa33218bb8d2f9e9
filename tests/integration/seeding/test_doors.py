"""Collections and seeds at their doors: written down, planned, spoken once, followed, stopped, ended."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from sayonce.testing.vendors import Gate
from tests.conftest import House, MakeHouse, until
from tests.integration.test_sessions import key_of

TEXTS = ["The first thing to say.", "The second thing to say.", "The third thing to say."]
MANIFEST: dict[str, Any] = {
    "name": "a book",
    "voices": ["openai/nova", "openai/alloy"],
    "items": [{"text": text, "role": "chapter"} for text in TEXTS],
}


async def seed(house: House, **manifest: Any) -> httpx.Response:
    return await house.http.post("/api/seeds", json=MANIFEST | manifest)


async def done(house: House, name: str = "a book") -> dict[str, Any]:
    """How it stands, once nothing is left to be tried."""

    async def ended() -> dict[str, Any] | None:
        told: dict[str, Any] = (await house.http.get(f"/api/seeds/{name}")).json()
        return None if told["status"] == "speaking" else told

    told: dict[str, Any] = await until(ended)
    return told


async def test_all_is_spoken_once_and_heard_at_every_door(house: House) -> None:
    answer = await seed(house)
    assert (answer.status_code, answer.headers["location"]) == (202, "/api/seeds/a%20book")
    told = await done(house)
    assert (told["status"], told["items"], told["made"], told["failed"]) == ("done", 6, 6, 0)
    assert told["characters"] == 2 * sum(map(len, TEXTS))
    assert house.calls == 6
    again = (await seed(house)).json()
    assert (again["plan"]["kept"], again["plan"]["make"], again["status"]) == (6, 0, "done")
    heard = await house.speak(TEXTS[0])
    assert (heard.outcome, house.calls) == ("hit", 6)


async def test_a_plan_pays_nothing_and_knows_what_is_made_of_what_is_kept(house: House) -> None:
    assert (await house.speak(TEXTS[0])).outcome == "miss"
    told = (await seed(house, plan=True, formats=["mp3", "wav"])).json()["plan"]
    assert (told["items"], told["kept"], told["make"]) == (12, 1, 11)
    paid = 2 * sum(map(len, TEXTS)) - len(TEXTS[0])
    assert (told["characters"], told["by_provider"]["openai"]["texts"]) == (paid, 5), "another format is a transcode"
    assert house.calls == 1
    assert (await house.http.get("/api/collections")).json()["collections"] == []


async def test_what_costs_more_than_allowed_is_not_begun(make_house: MakeHouse) -> None:
    house = await make_house(upstreams={"openai": {"price": 100.0}})
    refused = await seed(house, max_cost=0.01)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "max_cost")
    assert "0.014000 USD, and 0.010000 USD at most" in refused.json()["error"]["message"]
    assert house.calls == 0
    told = await seed(house, max_cost=0.02)
    assert told.status_code == 202
    assert round((await done(house))["cost"], 4) == 0.0140


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([{"text": "Fine."}, {"role": "question"}], "item 2: The field 'text' is missing"),
        ([{"text": "Fine.", "voise": "nova"}], "item 1: There is no field 'voise'"),
        ([{"text": "Fine.", "speed": "fast"}], "item 1: The field 'speed' is wrong"),
        ([{"text": ""}], "item 1: The field 'text' is missing"),
        ([{"text": "Fine.", "voice": "espeak/nobody"}], "item 1: The local voice has no voice of that name"),
        ([{"text": "Fine.", "format": "exe"}], "item 1:"),
        ([{"text": "x" * 5_001}], "item 1: The text has 5,001 characters"),
        ([{"text": "Fine.", "scope": "user"}], "item 1: Scope 'user' needs to know the user"),
        ([{"text": {"deep": ["er"]}}], "item 1: The field 'text' is wrong"),
        ([], "nothing in the manifest to say"),
    ],
)
async def test_a_row_that_is_wrong_is_named_and_nothing_is_paid(
    make_house: MakeHouse, items: list[Any], said: str
) -> None:
    house = await make_house(max_text=5_000)
    refused = await seed(house, items=items)
    assert refused.status_code == 400
    assert said in refused.json()["error"]["message"]
    assert house.calls == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"items": 7}',
        b'{"items": ["a"]}',
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"items": [{"text": "a"}]',
    ],
)
async def test_a_body_that_is_none(house: House, body: bytes) -> None:
    refused = await house.http.post("/api/seeds", content=body)
    assert refused.status_code == 400
    assert refused.json()["error"]["message"]


async def test_a_body_that_is_too_long(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sayonce.api.seeds.LONGEST", 100)
    refused = await seed(house)
    assert refused.status_code == 413
    assert "Send the manifest in parts." in refused.json()["error"]["message"]


async def test_a_text_that_is_there_twice_is_spoken_once(house: House) -> None:
    told = (await seed(house, voices=["openai/nova"], items=[{"text": text} for text in (*TEXTS, TEXTS[1])])).json()
    assert (told["plan"]["items"], told["plan"]["make"], told["plan"]["same"]) == (4, 3, 1)
    await done(house)
    assert house.calls == 3


async def test_some_fail_and_the_others_are_made(house: House) -> None:
    house.vendors.behave(status=400, why="Not this one.", times=2)
    await seed(house, voices=["openai/nova"])
    told = await done(house)
    assert (told["status"], told["made"], told["failed"], told["left"]) == ("failed", 1, 2, 0)
    assert {each["error"] for each in told["failures"]} == {"provider_refused"}
    assert {each["role"] for each in told["failures"]} == {"chapter"}
    assert not any(text in json.dumps(told["failures"]) for text in TEXTS)
    await seed(house, voices=["openai/nova"])
    assert (await done(house))["made"] == 2, "seeded again, what is missing is made"
    assert house.calls == 5


async def test_it_is_followed_as_it_goes(house: House) -> None:
    gate = Gate(0)
    house.vendors.behave(gate=gate)
    await seed(house)
    events = []
    async with house.http.stream("GET", "/api/seeds/a book/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                events.append(line.removeprefix("event: "))
                gate.open()
            elif line.startswith("data: "):
                last = json.loads(line.removeprefix("data: "))
    assert events[0] == "progress"
    assert events[-1] == "done"
    assert (last["status"], last["kept"]) == ("done", 6)


async def test_stopped_it_lets_be_what_is_not_begun(make_house: MakeHouse) -> None:
    house = await make_house(queue_at_once=1)
    gate = Gate(0)
    house.vendors.behave(gate=gate)
    await seed(house)
    await until(lambda: gate.waiting)
    stopped = (await house.http.delete("/api/seeds/a book")).json()
    assert (stopped["status"], stopped["left"]) == ("stopped", 0)
    gate.open()
    await until(lambda: not house.gateway.engine.flying)
    assert house.calls == 1
    await house.http.post("/api/collections/a book/seed")
    assert (await done(house))["kept"] == 6
    assert house.calls == 6


async def test_it_is_written_down_and_spoken_later(house: House) -> None:
    written = await house.http.post("/api/collections", json=MANIFEST)
    assert (written.status_code, written.json()["items"], written.json()["left"]) == (201, 6, 0)
    assert house.calls == 0
    shown = (await house.http.get("/api/collections/a book")).json()
    assert [(each["item"], each["kept"]) for each in shown["entries"]] == [(n, False) for n in range(1, 7)]
    assert (await house.http.post("/api/collections/a book/seed")).status_code == 202
    await done(house)
    first = (await house.http.get("/api/collections/a book", params={"limit": 4})).json()
    rest = (await house.http.get("/api/collections/a book", params={"limit": 4, "after": first["next"]})).json()
    entries = [*first["entries"], *rest["entries"]]
    assert [each["text"] for each in entries] == [text for text in TEXTS for _ in range(2)]
    assert (await house.http.get(entries[0]["url"])).content == (await house.speak(TEXTS[0])).audio


async def test_in_one_more_voice(house: House) -> None:
    await seed(house, voices=["openai/nova"])
    await done(house)
    told = (await house.http.post("/api/pre-cache-narratives", json={"voice": "openai/shimmer"})).json()
    assert (told["collection"], told["items"]) == ("a book", 6)
    assert (await done(house))["made"] == 3
    assert (await house.speak(TEXTS[2], voice="shimmer")).outcome == "hit"
    unknown = await house.http.post("/api/pre-cache-narratives", json={"voice": "espeak/nobody"})
    assert unknown.status_code == 400


async def test_in_one_more_voice_it_may_be_planned_and_bounded(make_house: MakeHouse) -> None:
    house = await make_house(upstreams={"openai": {"price": 100.0}})
    await seed(house, voices=["openai/nova"])
    await done(house)
    for door in ("/api/pre-cache-narratives", "/api/collections/a book/seed"):
        kept = (await house.http.post(door, json={"plan": True})).json()["plan"]
        assert (kept["items"], kept["kept"], kept["make"], kept["cost"]) == (3, 3, 0, 0.0)
        other = {"voice": "openai/shimmer"}
        plan = (await house.http.post(door, json=other | {"plan": True})).json()["plan"]
        assert (plan["items"], plan["make"], round(plan["cost"], 4)) == (3, 3, 0.007)
        refused = await house.http.post(door, json=other | {"max_cost": 0.006})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "max_cost")
    assert house.calls == 3
    assert (await house.http.post(door, json=other | {"max_cost": 0.008})).status_code == 202
    assert (await done(house))["made"] == 3


async def test_who_follows_a_run_learns_that_it_was_deleted(house: House) -> None:
    gate = Gate(0)
    house.vendors.behave(gate=gate)
    await seed(house)
    told: list[dict[str, Any]] = []
    async with house.http.stream("GET", "/api/seeds/a book/events") as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                told.append(json.loads(line.removeprefix("data: ")))
            if len(told) == 1:
                await house.http.delete("/api/collections/a book")
    gate.open()
    assert (told[0]["status"], told[-1]["status"]) == ("speaking", "deleted")


async def test_ended_it_takes_what_was_kept_for_it_alone(house: House) -> None:
    other = {"name": "another", "voices": ["openai/nova"], "items": [{"text": TEXTS[0]}]}
    await seed(house)
    await done(house)
    await house.http.post("/api/seeds", json=other)
    assert (await house.http.delete("/api/collections/a book")).json()["items"] == 6
    assert (await house.http.get("/api/collections/a book")).status_code == 404
    assert await house.rows() == 1
    assert len(house.blobs()) == 1
    assert (await house.speak(TEXTS[0])).outcome == "hit"


async def test_nobody_sees_anothers(make_house: MakeHouse) -> None:
    house = await make_house(require_keys=True)
    mine, other = await key_of(house, "one"), await key_of(house, "two")
    assert (await house.http.post("/api/seeds", json=MANIFEST, headers=mine)).status_code == 202
    for method, path in (("GET", "collections/a book"), ("DELETE", "collections/a book"), ("GET", "seeds/a book")):
        assert (await house.http.request(method, f"/api/{path}", headers=other)).status_code == 404
    assert (await house.http.get("/api/seeds/a book/events", headers=other)).status_code == 404
    assert (await house.http.get("/api/collections", headers=other)).json()["collections"] == []
    assert (await house.http.get("/api/collections")).status_code == 401
    shared = await house.http.post("/api/seeds", json=MANIFEST | {"scope": "shared"}, headers=mine)
    assert (shared.status_code, "may not be shared" in shared.json()["error"]["message"]) == (400, True)


async def test_a_run_goes_on_after_a_restart(make_house: MakeHouse) -> None:
    house = await make_house(queue_at_once=2)
    gate = Gate(0)
    house.vendors.behave(gate=gate)
    await seed(house)
    await until(lambda: gate.waiting == 2)
    await house.gateway.queue.line.aclose()  # as if it were gone
    gate.open()
    await until(lambda: not house.gateway.engine.flying)
    other = await make_house()
    async with other.gateway.queue.tended():
        assert (await done(other))["kept"] == 6
    assert house.calls == 6


async def test_a_collection_is_one_however_its_texts_move(house: House) -> None:
    await seed(house, voices=["openai/nova"])
    await done(house)
    moved = [{"text": text} for text in reversed(TEXTS)]
    await seed(house, voices=["openai/nova"], items=moved)
    shown = (await house.http.get("/api/collections/a book")).json()
    assert [each["text"] for each in shown["entries"]] == TEXTS[::-1]
    assert (house.calls, shown["items"]) == (3, 3)


async def test_what_was_in_it_before_is_not_counted_as_made_now(house: House) -> None:
    await seed(house, voices=["openai/nova"])
    await done(house)
    await seed(house, voices=["openai/nova"], items=[{"text": TEXTS[0]}, {"text": "A fourth thing."}])
    told = await done(house)
    assert (told["items"], told["kept"], told["made"]) == (4, 4, 1), "a shorter manifest takes nothing out of it"


async def test_without_texts_what_is_lost_takes_the_manifest(make_house: MakeHouse) -> None:
    house = await make_house(keep_text=False)
    await seed(house, voices=["openai/nova"])
    await done(house)
    refused = await house.http.post("/api/collections/a book/seed", json={"voice": "openai/alloy"})
    assert (refused.status_code, "Send its manifest" in refused.json()["error"]["message"]) == (400, True)
    await house.http.post("/admin/invalidate", json={"collection": "a book"})
    assert (await seed(house, voices=["openai/nova"])).json()["plan"]["make"] == 3
    assert (await done(house))["kept"] == 3


async def test_evicted_it_is_made_again_when_it_is_seeded(house: House) -> None:
    await seed(house, voices=["openai/nova"])
    await done(house)
    await house.http.post("/admin/invalidate", json={"collection": "a book"})
    told = (await house.http.get("/api/seeds/a book")).json()
    assert (told["status"], told["items"], told["kept"]) == ("stopped", 3, 0), "nobody has asked for it"
    await house.http.post("/api/collections/a book/seed")
    assert (await done(house))["kept"] == 3
    assert house.calls == 6
