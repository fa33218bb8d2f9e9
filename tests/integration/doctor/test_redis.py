"""What the doctor says of Redis."""

from __future__ import annotations

import asyncio

import pytest

from sayonce.app import running
from sayonce.checkup import redis as of_redis
from sayonce.errors import InvalidSettings
from sayonce.settings import load
from sayonce.testing.redis import RedisServer
from tests.integration.doctor.conftest import told


async def test_redis_is_asked(redis: RedisServer) -> None:
    found = await told(redis_url=redis.url())
    assert found["redis", "reached"].verdict == "ok"
    assert "redis" in found["clock", "time"].said, "its TIME was compared"
    redis.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    assert found.keys() < (found := await told(redis_url=redis.url())).keys()
    assert found["redis", "policy"].verdict == "warning"
    await asyncio.to_thread(redis.kill)
    found = await told(redis_url=redis.url())
    assert (found["redis", "reached"].verdict, "REDIS_URL" in found["redis", "reached"].remedy) == ("failed", True)


async def test_a_password_is_asked_for_and_never_told(redis: RedisServer) -> None:
    redis.ask("CONFIG", "SET", "requirepass", "the right one")
    url = redis.url().replace("://", "://:never-told@")
    found = await told(redis_url=url)
    assert "does not accept the user or the password" in found["redis", "reached"].said
    assert "never-told" not in str(found)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        "http://localhost",
        "redis://host:port",
        "redis:/x",
        "redis://host/abc",
        "me:secret@localhost",
    ],
)
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(InvalidSettings, match="redis_url: must be such as") as refused:
        load(redis_url=url)
    assert "secret" not in str(refused.value)


async def test_a_parameter_that_there_is_not() -> None:
    """The driver takes what stands behind the question mark for its own, and fails with it at each question."""
    url = "redis://localhost:1?pasword=never-told"
    found = await told(redis_url=url)
    assert "has a parameter that there is not" in found["redis", "set up"].said
    with pytest.raises(InvalidSettings, match="has a parameter that there is not") as refused:
        async with running(load(redis_url=url)):
            pass
    assert "never-told" not in str(refused.value)


async def test_a_database_that_is_not_there(redis: RedisServer) -> None:
    found = await told(redis_url=redis.url(77))
    assert "no database of that number" in found["redis", "reached"].said


@pytest.mark.parametrize(
    ("told_of_itself", "what"),
    [({"redis_version": "6.0.16"}, "version"), ({"redis_version": "7.2.0", "role": "slave"}, "role")],
)
def test_what_it_says_of_itself(told_of_itself: dict[str, str], what: str) -> None:
    assert {each.what: each.verdict for each in of_redis.of(told_of_itself)}[what] == "failed"
