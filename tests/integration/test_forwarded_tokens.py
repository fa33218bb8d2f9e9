"""Whose token a storage that acts for its callers gets to see, and that nobody and nothing else does."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from sayonce.access import keys
from sayonce.access.callers import Role
from sayonce.catalog.records import Tenant
from sayonce.errors import CallerRefused, InvalidSettings, StorageError, StorageUnavailable
from sayonce.resting import Resting
from sayonce.settings import load
from sayonce.testing.databricks import READ, VOLUME, WRITE, FakeDatabricks
from sayonce.testing.servers import serving
from tests.conftest import House, MakeHouse
from tests.integration.lane.conftest import exchange

HEADER = "X-Forwarded-Access-Token"
TEXT = "Hello there, my friend."


@dataclass
class App:
    """A gateway as on Databricks Apps: it has a key, and keeps its audio in a volume."""

    house: House
    workspace: FakeDatabricks
    key: str

    def headers(self, user: str | None, token: str | None, header: str = HEADER) -> dict[str, bytes]:
        given = {"authorization": f"Bearer {self.key}", "x-sayonce-user": user, header: token}
        return {name: value.encode("latin-1") for name, value in given.items() if value}

    async def speak(self, user: str = "ann", token: str | None = None, text: str = TEXT) -> httpx.Response:
        asked = {"text": text, "thread_id": "t1", "message_id": "m1", "save_to_volume": True}
        answer = await self.house.http.post("/api/tts/speak", json=asked, headers=self.headers(user, token))
        assert answer.status_code == 200
        assert len(answer.content) > 1_000
        await self.house.gateway.engine.land_all(30)
        return answer

    async def outcome(self, user: str = "ann", token: str | None = None, text: str = TEXT) -> str:
        return (await self.speak(user, token, text)).headers["x-tts-cache"]

    def uploads(self) -> dict[str, str | None]:
        """Who has uploaded each file of audio."""
        puts = self.workspace.called("PUT", "/fs/files")
        return {call.path.rpartition(f"{VOLUME}/")[2]: call.who for call in puts if call.path.endswith(".mp3")}


MakeApp = Callable[..., Awaitable[App]]


@pytest.fixture
async def make_app(make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeApp]:
    workspace = FakeDatabricks()
    workspace.people |= {"token-ann": "ann", "token-bob": "bob", "token-eve": "eve"}
    workspace.volume(ann=(READ, WRITE), bob=(READ, WRITE), eve=(READ,))
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", "as-apps-have-it")
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", "as-apps-have-it")
    async with serving(workspace) as url:

        async def make(**settings: Any) -> App:
            given = {
                "storage": "databricks://",
                "databricks_host": url,
                "databricks_token": "dapi-service",
                "databricks_volume": VOLUME,
                "forwarded_token_header": HEADER,
            }
            house = await make_house(**(given | settings))
            await house.gateway.catalog.put_tenant(Tenant("default"))
            _, key = await keys.create(house.gateway.catalog, "default", "", [Role.SPEAK], lambda: 0.0)
            house.gateway.gate.forget_all()
            return App(house, workspace, key)

        yield make


@pytest.fixture
async def app(make_app: MakeApp) -> App:
    return await make_app()


async def test_the_upload_is_the_callers_and_else_the_services(app: App) -> None:
    assert await app.outcome("ann", "token-ann") == "miss"
    assert await app.outcome("carl") == "miss"
    assert app.uploads() == {"tts_audio/ann/t1/m1.mp3": "ann", "tts_audio/carl/t1/m1.mp3": "service"}
    assert app.workspace.called("PUT", "/tts_audio/ann", "service") == []


async def test_two_callers_at_once(app: App) -> None:
    app.house.vendors.behave(first_byte=0.05)
    callers = [("ann", "token-ann"), ("bob", "token-bob"), ("carl", None)] * 3
    await asyncio.gather(*(app.outcome(user, token, f"{TEXT} {n}") for n, (user, token) in enumerate(callers)))
    for who, folder in (("ann", "ann"), ("bob", "bob"), ("service", "carl")):
        assert {call.who for call in app.workspace.called(path=f"/tts_audio/{folder}")} == {who}


async def test_the_read_is_the_callers(make_app: MakeApp) -> None:
    spoken = await (await make_app()).speak("ann", "token-ann")
    again = await make_app(memory=0)
    again.workspace.calls.clear()
    assert await again.outcome("ann", "token-bob") == "hit"
    assert {call.who for call in again.workspace.calls} == {"bob"}
    path = f"/audio/{spoken.headers['x-content-hash']}.mp3"
    for token, status in (("token-expired", 403), ("token-ann", 200)):
        answer = await again.house.http.get(path, headers=again.headers("ann", token))
        assert answer.status_code == status
        assert status == 200 or answer.json()["error"]["code"] == "storage_caller_refused"


async def test_without_the_setting_the_header_means_nothing(make_app: MakeApp) -> None:
    app = await make_app(forwarded_token_header="")
    assert await app.outcome("ann", "token-ann") == "miss"
    assert app.uploads() == {"tts_audio/ann/t1/m1.mp3": "service"}


async def test_the_next_request_of_a_connection_is_not_the_last_ones(app: App) -> None:
    """A proxy's connection is many callers'. Pipelined, a request even begins in the last one's task."""

    def request(user: str, token: str | None, *more: str) -> bytes:
        asked = {"text": f"{TEXT} {user}", "thread_id": "t1", "message_id": "m1", "save_to_volume": True}
        body = json.dumps(asked).encode()
        lines = ["POST /api/tts/speak HTTP/1.1", "host: localhost", f"content-length: {len(body)}", *more]
        lines += [f"{name}: {value.decode()}" for name, value in app.headers(user, token).items()]
        return "\r\n".join([*lines, "", ""]).encode() + body

    both = request("ann", "token-ann") + request("carl", None, "connection: close")
    told = await exchange(app.house, both)
    assert told.count(b"HTTP/1.1 200 OK") == 2
    await app.house.gateway.engine.land_all(30)
    assert app.uploads() == {"tts_audio/ann/t1/m1.mp3": "ann", "tts_audio/carl/t1/m1.mp3": "service"}


async def test_whom_the_volume_refuses_is_no_trouble_to_others(app: App) -> None:
    """Eve hears what is spoken for her, and only hers is not kept."""
    assert await app.outcome("eve", "token-eve") == "miss"
    assert app.house.gateway.shelf.writable, "nothing is capped for anybody"
    assert await app.outcome("ann", "token-ann") == "miss"
    assert (app.house.calls, await app.house.rows()) == (2, 1)
    assert [name for name in app.workspace.files if name.endswith(".mp3")] == [f"{VOLUME}/tts_audio/ann/t1/m1.mp3"]
    assert await app.outcome("ann", "token-expired") == "hit", "memory has it, and asks nobody"


@pytest.mark.parametrize(("refusal", "rests"), [(CallerRefused, False), (StorageUnavailable, True)])
def test_a_refused_caller_does_not_put_a_storage_to_rest(refusal: type[StorageError], rests: bool) -> None:
    """However long the storage thought about it."""
    now = [0.0]
    resting = Resting(lambda: now[0])
    with pytest.raises(refusal), resting.heeded():
        now[0] += 0.9
        raise refusal("No.", backend="databricks")
    with pytest.raises(StorageUnavailable) if rests else nullcontext(), resting.heeded():
        pass


async def test_anothers_token_opens_nothing_that_memory_holds(app: App) -> None:
    """Whose audio it is the catalog says, and no token does."""
    spoken = await app.speak("ann", "token-ann")
    path = f"/audio/{spoken.headers['x-content-hash']}.mp3"
    app.workspace.calls.clear()
    asked = {user: await app.house.http.get(path, headers=app.headers(user, "token-ann")) for user in ("ann", "bob")}
    assert {user: answer.status_code for user, answer in asked.items()} == {"ann": 200, "bob": 404}
    assert await app.outcome("bob", "token-ann") == "miss"


@pytest.mark.parametrize("header", [HEADER, "X-Request-Id", "X-Forwarded-For", "X-Api-Token"])
async def test_the_lane_never_answers_who_forwards_a_token(make_app: MakeApp, header: str) -> None:
    """Whatever the header is called: some mean nothing to the lane otherwise."""
    app = await make_app(forwarded_token_header=header)
    metrics = app.house.gateway.watch.metrics

    async def ask(token: str | None) -> str:
        asked = {"model": "tts-1", "voice": "nova", "input": TEXT}
        headers = app.headers(None, token, header)
        answer = await app.house.http.post("/v1/audio/speech", json=asked, headers=headers)
        await app.house.gateway.engine.land_all(30)
        return answer.headers["x-tts-cache"]

    for token in (None, "token-ann"):
        assert [await ask(token) for _ in range(4)] == ["hit" if token else "miss", "hit", "hit", "hit"]
    assert sum(metrics.lane_answered.values()) == 2, "the third and the fourth without a token"
    assert sum(n for (_, why), n in metrics.lane_declined.items() if why == "header") == 4


async def test_readiness_is_the_services(app: App) -> None:
    for token in (None, "token-eve", "token-expired"):
        ready = await app.house.http.get("/api/health/ready", headers=app.headers(None, token))
        assert (ready.status_code, ready.json()["parts"]["storage"]) == (200, "ok")
    assert {call.who for call in app.workspace.calls} == {"service"}


@pytest.mark.parametrize("token", ["token-ann", "token-eve", "token-expired", "token two words", "token-\xfc"])
async def test_the_token_is_told_nowhere(
    app: App, token: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answers = [await app.speak("ann", token) for _ in range(2)]
    path = f"/audio/{answers[0].headers['x-content-hash']}.mp3"
    answers.append(await app.house.http.get(path, headers=app.headers("ann", token)))
    answers.append(await app.house.http.get("/metrics", headers=app.headers("ann", token)))
    assert caplog.records
    told = [caplog.text.encode(), repr([record.__dict__ for record in caplog.records]).encode()]
    told += [answer.content + repr(answer.headers).encode() for answer in answers]
    told += [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    told += [file.data for file in app.workspace.files.values()]
    assert any(b"catalog.db" in str(file).encode() for file in tmp_path.rglob("*"))
    for each in told:
        assert token.encode("latin-1") not in each
        assert token.encode() not in each


@pytest.mark.parametrize("name", ["X Token", "X-Token:", "ünï"])
def test_a_name_that_no_header_can_have(name: str) -> None:
    with pytest.raises(InvalidSettings, match="forwarded_token_header"):
        load(forwarded_token_header=name)
