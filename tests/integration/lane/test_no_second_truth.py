"""Whatever changes behind a request that the lane has learnt: the next one gets what the whole way gives."""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import pytest

from sayonce.access import keys
from sayonce.access.callers import Role
from sayonce.api.echoes import Echo
from sayonce.cache.answers import Whole
from sayonce.cache.orders import Clip, Order
from sayonce.catalog.records import Asset, Tenant
from tests.conftest import until
from tests.integration.lane.conftest import SPEECH, MakeWays, Ways, told

PATH = "/v1/audio/speech"


@dataclass
class Keyed:
    """A gateway with a key, before a request that its lane has learnt."""

    ways: Ways
    key_id: str
    headers: dict[str, str]

    async def ask(self, **body: Any) -> httpx.Response:
        return await self.ways.lane.http.post(PATH, json=SPEECH | body, headers=self.headers)

    async def learn(self, **body: Any) -> httpx.Response:
        return await self.ways.learn("POST", PATH, json=SPEECH | body, headers=self.headers)

    async def changes(self, what: Callable[[httpx.Response], bool]) -> httpx.Response:
        """The first answer of that kind; none may come after it but such."""

        async def seen() -> httpx.Response | None:
            answer = await self.ask()
            return answer if what(answer) else None

        found: httpx.Response = await until(seen)
        assert what(await self.ask())
        return found


MakeKeyed = Callable[..., Awaitable[Keyed]]


@pytest.fixture
async def make_keyed(make_ways: MakeWays) -> MakeKeyed:
    async def make(tenant: Tenant | None = None, **settings: Any) -> Keyed:
        ways = await make_ways(**settings)
        catalog = ways.lane.gateway.catalog
        await catalog.put_tenant(tenant or Tenant("acme"))
        row, key = await keys.create(catalog, (tenant or Tenant("acme")).id, "", [Role.SPEAK], time.time)
        for house in (ways.lane, ways.whole):
            await house.gateway.feed.read()
            house.gateway.gate.forget_all()
        return Keyed(ways, row.id, {"authorization": f"Bearer {key}"})

    return make


@pytest.fixture
async def keyed(make_keyed: MakeKeyed) -> Keyed:
    keyed = await make_keyed()
    await keyed.learn()
    return keyed


async def test_the_key_is_revoked(keyed: Keyed) -> None:
    await keyed.ways.lane.gateway.catalog.revoke_key(keyed.key_id)
    await keyed.changes(lambda answer: answer.status_code == 401)


async def test_a_key_is_revoked_while_its_request_is_under_way(
    make_keyed: MakeKeyed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was let in when it set out is not who is remembered when it has come back."""
    keyed = await make_keyed(poll_seconds=600)
    await keyed.ask()
    engine, gate = keyed.ways.lane.gateway.engine, keyed.ways.lane.gateway.gate
    recall = engine.recall

    def recall_and_forget(order: Order) -> Whole | None:
        gate.forget(key_id=keyed.key_id)
        return recall(order)

    monkeypatch.setattr(engine, "recall", recall_and_forget)
    assert (await keyed.ask()).headers["x-tts-cache"] == "hit"
    monkeypatch.undo()
    await keyed.ask()
    assert (keyed.ways.answered, keyed.ways.declined[("openai", "caller")]) == (0, 1)


async def test_the_tenant_is_disabled(keyed: Keyed) -> None:
    await keyed.ways.lane.gateway.catalog.put_tenant(Tenant("acme", disabled=True))
    await keyed.changes(lambda answer: answer.status_code == 403)


async def test_the_tenants_chain_is_changed(make_keyed: MakeKeyed) -> None:
    keyed = await make_keyed(
        before=("deepgram",), chain="openai,deepgram", voices={"openai/nova": {"deepgram": "aura-asteria-en"}}
    )
    body = {"text": SPEECH["input"], "thread_id": "t", "message_id": "m", "save_to_volume": True}
    headers = keyed.headers | {"x-sayonce-user": "ann"}
    first = await keyed.ways.learn("POST", "/api/tts/speak", json=body, headers=headers)
    assert first.headers["x-tts-provider"] == "openai"
    await keyed.ways.lane.gateway.catalog.put_tenant(Tenant("acme", chain=("deepgram", "openai")))

    async def other() -> bool:
        answer = await keyed.ways.lane.http.post("/api/tts/speak", json=body, headers=headers)
        return answer.headers["x-tts-provider"] == "deepgram"

    await until(other)


async def test_the_limit_is_used_up(make_keyed: MakeKeyed) -> None:
    keyed = await make_keyed(Tenant("acme", rate=0.001, burst=8))
    answers = [await keyed.ask() for _ in range(12)]
    assert [answer.status_code for answer in answers] == [200] * 8 + [429] * 4
    assert keyed.ways.answered > 3
    assert keyed.ways.declined[("openai", "limit")] == 4


async def test_the_budget_is_spent(make_keyed: MakeKeyed) -> None:
    keyed = await make_keyed(Tenant("acme", budget=0.0004), upstreams={"openai": {"price": 15}})
    await keyed.learn()
    assert (await keyed.ask(input="Another text, that is not paid for.")).status_code == 429
    before = keyed.ways.answered
    assert ((await keyed.ask()).headers["x-tts-cache"], keyed.ways.answered) == ("hit", before + 1), (
        "hits cost nothing"
    )


async def test_the_asset_is_deleted(keyed: Keyed) -> None:
    name = (await keyed.ask()).headers["x-content-hash"]
    assert (await keyed.ways.lane.http.delete(f"/api/voice/{name}", headers=keyed.headers)).status_code == 200
    assert (await keyed.ask()).headers["x-tts-cache"] == "miss"


async def test_the_asset_is_deleted_elsewhere(keyed: Keyed) -> None:
    name = (await keyed.ask()).headers["x-content-hash"]
    assert (await keyed.ways.whole.http.delete(f"/api/voice/{name}", headers=keyed.headers)).status_code == 200
    await until_miss(keyed)


async def until_miss(keyed: Keyed) -> None:
    async def missed() -> bool:
        return (await keyed.ask()).headers["x-tts-cache"] == "miss"

    await until(missed)


async def test_the_asset_is_refreshed(keyed: Keyed) -> None:
    old = await keyed.ask()
    keyed.ways.lane.vendors.behave(seconds=3.0)
    anew = await keyed.ways.lane.http.post(PATH, json=SPEECH, headers=keyed.headers | {"cache-control": "no-cache"})
    assert anew.content != old.content
    for _ in range(4):
        assert (await keyed.ask()).content == anew.content
    assert (await keyed.learn()).content == anew.content


async def test_the_asset_expires(make_keyed: MakeKeyed) -> None:
    now = [time.time()]
    keyed = await make_keyed(clock=lambda: now[0], keep="1h")
    await keyed.learn()
    now[0] += 3_601
    assert (await keyed.ask()).headers["x-tts-cache"] == "miss"


async def test_a_variant_is_deleted(keyed: Keyed) -> None:
    await keyed.learn(response_format="wav")
    name = (await keyed.ask()).headers["x-content-hash"]
    assert (await keyed.ways.lane.http.delete(f"/api/voice/{name}", headers=keyed.headers)).status_code == 200
    assert (await keyed.ask(response_format="wav")).headers["x-tts-cache"] == "miss", "it goes with its recipe"


async def test_the_provider_is_back_after_a_fallback(make_keyed: MakeKeyed) -> None:
    keyed = await make_keyed(
        before=("deepgram",),
        chain="openai,deepgram",
        voices={"openai/nova": {"deepgram": "aura-asteria-en"}},
        attempts=1,
        breaker_failures=99,
    )
    vendor = keyed.ways.lane.vendors.openai
    vendor.behave(status=503)
    for _ in range(5):
        assert (await keyed.ask()).headers["x-tts-provider"] == "deepgram"
    assert keyed.ways.answered == 0, "what a substitute said is not learnt"
    vendor.behave()
    assert (await keyed.ask()).headers["x-tts-provider"] == "openai"
    assert (await keyed.learn()).headers["x-tts-provider"] == "openai"


async def test_the_blob_is_lost(keyed: Keyed) -> None:
    """Memory still has it, whichever way."""
    for blob in keyed.ways.lane.blobs():
        blob.unlink()
    assert told(await keyed.ask()) == told(await keyed.ask())
    assert (await keyed.ask()).headers["x-tts-cache"] == "hit"


async def test_the_change_log_cannot_be_read(keyed: Keyed, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keyed.ways.answered
    monkeypatch.setattr(type(keyed.ways.lane.gateway.feed), "lag", 6.0)
    assert (await keyed.ask()).status_code == 200
    assert (keyed.ways.answered, keyed.ways.declined[("openai", "deaf")]) == (before, 1)


async def test_a_signed_url_ends(make_ways: MakeWays) -> None:
    now = [time.time()]
    ways = await make_ways(clock=lambda: now[0], url_seconds=100)
    said = (await ways.lane.http.post("/api/voice", json={"text": "Hello there, my friend."})).json()
    path = said["url"].removeprefix(ways.lane.url)
    ages = []
    for _ in range(2):
        answer = await ways.learn("GET", path)
        ages.append(int(answer.headers["cache-control"].partition("max-age=")[2].partition(",")[0]))
        now[0] += 40
    assert 39 <= ages[0] - ages[1] <= 41, "it tells what is left"
    now[0] += 40
    before = ways.answered
    assert (await ways.lane.http.get(path)).status_code == 404
    assert ways.answered == before


async def test_what_memory_lets_go_the_lane_does_not_hold(keyed: Keyed) -> None:
    """An asset has its text and its marks: thousands of them would be more than all of the memory's audio."""
    said = (await keyed.ways.lane.http.post("/api/voice", json={"text": "Hello."}, headers=keyed.headers)).json()
    await keyed.ways.learn("GET", said["url"].removeprefix(keyed.ways.lane.url))
    echoes = [each for each in gc.get_objects() if isinstance(each, Echo)]
    assert len(echoes) >= 2
    for echo in echoes:
        makers = [make for make in echo.repeat.fresh.values() if isinstance(make, partial)]
        held = [
            *gc.get_referents(echo),
            *gc.get_referents(echo.repeat),
            *(each for make in makers for each in make.args),
        ]
        assert not any(isinstance(each, Asset | Clip) for each in held)
