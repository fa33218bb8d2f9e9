"""What replicas share keeps its promises: leases in the catalog, announced in Redis, of last resort; relays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from sayonce.catalog.catalog import Catalog
from sayonce.catalog.postgres import PostgresDatabase
from sayonce.catalog.records import Held, Kept, Lease, Progress, TakeOff
from sayonce.catalog.sqlite import SqliteDatabase
from sayonce.cluster.catalog_leases import CatalogLeases
from sayonce.cluster.contract import Begun, Leases, Over, Relay
from sayonce.cluster.redis import relay as redis_relay
from sayonce.cluster.redis.leases import AnnouncedLeases
from sayonce.cluster.redis.link import Link
from sayonce.cluster.redis.relay import RedisRelay
from sayonce.errors import CatalogUnavailable, ProviderError
from sayonce.speech.chunks import Chunk
from sayonce.speech.formats import MP3
from sayonce.testing.clusters import LeaseContract, RelayContract, heard
from sayonce.testing.redis import RedisServer
from sayonce.testing.rows import wish
from tests.conftest import until

LIFE = 0.5


async def identity() -> str:
    return "a catalog"


@pytest.fixture
async def links(redis: RedisServer) -> AsyncIterator[tuple[Link, Link]]:
    """Two processes' ways to Redis, with their bells ringing."""
    async with AsyncExitStack() as stack:
        links = Link(redis.url(), 1.0, identity), Link(redis.url(), 1.0, identity)
        for link in links:
            task = asyncio.create_task(link.run())
            stack.push_async_callback(link.aclose)
            stack.callback(task.cancel)
        yield links


class TestInSqlite(LeaseContract):
    @pytest.fixture
    async def leases(self, tmp_path: Path) -> AsyncIterator[tuple[Leases, Leases]]:
        async with AsyncExitStack() as stack:
            catalogs = [Catalog(SqliteDatabase(tmp_path / "catalog.db"), time.time) for _ in range(2)]
            for catalog in catalogs:
                stack.push_async_callback(catalog.aclose)
            yield CatalogLeases(catalogs[0], LIFE), CatalogLeases(catalogs[1], LIFE)


@asynccontextmanager
async def announced(postgres: str, links: tuple[Link, Link]) -> AsyncIterator[tuple[Leases, Leases]]:
    """Two processes' leases in PostgreSQL, announced in Redis."""
    async with AsyncExitStack() as stack:
        found = []
        for link in links:
            catalog = Catalog(PostgresDatabase(postgres), time.time)
            stack.push_async_callback(catalog.aclose)
            found.append(AnnouncedLeases(CatalogLeases(catalog, LIFE), link, time.time))
        yield found[0], found[1]


class TestAnnounced(LeaseContract):
    @pytest.fixture
    async def leases(self, postgres: str, links: tuple[Link, Link]) -> AsyncIterator[tuple[Leases, Leases]]:
        async with announced(postgres, links) as leases:
            yield leases


class TestAnnouncedToNobody(TestAnnounced):
    """Redis is away."""

    @pytest.fixture
    async def leases(
        self, postgres: str, links: tuple[Link, Link], redis: RedisServer
    ) -> AsyncIterator[tuple[Leases, Leases]]:
        redis.kill()
        async with announced(postgres, links) as leases:
            yield leases


class Away(Leases):
    """A catalog that cannot be asked, until it is `back`."""

    life = 2.0  # long enough for a catalog to be opened meanwhile

    def __init__(self) -> None:
        self.back: Leases | None = None

    def there(self) -> Leases:
        if self.back is None:
            raise CatalogUnavailable("It is away.", backend="none")
        return self.back

    async def take(self, wish: TakeOff) -> Lease | Held | Kept:
        return await self.there().take(wish)

    async def renew(self, lease: Lease) -> Lease:
        return await self.there().renew(lease)

    async def release(self, lease: Lease, failure: ProviderError | None = None) -> None:
        await self.there().release(lease, failure)

    async def withdraw(self, lease: Lease) -> None:
        await self.there().withdraw(lease)

    async def progress(self, recipe_hash: bytes, fence: int | None = None) -> Progress | None:
        return await self.there().progress(recipe_hash, fence)


class TestOfLastResort:
    @pytest.fixture
    def away(self) -> Away:
        return Away()

    @pytest.fixture
    def leases(self, links: tuple[Link, Link], away: Away) -> tuple[Leases, Leases]:
        return AnnouncedLeases(away, links[0], time.time), AnnouncedLeases(away, links[1], time.time)

    async def test_one_flies_and_the_others_hear_it(self, leases: tuple[Leases, Leases]) -> None:
        found = await asyncio.gather(*(each.take(wish("a")) for each in leases * 5))
        (lease,) = [each for each in found if isinstance(each, Lease)]
        assert lease.last_resort
        assert {each.fence for each in found if isinstance(each, Held)} == {lease.fence}
        assert (seen := await leases[1].progress(lease.recipe_hash, lease.fence)) is not None
        assert abs(seen.expires - time.time()) <= Away.life

    async def test_a_failed_one_is_given_back_and_a_whole_one_is_heard_for_a_while(
        self, leases: tuple[Leases, Leases], redis: RedisServer
    ) -> None:
        lease = await leases[0].take(wish("a"))
        assert isinstance(lease, Lease)
        await leases[0].release(lease)
        again = await leases[1].take(wish("a"))
        assert isinstance(again, Lease)
        await leases[1].withdraw(again)
        assert isinstance(await leases[0].take(wish("a")), Held)
        assert b"lease" in redis.ask("KEYS", "*lease*")

    async def test_what_is_spoken_anew_says_so_and_waits_for_nobody_who_is_done(
        self, leases: tuple[Leases, Leases]
    ) -> None:
        lease = await leases[0].take(wish("a"))
        assert isinstance(lease, Lease)
        flying = await leases[1].take(wish("a", refresh=True))
        assert isinstance(flying, Held)
        assert (flying.fence, flying.refresh) == (lease.fence, False)
        await leases[0].withdraw(await leases[0].renew(lease))
        anew = await leases[1].take(wish("a", refresh=True))
        assert isinstance(anew, Lease)
        await leases[1].renew(anew)
        joined = await leases[0].take(wish("a"))
        assert isinstance(joined, Held)
        assert (joined.fence, joined.refresh) == (anew.fence, True)
        for over in (False, True, True):
            seen = await leases[0].progress(anew.recipe_hash, anew.fence)
            assert seen is not None
            assert (seen.refresh, seen.over) == (True, over)
            await leases[1].withdraw(anew)

    async def test_who_overslept_takes_nothing_back(self, leases: tuple[Leases, Leases]) -> None:
        old = await leases[0].take(wish("a"))
        new = await until(lambda: _taken(leases[1]))
        assert isinstance(old, Lease)
        await leases[0].release(old)
        await leases[0].withdraw(old)
        found = await leases[0].take(wish("a"))
        assert isinstance(found, Held)
        assert found.fence == new.fence

    async def test_it_is_waited_for_when_the_catalog_is_back(
        self, leases: tuple[Leases, Leases], away: Away, tmp_path: Path
    ) -> None:
        catalog = Catalog(SqliteDatabase(tmp_path / "catalog.db"), time.time)
        await catalog.identity()
        lease = await leases[0].take(wish("a"))
        assert isinstance(lease, Lease)
        away.back = CatalogLeases(catalog, LIFE)
        found = await leases[1].take(wish("a"))
        assert isinstance(found, Held)
        assert found.fence == lease.fence
        assert await catalog.progress(lease.recipe_hash) is None, "the catalog's lease was given back"
        await leases[0].release(lease)
        found = await leases[1].take(wish("a"))
        assert isinstance(found, Lease)
        assert not found.last_resort
        await catalog.aclose()

    async def test_who_flew_before_the_catalog_went_is_heard(
        self, leases: tuple[Leases, Leases], away: Away, tmp_path: Path
    ) -> None:
        catalog = Catalog(SqliteDatabase(tmp_path / "catalog.db"), time.time)
        away.back = CatalogLeases(catalog, LIFE)
        lease = await leases[0].take(wish("a"))
        assert isinstance(lease, Lease)
        away.back = None
        found = await leases[1].take(wish("a"))
        assert isinstance(found, Held)
        assert found.fence == lease.fence
        await catalog.aclose()

    async def test_with_redis_away_too_nobody_decides(
        self, leases: tuple[Leases, Leases], redis: RedisServer
    ) -> None:
        redis.kill()
        with pytest.raises(CatalogUnavailable):
            await leases[0].take(wish("a"))


async def _taken(leases: Leases) -> Lease | None:
    found = await leases.take(wish("a"))
    return found if isinstance(found, Lease) else None


class TestRedisRelay(RelayContract):
    @pytest.fixture
    async def relays(self, links: tuple[Link, Link]) -> AsyncIterator[tuple[Relay, Relay]]:
        relays = RedisRelay(links[0]), RedisRelay(links[1])
        yield relays
        for relay in relays:
            await relay.aclose()

    @pytest.fixture
    def forget(self, redis: RedisServer) -> Callable[[], Awaitable[None]]:
        async def flush() -> None:
            await asyncio.to_thread(redis.ask, "FLUSHALL")

        return flush

    async def test_of_one_that_has_gone_silent_nothing_is_heard_until_it_says_more(
        self, relays: tuple[Relay, Relay], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lease, more = Lease(b"r" * 32, 7, 0.0), asyncio.Event()

        async def said() -> AsyncIterator[Chunk]:
            yield Chunk(b"some")
            await more.wait()

        monkeypatch.setattr(redis_relay, "_BEATS", 60.0)
        monkeypatch.setattr(redis_relay, "_SILENT", 0.0)
        relays[0].say(lease, MP3, said)
        async with relays[1].hear(lease.recipe_hash, lease.fence) as hearing:
            assert [await hearing.next() for _ in range(4)] == [None] * 4
            monkeypatch.setattr(redis_relay, "_SILENT", 5.0)
            assert await until(hearing.next) == Begun(MP3)
            assert await hearing.next() == Chunk(b"some")
            more.set()
            assert await until(hearing.next) == Over()

    async def test_who_has_nothing_to_say_says_that_it_lives(
        self, relays: tuple[Relay, Relay], redis: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lease, more = Lease(b"r" * 32, 7, 0.0), asyncio.Event()

        async def said() -> AsyncIterator[Chunk]:
            await more.wait()
            yield Chunk(b"all")

        monkeypatch.setattr(redis_relay, "_BEATS", 0.02)
        relays[0].say(lease, MP3, said)
        await until(lambda: redis.ask("XLEN", f"sayonce:{{a catalog}}:flight:{'72' * 32}:7")[1:-2] > b"5")
        more.set()
        assert (await heard(relays[1], lease))[0] == b"all"
