"""What one replica receives is heard on the others, live."""

from __future__ import annotations

import httpx
import pytest

from sayonce.audio.formats import format_of
from sayonce.audio.probe import probe
from sayonce.testing.redis import RedisServer
from tests.conftest import House, until
from tests.integration.replicas.conftest import TEXT, Replicas, hold, listen

Two = tuple[House, House]


async def test_a_listener_elsewhere_hears_what_has_come_and_then_the_rest(replicas: Two) -> None:
    here, there = replicas
    gate = hold(here)
    first = listen(here)
    await first.began.wait()
    second = listen(there)
    await second.began.wait()
    gate.open()
    assert await first.answer == await second.answer
    assert (first.outcome, second.outcome, here.calls) == ("miss", "joined", 1)
    assert (await there.speak(TEXT)).outcome == "hit"


async def test_many_on_both_hear_one_generation(replicas: Two) -> None:
    here, there = replicas
    here.vendors.behave(first_byte=0.2, pace=0.02, seconds=4)
    heard = [listen(house) for house in (here, there) for _ in range(20)]
    bodies = {await each.answer for each in heard}
    assert (len(bodies), here.calls) == (1, 1)
    assert sorted(each.outcome or "" for each in heard) == ["joined"] * 39 + ["miss"]


@pytest.mark.parametrize("name", ["wav", "opus", "flac", "pcm"])
async def test_another_format_is_heard_live_elsewhere(replicas: Two, name: str) -> None:
    here, there = replicas
    gate = hold(here)
    first = listen(here)
    await first.began.wait()
    second = listen(there, response_format=name)
    await second.began.wait()
    gate.open()
    lengths = [probe(await each.answer, format_of(fmt)).duration for each, fmt in ((first, "mp3"), (second, name))]
    assert lengths[0] == pytest.approx(lengths[1], abs=0.15)
    assert here.calls == 1


async def test_a_failure_is_everybodys_once(make_replicas: Replicas) -> None:
    here, there = await make_replicas(attempts=1)
    here.vendors.behave(trouble="reset", first_byte=1.0)
    first = listen(here)
    await until(lambda: here.calls)
    second = listen(there)
    for each in (first, second):
        with pytest.raises(httpx.HTTPStatusError):
            await each.answer
    assert here.calls == 1


async def test_who_has_heard_some_of_a_broken_flight_is_cut_off(replicas: Two) -> None:
    here, there = replicas
    here.vendors.behave(trouble="cut", pace=0.05, piece=1_024, seconds=8)
    first, second = listen(here), listen(there)
    for each in (first, second):
        with pytest.raises(httpx.HTTPError):
            await each.answer
        assert each.heard
    assert here.calls == 1
    assert await here.rows() == 0


async def test_what_nobody_may_keep_does_not_enter_redis(replicas: Two, redis: RedisServer) -> None:
    here, _ = replicas
    gate = hold(here)
    first = listen(here, headers={"Cache-Control": "no-store"})
    await first.began.wait()
    assert b"flight" not in redis.ask("KEYS", "*")
    gate.open()
    await first.answer


async def test_a_refresh_waits_for_the_flight_and_then_speaks(replicas: Two) -> None:
    here, there = replicas
    gate = hold(here)
    first = listen(here)
    await first.began.wait()
    second = listen(there, headers={"Cache-Control": "no-cache"})
    await until(lambda: there.gateway.engine.flying)
    gate.open()
    assert await first.answer
    assert await second.answer
    assert (first.outcome, second.outcome, here.calls) == ("miss", "miss", 2)


async def test_a_late_listener_elsewhere_of_long_audio_waits_for_the_landing(replicas: Two) -> None:
    here, there = replicas
    here.vendors.behave(pace=0.001, piece=262_144, seconds=200)
    first = listen(here, TEXT * 25, response_format="wav")
    await until(lambda: len(first.heard) > 8_500_000)
    second = listen(there, TEXT * 25, response_format="wav")
    whole = await first.answer
    assert len(await second.answer) == len(whole)
    assert here.calls == 1


async def test_who_comes_after_a_refresh_that_waits_is_not_held_up_by_it(replicas: Two) -> None:
    here, there = replicas
    gate = hold(here)
    first = listen(here)
    await first.began.wait()
    anew = listen(there, headers={"Cache-Control": "no-cache"})
    await until(lambda: there.gateway.engine.flying)
    plain = listen(there)
    await plain.began.wait()
    gate.open()
    assert await plain.answer == await first.answer
    assert await anew.answer
    assert (plain.outcome, anew.outcome, here.calls) == ("joined", "miss", 2)
