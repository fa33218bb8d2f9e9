"""The server of S3 goes away, or freezes, in the middle of load: everybody is served, and all is kept in the end."""

from __future__ import annotations

import pytest

from tests.chaos.buckets import Bucket
from tests.chaos.conftest import MakeFleet
from tests.chaos.load import Load
from tests.conftest import until

_REPLICAS = 2
_IMPATIENT = {"SAYONCE_STORAGE_PATIENCE": "1", "SAYONCE_STORAGES__SPEECH__TIMEOUT": "1"}


@pytest.mark.parametrize("how", ["gone", "frozen"])
async def test_in_the_middle_of_load(make_fleet: MakeFleet, bucket: Bucket, how: str) -> None:
    fleet = await make_fleet(_REPLICAS, **_IMPATIENT)
    warm, cold = fleet.replicas
    fleet.vendors.behave(first_byte=0.05, pace=0.02)
    async with Load([warm]) as load:
        await load.more(15)
        await until(lambda: fleet.vendors.counts.running)
        known = set(load.texts)
        getattr(bucket.relay, how)()
        load.replicas = [warm, cold]
        meanwhile = await load.more(40)
        bucket.relay.back()
        await load.more(40)
    assert "bypass" in {each.outcome for each in meanwhile}
    assert bucket.relay.refused + bucket.relay.left > 0
    assert {each.outcome for each in meanwhile if each.text in known and each.at is warm} == {"hit"}, "from memory"
    unread = {each.outcome for each in meanwhile if each.text in known and each.at is cold}
    assert "bypass" in unread, "what could not be read was spoken"
    await load.settle()
    assert await fleet.refuse_unsound(load.listeners, calls=_REPLICAS) == len(load.texts)
