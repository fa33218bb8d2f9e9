"""Redis is lost, slow, emptied or never there: whoever listens hears it all, and nobody is paid twice."""

from __future__ import annotations

import asyncio

import pytest

from sayonce.testing.redis import RedisServer
from sayonce.testing.vendors.behaviour import Gate
from tests.conftest import House, MakeHouse, until
from tests.integration.replicas.conftest import TEXT, Listening, Replicas, hold, listen

Two = tuple[House, House]


async def both_hear_some(replicas: Two, **body: str) -> tuple[Gate, Listening, Listening]:
    """A flight on the first, heard on both, held in the middle."""
    here, there = replicas
    gate = hold(here)
    first = listen(here, **body)
    await first.began.wait()
    second = listen(there, **body)
    await second.began.wait()
    return gate, first, second


async def heard_whole(first: Listening, second: Listening, here: House) -> None:
    assert await first.answer == await second.answer
    assert here.calls == 1


async def test_killed_and_started_again(replicas: Two, redis: RedisServer) -> None:
    gate, first, second = await both_hear_some(replicas)
    redis.kill()
    redis.start()
    gate.open()
    await heard_whole(first, second, replicas[0])


async def test_emptied(replicas: Two, redis: RedisServer) -> None:
    gate, first, second = await both_hear_some(replicas)
    redis.ask("FLUSHALL")
    gate.open()
    await heard_whole(first, second, replicas[0])


async def test_frozen_for_a_while(replicas: Two, redis: RedisServer) -> None:
    gate, first, second = await both_hear_some(replicas)
    redis.pause()
    gate.open()
    await first.answer  # who flies is not held up
    redis.resume()
    await heard_whole(first, second, replicas[0])


@pytest.mark.parametrize("name", ["mp3", "wav", "flac", "pcm"])
async def test_gone_for_good(replicas: Two, redis: RedisServer, name: str) -> None:
    """The rest comes from what was kept. Its header tells its length, which the stream's did not."""
    gate, first, second = await both_hear_some(replicas, response_format=name)
    redis.kill()
    gate.open()
    await heard_whole(first, second, replicas[0])


async def test_frozen_from_before_the_first_to_after_the_last(replicas: Two, redis: RedisServer) -> None:
    here, there = replicas
    redis.pause()
    here.vendors.behave(pace=0.05, piece=4_096, seconds=8)
    first = listen(here)
    await until(lambda: here.calls)
    second = listen(there)
    await heard_whole(first, second, here)
    redis.resume()


async def test_never_there(make_house: MakeHouse, postgres: str, redis: RedisServer) -> None:
    redis.kill()
    here, there = [await make_house(database_url=postgres, redis_url=redis.url()) for _ in range(2)]
    here.vendors.behave(pace=0.02, piece=4_096, seconds=8)
    first = listen(here)
    await until(lambda: here.calls)
    await heard_whole(first, listen(there), here)
    health = (await here.http.get("/api/health")).json()
    assert health["parts"] == {"gateway": "ok", "catalog": "ok", "storage": "ok", "redis": "cluster_unavailable"}
    assert health["status"] == "degraded"
    assert (await here.http.get("/api/health/ready")).status_code == 200  # what it speaks, it keeps
    redis.start()
    await until(lambda: _redis_is_well(here))


async def _redis_is_well(house: House) -> bool:
    told = (await house.http.get("/api/health")).json()
    assert "sayonce_redis_up" in (await house.http.get("/metrics")).text
    return bool(told["parts"]["redis"] == "ok")


async def test_a_deletion_is_told_at_once(make_replicas: Replicas) -> None:
    here, there = await make_replicas(poll_seconds=30.0)
    answers = [await house.speak(TEXT) for house in (here, there)]
    name = answers[0].headers["x-content-hash"]
    assert there.gateway.hot.get(bytes.fromhex(name))
    await here.http.delete(f"/api/voice/{name}")
    await until(lambda: not there.gateway.hot.get(bytes.fromhex(name)))
    assert (await there.speak(TEXT)).outcome == "miss"


async def test_a_memory_that_all_share(make_replicas: Replicas, redis: RedisServer) -> None:
    here, there = await make_replicas(shared_keep=60.0)
    first = await here.speak(TEXT)
    (blob,) = here.blobs()
    blob.rename(blob.with_suffix(".away"))
    assert (await there.speak(TEXT)).audio == first.audio  # nobody asked the storage
    blob.with_suffix(".away").rename(blob)
    await here.http.delete(f"/api/voice/{first.headers['x-content-hash']}")
    assert b"audio" not in redis.ask("KEYS", "*")


async def test_a_memory_that_lies_is_not_believed(make_replicas: Replicas, redis: RedisServer) -> None:
    here, there = await make_replicas(shared_keep=60.0)
    first = await here.speak(TEXT)
    key = next(line for line in redis.ask("KEYS", "*audio*").decode().split() if "audio" in line)
    redis.ask("SET", key, "garbage")
    assert (await there.speak(TEXT)).audio == first.audio


async def test_turns_at_a_vendor_are_shared(make_replicas: Replicas) -> None:
    here, there = await make_replicas(upstreams={"openai": {"concurrency": 2}})
    here.vendors.behave(first_byte=0.1)
    answers = await asyncio.gather(*(house.speak(f"{TEXT} {n}") for n in range(6) for house in (here, there)))
    assert {answer.status for answer in answers} == {200}
    assert (here.calls, here.vendors.counts.most_at_once) == (6, 2)


async def test_without_redis_each_counts_for_itself(make_replicas: Replicas, redis: RedisServer) -> None:
    here, there = await make_replicas(upstreams={"openai": {"concurrency": 1}}, miss_limit="3/minute")
    redis.kill()
    here.vendors.behave(first_byte=0.1)
    answers = await asyncio.gather(*(house.speak(f"{n} {house.url}") for n in range(3) for house in (here, there)))
    assert {answer.status for answer in answers} == {200}
    assert here.vendors.counts.most_at_once <= 2
    assert (await here.speak("One more.")).status == 429


async def test_what_is_spoken_anew_is_limited_over_all(make_replicas: Replicas) -> None:
    here, there = await make_replicas(miss_limit="3/minute")
    for n, house in enumerate((here, there, here)):
        assert (await house.speak(f"{TEXT} {n}")).status == 200
    refused = await there.speak(f"{TEXT} 3")
    assert refused.status == 429
    assert 0 < int(refused.headers["retry-after"]) <= 120
    assert (await there.speak(f"{TEXT} 0")).outcome == "hit"


async def test_what_no_sayonce_has_said_is_not_heard(make_replicas: Replicas, redis: RedisServer) -> None:
    here, there = await make_replicas()
    here.vendors.behave(first_byte=0.5, pace=0.05, piece=4_096, seconds=8)
    first = listen(here)
    await until(lambda: b"flight" in redis.ask("KEYS", "*flight*"))
    key = next(line for line in redis.ask("KEYS", "*flight*").decode().split() if "flight" in line)
    redis.ask("XADD", key, "*", "at", "many", "data", "garbage")
    redis.ask("XADD", key, "*", "nothing", "known")
    await heard_whole(first, listen(there), here)
