"""The contract suites of what replicas share: subclass them, give them yours, and they test what it promises."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from sayonce.catalog.records import Held, Lease
from sayonce.cluster import failures
from sayonce.cluster.contract import Begun, Leases, Over, Relay
from sayonce.errors import FenceLost, ProviderError, ProviderUnavailable
from sayonce.speech.chunks import Chunk, Mark
from sayonce.speech.formats import MP3
from sayonce.testing.rows import wish
from sayonce.testing.waiting import until


class LeaseContract:
    """What holds of leases, wherever they are."""

    @pytest.fixture
    def leases(self) -> tuple[Leases, Leases]:
        """Two processes' leases, of a life of half a second."""
        raise NotImplementedError("give the suite leases")

    async def test_one_flies_and_the_others_are_told_who(self, leases: tuple[Leases, Leases]) -> None:
        found = await asyncio.gather(*(each.take(wish("a")) for each in leases * 5))
        (lease,) = [each for each in found if isinstance(each, Lease)]
        assert {each.fence for each in found if isinstance(each, Held)} == {lease.fence}

    async def test_fences_rise(self, leases: tuple[Leases, Leases]) -> None:
        fences = []
        for n in range(4):
            lease = await leases[n % 2].take(wish("a"))
            assert isinstance(lease, Lease)
            fences.append(lease.fence)
            await leases[n % 2].release(lease)
        assert fences == sorted(set(fences))

    async def test_who_renews_keeps_it(self, leases: tuple[Leases, Leases]) -> None:
        lease = await leases[0].take(wish("a"))
        assert isinstance(lease, Lease)
        for _ in range(4):
            lease = await leases[0].renew(lease)
            assert isinstance(await leases[1].take(wish("a")), Held)
        seen = await leases[1].progress(lease.recipe_hash, lease.fence)
        assert seen is not None
        assert (seen.fence, seen.failure) == (lease.fence, None)

    async def test_who_sleeps_loses_it_and_can_neither_renew_nor_give_it_back(
        self, leases: tuple[Leases, Leases]
    ) -> None:
        old = await leases[0].take(wish("a"))
        new = await until(lambda: _taken(leases[1]))
        assert isinstance(old, Lease)
        assert new.fence > old.fence
        with pytest.raises(FenceLost):
            await leases[0].renew(old)
        await leases[0].release(old)
        await leases[0].withdraw(old)
        assert isinstance(await leases[0].take(wish("a")), Held)
        assert await leases[0].progress(old.recipe_hash, old.fence) is None

    async def test_a_failure_is_told_to_who_waits(self, leases: tuple[Leases, Leases]) -> None:
        lease = await leases[0].take(wish("a"))
        assert isinstance(lease, Lease)
        await leases[0].release(lease, ProviderUnavailable("It is away.", provider="openai"))
        seen = await leases[1].progress(lease.recipe_hash, lease.fence)
        assert seen is not None
        assert seen.failure is not None
        assert failures.read(seen.failure).message == "It is away."


async def _taken(leases: Leases) -> Lease | None:
    found = await leases.take(wish("a"))
    return found if isinstance(found, Lease) else None


class RelayContract:
    """What holds of relays that reach other processes."""

    @pytest.fixture
    def relays(self) -> tuple[Relay, Relay]:
        """Two processes' relays."""
        raise NotImplementedError("give the suite relays")

    @pytest.fixture
    def forget(self) -> Callable[[], Awaitable[None]]:
        """Makes what is between them forget all."""
        raise NotImplementedError("tell the suite how what is between them forgets")

    @pytest.mark.parametrize("seed", range(5))
    async def test_all_is_heard_in_order_by_early_and_late(
        self, relays: tuple[Relay, Relay], forget: Callable[[], Awaitable[None]], seed: int
    ) -> None:
        """Also where everything between them is forgotten in the middle."""
        chosen = random.Random(seed)
        said = [_chunk(n, chosen) for n in range(30)]
        lease, step = Lease(secrets.token_bytes(32), 7, 0.0), asyncio.Semaphore(0)
        early = asyncio.create_task(heard(relays[1], lease))
        relays[0].say(lease, MP3, lambda: _said(said, step))
        late = None
        for n in range(30):
            step.release()
            if n == 10:
                late = asyncio.create_task(heard(relays[1], lease))
            if n == chosen.randrange(11, 29):
                await forget()
            await asyncio.sleep(0)
        assert late is not None
        for listener in (early, late):
            data, marks, failure = await listener
            assert data == b"".join(chunk.data for chunk in said)
            assert marks == [mark for chunk in said for mark in chunk.marks]
            assert failure is None

    async def test_two_flights_of_one_recipe_do_not_mix(self, relays: tuple[Relay, Relay]) -> None:
        recipe = secrets.token_bytes(32)
        for fence in (1, 2):
            relays[0].say(Lease(recipe, fence, 0.0), MP3, lambda fence=fence: _said([Chunk(b"%d" % fence)]))  # type: ignore[misc]
        assert [(await heard(relays[1], Lease(recipe, fence, 0.0)))[0] for fence in (1, 2)] == [b"1", b"2"]

    async def test_a_failure_comes_after_all_that_was_said(self, relays: tuple[Relay, Relay]) -> None:
        lease = Lease(secrets.token_bytes(32), 7, 0.0)

        async def fails() -> AsyncIterator[Chunk]:
            yield Chunk(b"some")
            raise ProviderUnavailable("It is away.", provider="openai")

        relays[0].say(lease, MP3, fails)
        data, _, failure = await heard(relays[1], lease)
        assert (data, type(failure), str(failure)) == (b"some", ProviderUnavailable, "It is away.")

    async def test_who_hears_nothing_is_told_to_ask_the_lease(self, relays: tuple[Relay, Relay]) -> None:
        async with relays[1].hear(secrets.token_bytes(32), 7) as hearing:
            assert await hearing.next() is None


async def heard(relay: Relay, lease: Lease) -> tuple[bytes, list[Mark], ProviderError | None]:
    """All that is heard of a flight to its end."""
    data, begun = bytearray(), 0
    marks: list[Mark] = []
    async with relay.hear(lease.recipe_hash, lease.fence) as hearing:
        while True:
            match await hearing.next():
                case Begun(audio_format):
                    assert (audio_format, begun) == (MP3, 0)
                    begun += 1
                case Chunk() as chunk:
                    assert begun
                    data += chunk.data
                    marks += chunk.marks
                case Over(failure):
                    return bytes(data), marks, failure


def _chunk(n: int, chosen: random.Random) -> Chunk:
    marks = tuple(Mark(n, n + 0.5, each, 1) for each in range(chosen.randrange(3)))
    return Chunk(chosen.randbytes(chosen.choice((0, 1, 500, 300_000))), marks)


async def _said(chunks: list[Chunk], step: asyncio.Semaphore | None = None) -> AsyncIterator[Chunk]:
    for chunk in chunks:
        if step is not None and step.locked():
            await step.acquire()
        yield chunk
