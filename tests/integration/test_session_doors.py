"""The archive's doors: whose a session is, its name, pages, what is refused, and bad days."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import pytest

from sayonce.access.callers import Role
from sayonce.catalog.records import Session
from sayonce.errors import InvalidSettings
from sayonce.speech.formats import WAV
from tests.conftest import House, MakeHouse
from tests.integration.test_retention import engine
from tests.integration.test_sessions import (
    PLACE,
    TEXT,
    Headers,
    files,
    key_of,
    names,
    post,
    post_audio,
    record,
    say,
    shown,
    tone,
    turns,
)

__all__ = ["engine"]

# ── whose ────────────────────────────────────────────────────────────────────────────────────────


async def test_tenants_sessions_never_meet(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    """Not even where both archive one asset that all share, in sessions of one name."""
    house = await make_house(require_keys=True, **engine)
    both = [await key_of(house, name, Role.SPEAK, Role.SHARE) for name in ("default", "other", "third")]
    said = [await say(house, headers=key, scope="shared") for key in both[:2]]
    assert len({turn["content_hash"] for turn in said}) == 1
    assert house.calls == 1
    hash_ = said[0]["content_hash"]
    assert files(house, "") == [f"{PLACE}/s1/{hash_}.opus", f"tenants/other/{PLACE}/s1/{hash_}.opus"]
    await say(house, "The first one's own.", headers=both[0])
    assert [len(await turns(house, headers=key)) for key in both[:2]] == [2, 1]
    assert (await house.http.delete("/api/sessions/s1", headers=both[2])).status_code == 404
    assert (await house.http.delete("/api/sessions/s1", headers=both[0])).json()["turns"] == 2
    assert files(house, "") == [f"tenants/other/{PLACE}/s1/{hash_}.opus"]
    assert await turns(house, headers=both[1]) == [(1, None, TEXT)]
    house.gateway.hot.clear()
    assert (await house.http.get((await shown(house, headers=both[1]))["turns"][0]["url"])).status_code == 200


async def test_not_there_and_not_yours_are_the_same(make_house: MakeHouse) -> None:
    house = await make_house(require_keys=True)
    mine, other = await key_of(house, "one"), await key_of(house, "two")
    await say(house, headers=mine)
    for method in ("GET", "DELETE"):
        answers = [
            await house.http.request(method, f"/api/sessions/{name}", headers=other) for name in ("s1", "none")
        ]
        assert {answer.status_code for answer in answers} == {404}
        assert answers[0].content == answers[1].content
    assert await names(house, other) == []
    assert await names(house, mine) == ["s1"]
    assert (await house.http.get("/api/sessions/s1")).status_code == 401


async def test_a_users_session_is_that_users(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    house = await make_house(**engine)
    for user in ("ann", "ben"):
        await say(house, headers={"x-sayonce-scope": "user", "x-sayonce-user": user})
    heard = await record(house, tone(), scope="user", user="ann")
    assert len(await turns(house, scope="user", user="ann")) == 2
    assert len(await turns(house, headers={"x-sayonce-scope": "user", "x-sayonce-user": "ben"})) == 1
    assert (await house.http.get("/api/sessions/s1")).status_code == 404
    assert await names(house) == []
    assert await names(house, scope="user", user="ann") == ["s1"]
    row = f"/api/voice/{heard['content_hash']}"
    assert (await house.http.get(row, headers={"x-sayonce-user": "ben"})).status_code == 404
    assert (await house.http.get(row, headers={"x-sayonce-user": "ann"})).status_code == 200
    assert (await house.http.delete("/api/sessions/s1?scope=user&user=ann")).json()["turns"] == 2
    assert (len(files(house)), await names(house, scope="user", user="ben")) == (1, ["s1"])
    assert (await house.http.get("/api/sessions?scope=user")).json()["error"]["param"] == "user"


async def test_what_is_said_for_one_session_alone(house: House) -> None:
    first = await say(house, scope="session")
    other = await say(house, session="s2", scope="session")
    assert (first["content_hash"] != other["content_hash"], house.calls) == (True, 2)
    assert await names(house) == ["s2", "s1"]


@pytest.mark.parametrize(
    "name", ["a/b", "a/turns", "..", "ünï 🙂‍🙂", "x" * 200, "CON", "a\\b?c#d%2F", " ", '["default", null, "s1"]', "-"]
)
async def test_a_session_may_have_any_name(house: House, name: str) -> None:
    path = quote(name, safe="") if name != ".." else "%2E%2E/x"
    name = name if name != ".." else "../x"
    answer = await house.http.post(f"/api/sessions/{path}/turns", json={"text": TEXT})
    assert answer.json()["session"] == name
    assert (await shown(house, path))["session"] == name
    assert await names(house) == [name]
    (place,) = files(house)
    assert (place.count("/"), ".." in place.split("/")) == (5, False)
    assert (await house.http.delete(f"/api/sessions/{path}")).json()["turns"] == 1
    assert house.blobs() == []


# ── pages ────────────────────────────────────────────────────────────────────────────────────────


async def test_turns_come_in_pages(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    house = await make_house(**engine)
    audio = tone()
    for sequence in (4, 0, 9, 2, 5):
        await record(house, audio, sequence=sequence)
    seen, after = [], "-1"
    while after is not None:
        page = await shown(house, after=after, limit=2)
        assert page["totals"]["turns"] == 5
        seen.append([turn["sequence"] for turn in page["turns"]])
        after = page["next"]
    assert seen == [[0, 2], [4, 5], [9]]


async def test_sessions_come_latest_first(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    house = await make_house(**engine)
    audio = tone()
    for n, minute in enumerate((3, 1, 5, 1, 4)):
        await record(house, audio, f"s{n}", at=f"2026-11-21T09:{minute:02}:00.123457Z")
    await record(house, audio, "s0", at="2026-11-21T08:00:00Z")
    seen, after = [], {}
    while after is not None:
        page = (await house.http.get("/api/sessions", params={"limit": 2, **after})).json()
        seen += [(each["session"], each["turns"]) for each in page["sessions"]]
        after = page["next"] and {"after": page["next"]}
    assert seen == [("s2", 1), ("s4", 1), ("s0", 2), ("s3", 1), ("s1", 1)]


# ── what is refused, and bad days ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("query", "body", "param"),
    [
        ({}, b"nonsense" * 100, "body"),
        ({}, b"", "body"),
        ({}, tone()[:-500], "body"),
        ({"format": "mp3"}, tone(), "body"),
        ({"format": "mp9"}, tone(), "format"),
        ({"sequence": "-1"}, tone(), "sequence"),
        ({"sequence": "x"}, tone(), "sequence"),
        ({"at": "yesterday"}, tone(), "at"),
        ({"at": "2026-11-21T10:00:00"}, tone(), "at"),
        ({"at": "1969-01-01T00:00:00Z"}, tone(), "at"),
        ({"speaker": ""}, tone(), "speaker"),
        ({"scope": "user"}, tone(), "user"),
        ({"scope": "all"}, tone(), "scope"),
        ({"who": "me"}, tone(), "who"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_no_recording(house: House, query: Headers, body: bytes, param: str) -> None:
    answer = await post_audio(house, body, **query)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert (await house.rows(), house.blobs(), await names(house)) == (0, [], [])


async def test_a_recording_may_be_too_large(make_house: MakeHouse) -> None:
    house = await make_house(max_audio=10_000)
    refused = await post_audio(house, tone(WAV))
    assert refused.status_code == 413
    assert "Send a shorter recording, or raise SAYONCE_MAX_AUDIO." in refused.text


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"text": ""}, "text"),
        ({"text": "x", "format": "mp9"}, "format"),
        ({"text": "x", "session": "s2"}, "session"),
        ({"text": "x", "sequence": 2**40}, "sequence"),
        ({"text": "x", "sequence": True}, "sequence"),
        ({"text": "x", "colour": "red"}, "colour"),
        ({"speaker": "ann"}, "text"),
    ],
    ids=str,
)
async def test_no_turn(house: House, body: dict[str, Any], param: str) -> None:
    answer = await post(house, "s1", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert house.calls == 0


@pytest.mark.parametrize("after", [2**31, 9 * 10**18, 2 * 10**19, -2])
async def test_no_place_to_go_on_from(make_house: MakeHouse, engine: dict[str, Any], after: int) -> None:
    house = await make_house(**engine)
    await record(house, tone())
    answer = await house.http.get("/api/sessions/s1", params={"after": after})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "after")


async def test_a_turn_that_is_kept_for_no_time(house: House) -> None:
    answer = await post(house, "s1", {"x-sayonce-keep": "0"}, json={"text": TEXT})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "x-sayonce-keep")
    assert house.calls == 0


@pytest.mark.parametrize("kind", ["application/octet-stream", "text/plain", "application/x-www-form-urlencoded"])
async def test_audio_that_is_not_said_to_be(house: House, kind: str) -> None:
    answer = await post(house, "s1", {"content-type": kind}, content=tone())
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "content-type")
    assert (await post(house, "s1", {"content-type": kind}, content=b'{"text": "Said."}')).status_code == 200


async def test_turns_of_one_sequence_at_once(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    """One of them is the turn; who lost its place is told so, and tries again in vain no more."""
    house = await make_house(**engine)
    for n in range(4):
        asked = [{"text": f"Said {n}, for the {each}th.", "sequence": 5} for each in range(4)]
        heard = await asyncio.gather(*(post(house, f"c{n}", json=body) for body in asked))
        assert {answer.status_code for answer in heard} <= {200, 409}, [answer.text for answer in heard]
        assert {answer.json()["error"]["code"] for answer in heard if answer.status_code == 409} <= {"sequence_taken"}
        (turn,) = (await shown(house, f"c{n}"))["turns"]
        assert turn["text"] in [answer.json()["text"] for answer in heard if answer.status_code == 200]
        assert (await house.http.get(turn["url"])).status_code == 200


async def test_a_sessions_own_copy_comes_first(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    """Its storage's address names no other session."""
    house = await make_house(**engine)
    for name in ("one", "two", "three"):
        await say(house, session=name)
    for name in ("one", "two", "three"):
        found = await house.gateway.catalog.conversation(Session("default", name), -1, 10)
        assert found is not None
        assert f"/{name}/" in found[1][0].asset.blobs[0].path


@pytest.mark.parametrize("name", ["a%00b", "x" * 201, "a%09b"])
async def test_no_name_of_a_session(house: House, name: str) -> None:
    answer = await post(house, name, json={"text": TEXT})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "session")


@pytest.mark.parametrize(("headers", "caching"), [({"cache-control": "no-store"}, True), ({}, False)])
async def test_what_is_not_to_be_kept_is_no_turn(make_house: MakeHouse, headers: Headers, caching: bool) -> None:
    house = await make_house(caching=caching)
    for answer in (
        await post(house, "s1", headers, json={"text": TEXT}),
        await post_audio(house, tone(), "s1", headers),
    ):
        assert answer.status_code == 400
    assert house.calls == 0


async def test_only_what_is_kept(house: House) -> None:
    answer = await post(house, "s1", {"cache-control": "only-if-cached"}, json={"text": TEXT})
    assert (answer.status_code, house.calls) == (504, 0)
    assert await names(house) == []


async def test_a_turn_that_failed_leaves_no_gap(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    house = await make_house(attempts=1, **engine)
    await say(house, "First.")
    house.vendors.behave(status=500)
    assert (await post(house, "s1", json={"text": TEXT})).status_code == 503
    house.vendors.behave()
    assert (await say(house))["sequence"] == 2


async def test_who_speaks_in_anothers_place_is_archived_as_itself(make_house: MakeHouse) -> None:
    house = await make_house(before=("deepgram",), chain="openai,deepgram", attempts=1)
    house.vendors.behave(status=500)
    said = await say(house)
    assert (said["provider"], (await shown(house))["turns"][0]["content_hash"]) == ("deepgram", said["content_hash"])
    assert files(house) == [f"{PLACE}/s1/{said['content_hash']}.opus"]


async def test_an_implausible_turn_is_not_archived_at_first(house: House) -> None:
    house.vendors.behave(seconds=100.0)
    answers = [await post(house, "s1", json={"text": TEXT}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [502, 200]
    assert answers[0].json()["error"]["code"] == "broken_audio"
    assert (house.calls, await turns(house)) == (2, [(1, None, TEXT)])


async def test_while_nothing_can_be_written_a_turn_is_said_once(make_house: MakeHouse) -> None:
    house = await make_house()
    root = house.gateway.settings.data_dir / "audio"
    root.write_bytes(b"in the way")
    answer = await post(house, "s1", json={"text": TEXT})
    assert (answer.status_code, answer.headers["x-should-retry"]) == (503, "true")
    root.unlink()
    assert ((await say(house))["sequence"], house.calls) == (1, 1)


@pytest.mark.parametrize("template", ["turns/{digest}.{ext}", "turns/{session}/{recipe}", "{session}"])
async def test_a_template_that_cannot_tell_turns_apart(make_house: MakeHouse, template: str) -> None:
    with pytest.raises(InvalidSettings, match=r"Add \{hash\}"):
        await make_house(turn_path=template)


async def test_a_shared_file_stays_while_a_session_needs_it(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    """With a template that does not name the session."""
    house = await make_house(turn_path="turns/{tenant}/{hash}.{ext}", **engine)
    for session in ("s1", "s2"):
        await say(house, session=session)
    assert len(house.blobs()) == 1
    await house.http.delete("/api/sessions/s1")
    assert len(house.blobs()) == 1
    house.gateway.hot.clear()
    assert (await house.http.get((await shown(house, "s2"))["turns"][0]["url"])).status_code == 200
    await house.http.delete("/api/sessions/s2")
    assert house.blobs() == []
