"""What is deleted, refreshed or revoked at one replica leaves the memory and the hot lane of every other."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest

from sayonce.testing.redis import RedisServer
from tests.chaos.conftest import MakeFleet
from tests.chaos.fleet import Fleet
from tests.conftest import DEADLINE, until
from tests.e2e.processes import command

_TEXT = "What was said once, and is to be said no more."
# How long the vendor speaks later on, in seconds: each time it can be told from the time before.
_SECOND, _THIRD = 3.5, 4.0
# How often a replica that has forgotten is asked again: it must not remember after all.
_AGAIN = 5


class Crowd:
    """Who asks every replica for one text in the very same words, over connections that stay open."""

    def __init__(self, fleet: Fleet, clients: dict[str, httpx.AsyncClient]) -> None:
        self.fleet = fleet
        self.clients = clients
        self.headers: dict[str, str] = {}

    async def ask(self, replica: str, **headers: str) -> httpx.Response:
        body = {"model": "tts-1", "voice": "nova", "input": _TEXT}
        sent = {**self.headers, **headers}
        return await self.clients[replica].post("/v1/audio/speech", json=body, headers=sent)

    async def learn(self, said: bytes) -> None:
        """Asks until every replica's lane answers."""
        for replica in self.fleet.replicas:
            before = await self._answered(replica.name)

            async def answered(name: str = replica.name, before: float = before) -> bool:
                assert (await self.ask(name)).content == said
                return await self._answered(name) > before

            await until(answered)

    async def hear(self, said: bytes) -> None:
        """Asks every replica until it says that, and a few times more."""
        for name in self.clients:
            await until(lambda name=name: self._says(name, said))
            for _ in range(_AGAIN):
                assert await self._says(name, said), "it remembered after all"

    async def _says(self, replica: str, said: bytes) -> bool:
        answer = await self.ask(replica)
        return answer.status_code == 200 and answer.content == said

    async def _answered(self, replica: str) -> float:
        page = (await self.clients[replica].get("/metrics", headers=self.headers)).text
        lines = [line for line in page.splitlines() if line.startswith("sayonce_lane_answered_total")]
        return sum(float(line.rpartition(" ")[2]) for line in lines)


@pytest.fixture(params=[True, False], ids=["redis", "alone"])
async def crowd(make_fleet: MakeFleet, redis: RedisServer, request: pytest.FixtureRequest) -> AsyncIterator[Crowd]:
    """Before two replicas, which share a memory where they share a Redis."""
    shared = {"SAYONCE_SHARED_KEEP": "600"} if request.param else {}
    fleet = await make_fleet(2, redis if request.param else None, **shared)
    async with AsyncExitStack() as stack:
        clients = {each.name: httpx.AsyncClient(base_url=each.url, timeout=DEADLINE) for each in fleet.replicas}
        for client in clients.values():
            await stack.enter_async_context(client)
        yield Crowd(fleet, clients)


async def test_deleted(crowd: Crowd) -> None:
    fleet = crowd.fleet
    await crowd.learn(fleet.speech(_TEXT))
    fleet.vendors.behave(seconds=_SECOND)
    here = crowd.clients["replica-0"]
    name = (await crowd.ask("replica-0")).headers["x-content-hash"]
    assert (await here.delete(f"/api/voice/{name}")).status_code == 200
    await crowd.hear(fleet.speech(_TEXT, _SECOND))
    assert fleet.calls == 2


async def test_refreshed(crowd: Crowd) -> None:
    fleet = crowd.fleet
    await crowd.learn(fleet.speech(_TEXT))
    for length, replica in ((_SECOND, "replica-0"), (_THIRD, "replica-1")):
        fleet.vendors.behave(seconds=length)
        answer = await crowd.ask(replica, **{"cache-control": "no-cache"})
        assert answer.content == fleet.speech(_TEXT, length)
        await crowd.hear(answer.content)
        await crowd.learn(answer.content)
    assert fleet.calls == 3


async def test_revoked(crowd: Crowd) -> None:
    fleet = crowd.fleet
    made = json.loads(await keys(fleet, "create", "--role", "speak", "--role", "admin", "--json"))
    crowd.headers = {"authorization": f"Bearer {made['key']}"}
    for name in crowd.clients:
        await until(lambda name=name: opens(crowd, name))
    await crowd.learn(fleet.speech(_TEXT))
    await keys(fleet, "revoke", made["id"])
    for name in crowd.clients:
        await until(lambda name=name: refused(crowd, name))
        assert {(await crowd.ask(name)).status_code for _ in range(_AGAIN)} == {401}


async def opens(crowd: Crowd, replica: str) -> bool:
    """Whether the key opens the gateway, and nothing else does."""
    nobody = (await crowd.clients[replica].get("/v1/models")).status_code
    return nobody == 401 and (await crowd.ask(replica)).status_code == 200


async def refused(crowd: Crowd, replica: str) -> bool:
    return (await crowd.ask(replica)).status_code == 401


async def keys(fleet: Fleet, *words: str) -> str:
    """What `sayonce keys` prints, beside the fleet."""
    code, out, err = await command("keys", *words, env=fleet.environment("beside"))
    assert code == 0, err
    return out
