"""The catalog is away: Redis decides who flies; without that, each replica flies once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from sayonce.testing.postgres import PostgresServer, postgres_server
from sayonce.testing.redis import RedisServer
from tests.conftest import House, until
from tests.integration.replicas.conftest import TEXT, Replicas, hold, listen

_ANEW = {"cache-control": "no-cache"}


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
async def two(own_postgres: PostgresServer, make_replicas: Replicas) -> tuple[House, House]:
    replicas = await make_replicas(database_url=own_postgres.url(own_postgres.create()))
    for house in replicas:
        assert (await house.speak("Known before.")).status == 200
    replicas[0].vendors.counts.calls = 0
    return replicas


async def test_one_speaks_and_all_hear(two: tuple[House, House], own_postgres: PostgresServer) -> None:
    here, there = two
    own_postgres.stop()
    here.vendors.behave(first_byte=0.5, pace=0.05, piece=4_096, seconds=6)
    heard = [listen(house) for house in (here, there) for _ in range(5)]
    bodies = {await each.answer for each in heard}
    assert (len(bodies), here.calls) == (1, 1)
    assert {each.outcome for each in heard} <= {"bypass", "joined"}
    assert (await there.speak(TEXT)).audio == bodies.pop()  # which heard it, and remembers
    assert here.calls == 1
    own_postgres.start()
    answers = [await until(lambda house=house: _hit(house)) for house in (here, there)]
    assert len({answer.audio for answer in answers}) == 1
    assert here.calls == 1
    kept = await there.gateway.shelf.find(bytes.fromhex(answers[0].headers["x-content-hash"]))
    assert kept is not None
    assert kept.text == TEXT


async def _hit(house: House) -> object:
    answer = await house.speak(TEXT)
    return answer if answer.outcome == "hit" else None


async def test_who_flew_before_it_went_is_heard(two: tuple[House, House], own_postgres: PostgresServer) -> None:
    here, there = two
    gate = hold(here)
    first = listen(here)
    await first.began.wait()
    own_postgres.stop()
    second = listen(there)
    await second.began.wait()
    gate.open()
    assert await first.answer == await second.answer
    assert here.calls == 1


async def test_who_flew_before_it_went_is_heard_to_the_end(
    two: tuple[House, House], own_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the giving back of its lease, of which only Redis learns, and its last word the catalog takes long."""
    here, there = two
    told = asyncio.Event()

    async def release(*_: object, **__: object) -> None:
        await told.wait()

    monkeypatch.setattr(here.gateway.catalog, "release", release)
    gate = hold(here)
    first = listen(here)
    await first.began.wait()
    own_postgres.stop()
    second = listen(there)
    await second.began.wait()
    gate.open()
    try:
        assert await second.answer == await first.answer
    finally:
        told.set()
    assert here.calls == 1


async def test_who_flies_when_it_is_back_is_waited_for(
    two: tuple[House, House], own_postgres: PostgresServer
) -> None:
    here, there = two
    own_postgres.stop()
    gate = hold(here)
    first = listen(here)
    await first.began.wait()
    own_postgres.start()
    second = listen(there)
    await second.began.wait()
    gate.open()
    assert await first.answer == await second.answer
    assert here.calls == 1


async def test_many_have_it_spoken_anew_at_once(two: tuple[House, House], own_postgres: PostgresServer) -> None:
    here, there = two
    own_postgres.stop()
    gate = hold(here)
    heard = [listen(house, headers=_ANEW) for house in two * 2]
    await asyncio.gather(*(each.began.wait() for each in heard))
    gate.open()
    assert len({await each.answer for each in heard}) == 1
    assert here.calls == 1
    await asyncio.gather(here.speak(TEXT, headers=_ANEW), there.speak(TEXT, headers=_ANEW))
    assert 2 <= here.calls <= 3, "what is over is not waited for, nor taken for the answer"


async def test_who_has_it_spoken_anew_waits_for_who_is_speaking(
    two: tuple[House, House], own_postgres: PostgresServer
) -> None:
    here, there = two
    own_postgres.stop()
    gate = hold(here)
    plain = listen(here)
    await plain.began.wait()
    anew = listen(there, headers=_ANEW)
    await until(lambda: there.gateway.engine.flying)
    gate.open()
    assert await plain.answer == await anew.answer  # this vendor says a text the same way each time
    assert (here.calls, anew.outcome) == (2, "bypass")


async def test_with_neither_each_replica_speaks_once(
    two: tuple[House, House], own_postgres: PostgresServer, redis: RedisServer
) -> None:
    here, there = two
    own_postgres.stop()
    redis.kill()
    here.vendors.behave(first_byte=0.3)
    answers = await asyncio.gather(*(house.speak(TEXT) for house in (here, there) for _ in range(5)))
    assert {answer.status for answer in answers} == {200}
    assert here.calls == 2
    assert {answer.outcome for answer in answers} <= {"bypass", "joined"}


async def test_what_could_not_land_is_remembered_where_it_was_heard_and_kept_by_itself(
    two: tuple[House, House], own_postgres: PostgresServer
) -> None:
    """The catalog goes while the first flies under its lease."""
    here, there = two
    gate = hold(here)
    first, second = listen(here), listen(there)
    await first.began.wait()
    await second.began.wait()
    own_postgres.stop()
    gate.open()
    bodies = {await first.answer, await second.answer}
    assert len(bodies) == 1
    for house in two:
        answer = await house.speak(TEXT)
        assert (answer.outcome, answer.audio) == ("bypass", next(iter(bodies)))
    own_postgres.start()
    await until(lambda: _rows(here, 2))  # nobody asks for it
    assert here.calls == 1


async def _rows(house: House, number: int) -> bool:
    return await house.rows() == number
