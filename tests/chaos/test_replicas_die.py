"""The replica that flies is killed, or stopped for longer than its lease: nobody hears half of it for all of it, and
nothing is paid a third time."""

from __future__ import annotations

import asyncio
import re

import pytest

from sayonce.testing.redis import RedisServer
from tests.chaos.conftest import MakeFleet
from tests.chaos.fleet import Fleet
from tests.chaos.scene import AT_EACH, Scene
from tests.conftest import until

_TEXT = "A text whose speaker is taken away from it in the middle of a word, while others listen."
_SOME = 16_384
# How long a lease lasts, in seconds: longer than a busy machine keeps a replica from renewing it.
_LEASE = 4.0
_SHORT = {"SAYONCE_LEASE_SECONDS": str(_LEASE)}
# What waiting for a dead one's lease may take, beside the lease's life and one generation, on a busy machine.
_SLACK = 10.0


async def test_killed_in_mid_stream_without_redis(make_fleet: MakeFleet) -> None:
    scene = Scene(fleet := await make_fleet(3, **_SHORT), _TEXT, _SOME)
    await scene.begin()
    await until(lambda: all(each.heard for each in scene.own))
    killed = await kill_the_flying(fleet)
    await scene.end()
    assert all(each.aborted for each in scene.own)
    assert all(each.whole and each.refused == 0 for each in scene.remote)
    assert {each.ended - killed < _LEASE + _SLACK for each in scene.remote if each.ended} == {True}
    assert fleet.calls == 2
    assert await fleet.refuse_unsound(scene.listeners, calls=2, aborted=AT_EACH) == 1


async def test_killed_in_mid_stream(make_fleet: MakeFleet, redis: RedisServer) -> None:
    scene = Scene(fleet := await make_fleet(3, redis, **_SHORT), _TEXT, _SOME)
    await scene.begin()
    await until(lambda: all(each.heard for each in scene.listeners))
    killed = await kill_the_flying(fleet)
    await until(lambda: all(each.ended for each in scene.listeners))
    assert all(each.aborted for each in scene.listeners), "half of it was taken for all of it"
    late = [each for other in fleet.replicas[1:] for each in scene.ask(other)]
    await scene.end()
    assert all(each.whole for each in late)
    assert {each.ended - killed < _LEASE + _SLACK for each in scene.listeners if each.ended} == {True}
    assert fleet.calls == 2
    assert await fleet.refuse_unsound(scene.listeners, calls=2, aborted=3 * AT_EACH) == 1


async def test_who_comes_after_its_death_is_given_no_half_of_it(make_fleet: MakeFleet, redis: RedisServer) -> None:
    """Its lease has not ended, and what it had said is still in Redis."""
    scene = Scene(fleet := await make_fleet(3, redis, SAYONCE_LEASE_SECONDS="10"), _TEXT, _SOME)
    await scene.begin()
    await until(lambda: all(each.heard for each in scene.listeners))
    await kill_the_flying(fleet)
    await until(lambda: silence(redis) > 4.0)
    late = [each for other in fleet.replicas[1:] for each in scene.ask(other)]
    await scene.end()
    assert all(each.whole for each in late)
    assert fleet.calls == 2
    assert await fleet.refuse_unsound(scene.listeners, calls=2, aborted=3 * AT_EACH) == 1


def silence(redis: RedisServer) -> float:
    """For how many seconds nothing was said of any flight."""
    (key,) = re.findall(rb"sayonce:\S+:flight:\S+", redis.ask("KEYS", "*:flight:*"))
    (last,) = re.findall(rb"last-generated-id\s+\$\d+\s+(\d+)-", redis.ask("XINFO", "STREAM", key.decode()))
    now = re.findall(rb"\n(\d+)\r", redis.ask("TIME"))
    return int(now[0]) + int(now[1]) / 1e6 - int(last) / 1_000


@pytest.mark.parametrize("shared", [True, False], ids=["redis", "alone"])
async def test_killed_before_the_first_byte(make_fleet: MakeFleet, redis: RedisServer, shared: bool) -> None:
    scene = Scene(fleet := await make_fleet(3, redis if shared else None, **_SHORT), _TEXT, 0)
    await scene.begin()
    assert not any(each.heard for each in scene.listeners)
    killed = await kill_the_flying(fleet)
    await scene.end()
    assert all(each.whole for each in scene.listeners)
    assert [each.refused for each in scene.own] == [1] * AT_EACH, "a balancer would have asked another"
    assert {each.ended - killed < _LEASE + _SLACK for each in scene.listeners if each.ended} == {True}
    assert fleet.calls == 2
    assert await fleet.refuse_unsound(scene.listeners, calls=2) == 1


@pytest.mark.parametrize("shared", [True, False], ids=["redis", "alone"])
async def test_stopped_for_longer_than_its_lease(make_fleet: MakeFleet, redis: RedisServer, shared: bool) -> None:
    scene = Scene(fleet := await make_fleet(3, redis if shared else None, **_SHORT), _TEXT, _SOME)
    sleeper, *others = fleet.replicas
    await scene.begin()
    await until(lambda: all(each.heard for each in (scene.listeners if shared else scene.own)))
    sleeper.pause()
    fleet.vendors.behave(seconds=_OTHERWISE)
    await until(lambda: all(each.ended for each in scene.remote))
    fresh = [each for other in others for each in scene.ask(other)]
    await until(lambda: all(each.ended for each in fresh))
    sleeper.resume()
    scene.gate.open()
    await scene.end()
    await until(fleet.has_landed)
    again = [each for replica in fleet.replicas for each in scene.ask(replica)]
    await scene.end()
    first, second = fleet.speech(_TEXT), fleet.speech(_TEXT, _OTHERWISE)
    assert [bytes(each.audio) for each in scene.own] == [first] * AT_EACH, "what was paid for is heard"
    assert [each.aborted for each in scene.remote] == [shared] * 2 * AT_EACH
    assert {bytes(each.audio) for each in fresh + again} == {second}
    assert {each.outcome for each in again} == {"hit"}
    assert fleet.calls == 2
    aborted = 2 * AT_EACH if shared else 0
    assert await fleet.refuse_unsound(scene.listeners, calls=2, aborted=aborted, seconds=(None, _OTHERWISE)) == 1


# How long the vendor speaks in its second answer, in seconds.
_OTHERWISE = 5.0


async def kill_the_flying(fleet: Fleet) -> float:
    """Kills the first replica, which flies; when that was. What is asked of the vendor from now on is not held."""
    fleet.vendors.behave()
    await fleet.replicas[0].kill()
    return asyncio.get_running_loop().time()
