"""Many listeners on one cold text, over all replicas."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from sayonce.testing.redis import RedisServer
from sayonce.testing.vendors import Gate
from tests.chaos.conftest import MakeFleet
from tests.chaos.fleet import Fleet
from tests.chaos.listeners import Listener
from tests.chaos.replicas import Replica
from tests.conftest import until

_TEXT = "One cold text, for which three hundred ask at once, wherever they happen to arrive, and which is paid once."
_MANY, _HALF = 300, 24_576


def crowd(fleet: Fleet, number: int = _MANY) -> list[Listener]:
    """So many listeners, one after the other at each replica."""
    return [Listener(_TEXT, [fleet.replicas[n % len(fleet.replicas)]]) for n in range(number)]


async def waiting(replicas: Sequence[Replica]) -> bool:
    """Whether each of them waits for another's flight."""
    return all([await each.count("sayonce_waits_for_others_total") for each in replicas])


async def test_without_redis_it_is_paid_once_and_heard_by_all(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet(3)
    gate = Gate(_HALF)
    fleet.vendors.behave(gate=gate)
    listeners = crowd(fleet)
    asking = [asyncio.create_task(each.listen()) for each in listeners]
    await until(lambda: sum(each.heard for each in listeners) >= _MANY // 3)
    flying = next(each.at for each in listeners if each.outcome == "miss")
    assert flying is not None
    await until(lambda: waiting(fleet.others(flying)))
    heard = [each for each in listeners if each.heard and each.at is not flying]
    assert heard == [], fleet.story(heard)  # nobody could have told them
    gate.open()
    await asyncio.gather(*asking)
    here = Counter(each.outcome for each in listeners if each.at is flying)
    elsewhere = Counter(each.outcome for each in listeners if each.at is not flying)
    assert here == {"miss": 1, "joined": _MANY // 3 - 1}
    assert elsewhere["joined"] + elsewhere["hit"] == _MANY - _MANY // 3, elsewhere
    assert fleet.calls == 1
    assert {bytes(each.audio) for each in listeners} == {fleet.speech(_TEXT)}
    assert await fleet.refuse_unsound(listeners) == 1


async def test_it_is_heard_everywhere_before_it_has_landed(make_fleet: MakeFleet, redis: RedisServer) -> None:
    fleet = await make_fleet(3, redis)
    gate = Gate(_HALF)
    fleet.vendors.behave(gate=gate)
    listeners = crowd(fleet)
    asking = [asyncio.create_task(each.listen()) for each in listeners]
    await until(lambda: all(each.heard for each in listeners))
    assert gate.waiting == 1, "it has not ended, so it cannot have landed"
    gate.open()
    await asyncio.gather(*asking)
    assert fleet.calls == 1
    assert Counter(each.outcome for each in listeners) == {"miss": 1, "joined": _MANY - 1}
    assert {bytes(each.audio) for each in listeners} == {fleet.speech(_TEXT)}
    assert await fleet.refuse_unsound(listeners) == 1
