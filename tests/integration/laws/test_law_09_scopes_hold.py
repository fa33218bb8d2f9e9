"""Law 9: neither bytes nor counts cross a scope; what is not there and what is not yours are the same."""

from __future__ import annotations

import pytest

from sayonce.access import keys
from sayonce.access.callers import Role
from sayonce.catalog.records import Tenant
from tests.conftest import Heard, House, MakeHouse
from tests.integration.laws.test_law_06_a_hit_writes_nothing import watched


@pytest.fixture
async def guarded(make_house: MakeHouse) -> House:
    return await make_house(require_keys=True, flush_seconds=3600, poll_seconds=3600)


async def key_of(house: House, tenant: str, *roles: Role) -> dict[str, str]:
    """The header of a new key."""
    if await house.gateway.catalog.tenant(tenant) is None:
        await house.gateway.catalog.put_tenant(Tenant(tenant))
    _, key = await keys.create(house.gateway.catalog, tenant, "", roles or (Role.SPEAK,), lambda: 0.0)
    return {"authorization": f"Bearer {key}"}


async def test_tenants_do_not_share(guarded: House) -> None:
    one, two = await key_of(guarded, "one"), await key_of(guarded, "two")
    assert (await guarded.speak(headers=one)).outcome == "miss"
    assert (await guarded.speak(headers=two)).outcome == "miss"
    assert (await guarded.speak(headers=one)).outcome == "hit"
    stats = (await guarded.http.get("/api/cache-stats", headers=one)).json()["stats"]
    assert (stats["entries"], stats["misses"], stats["hits"]) == (1, 1, 1)
    assert "memory" not in stats


async def test_users_and_sessions_do_not_share(guarded: House) -> None:
    key = await key_of(guarded, "one")

    async def speak(**who: str) -> Heard:
        return await guarded.speak(headers=key, **who)

    assert (await speak(scope="user", user="ann")).outcome == "miss"
    assert (await speak(scope="user", user="bob")).outcome == "miss"
    assert (await speak(scope="user", user="ann")).outcome == "hit"
    assert (await speak(scope="session", session="ann")).outcome == "miss"
    assert (await speak()).outcome == "miss"
    assert (await speak(scope="user")).status == 400


async def test_shared_needs_its_role_and_is_everyones(guarded: House) -> None:
    one, two = await key_of(guarded, "one", Role.SPEAK, Role.SHARE), await key_of(guarded, "two")
    assert (await guarded.speak(headers=two, scope="shared")).status == 403
    shared = await guarded.speak(headers=one, scope="shared")
    assert shared.outcome == "miss"
    three = await key_of(guarded, "three", Role.SPEAK, Role.SHARE)
    assert (await guarded.speak(headers=three, scope="shared")).outcome == "hit"
    path = f"/audio/{shared.headers['x-content-hash']}.mp3"
    assert (await guarded.http.get(path, headers=two)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/voice/{}"), ("DELETE", "/api/voice/{}"), ("GET", "/audio/{}.mp3")]
)
async def test_not_there_and_not_yours_are_the_same(guarded: House, method: str, path: str) -> None:
    one, two = await key_of(guarded, "one"), await key_of(guarded, "two")
    theirs = (await guarded.speak(headers=one)).headers["x-content-hash"]
    guarded.gateway.hot.clear()
    await guarded.http.get("/v1/models", headers=two)
    asked = watched(guarded)
    told, lookups = [], []
    for content_hash in (theirs, "ab" * 32):
        asked.clear()
        answer = await guarded.http.request(method, path.format(content_hash), headers=two)
        told.append((answer.status_code, answer.content, sorted(answer.headers.keys())))
        lookups.append(list(asked))
    assert told[0] == told[1]
    assert lookups[0] == lookups[1]
    assert told[0][0] == 404
    assert (await guarded.http.get(f"/api/voice/{theirs}", headers=one)).status_code == 200


async def test_nothing_is_public_unless_its_tenant_says_so(guarded: House) -> None:
    one = await key_of(guarded, "one")
    spoken = (await guarded.http.post("/api/voice", json={"text": "Mine."}, headers=one)).json()
    bare = f"/audio/{spoken['content_hash']}.mp3"
    assert (await guarded.http.get(bare)).status_code == 404
    assert (await guarded.http.get(spoken["url"])).status_code == 200
    await guarded.gateway.catalog.put_tenant(Tenant("one", public=True))
    everybodys = await guarded.http.get(bare)
    assert (everybodys.status_code, everybodys.headers["cache-control"]) == (200, "public, no-cache")


async def test_anothers_user_is_not_served_by_the_url_of_a_row(guarded: House) -> None:
    key = await key_of(guarded, "one")
    ann = await guarded.speak(headers=key, scope="user", user="ann")
    row = f"/api/voice/{ann.headers['x-content-hash']}"
    assert (await guarded.http.get(row, headers=key)).status_code == 404
    assert (await guarded.http.get(row, headers=key | {"x-sayonce-user": "bob"})).status_code == 404
    assert (await guarded.http.get(row, headers=key | {"x-sayonce-user": "ann"})).status_code == 200


@pytest.mark.parametrize("key", [None, "Bearer", "Bearer nonsense", "Basic abc", "Bearer sayonce_" + "x" * 5000])
async def test_without_a_valid_key_nothing(guarded: House, key: str | None) -> None:
    headers = {} if key is None else {"authorization": key}
    for method, path in (
        ("POST", "/v1/audio/speech"),
        ("GET", "/v1/models"),
        ("GET", "/metrics"),
        ("POST", "/api/voice"),
    ):
        assert (await guarded.http.request(method, path, headers=headers)).status_code == 401
    assert guarded.calls == 0


async def test_admin_doors_need_the_role(guarded: House) -> None:
    speaker, admin = await key_of(guarded, "one"), await key_of(guarded, "one", Role.ADMIN)
    assert (await guarded.http.get("/metrics", headers=speaker)).status_code == 403
    assert (await guarded.http.get("/metrics", headers=admin)).status_code == 200
