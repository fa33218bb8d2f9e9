"""The contract suite of databases under the catalog: subclass it, give it your database, and it tests what the
catalog promises on it.

class TestMine(CatalogContract):
    @pytest.fixture
    def connect(self) -> Connect:
        return lambda: MyDatabase(…)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from sqlalchemy import Connection, select, text

from sayonce.catalog import changes
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.database import Database
from sayonce.catalog.records import (
    ApiKey,
    Asset,
    Blob,
    Held,
    Kept,
    Landing,
    Lease,
    Spent,
    TakeOff,
    Tenant,
    UsageCount,
    UsageKey,
    Use,
)
from sayonce.catalog.tables import facts
from sayonce.errors import BudgetSpent, FenceLost, NotFound
from sayonce.speech.formats import WAV
from sayonce.testing.greetings import GreetingContract
from sayonce.testing.rows import asset, hashed, wish
from sayonce.testing.sessions import SessionContract
from sayonce.testing.wishes import WishContract

Connect = Callable[[], Database]
SPENT = Spent("default", "openai", "tts-1", "nova", 5, 75)


class CatalogContract(SessionContract, WishContract, GreetingContract):
    """What holds on every database."""

    @pytest.fixture
    def connect(self) -> Connect:
        """Connects to your database, which is empty at first, each time anew."""
        raise NotImplementedError("give the suite a database")

    @pytest.fixture
    async def catalogs(self, connect: Connect) -> AsyncIterator[tuple[Catalog, ...]]:
        """Four processes' worth of catalogs on one database."""
        async with AsyncExitStack() as stack:
            opened = tuple(Catalog(connect(), time.time) for _ in range(4))
            for each in opened:
                stack.push_async_callback(each.aclose)
            yield opened

    @pytest.fixture
    async def catalog(self, catalogs: tuple[Catalog, ...]) -> Catalog:
        return catalogs[0]

    async def land(self, catalog: Catalog, kept: Asset, use: Use | None = None, spent: Spent | None = None) -> None:
        lease = await catalog.take_off(
            TakeOff(kept.recipe_hash, kept.content_hash, kept.owner.tenant, "here", refresh=True), 10
        )
        assert isinstance(lease, Lease)
        await catalog.land(lease, kept, use or Use("request"), spent, alone=False)

    # ── what is kept ─────────────────────────────────────────────────────────────────────────────

    async def test_nothing_is_there_at_first(self, catalog: Catalog) -> None:
        assert await catalog.variants(hashed("a")) == ()
        assert await catalog.find(hashed("a")) is None
        assert await catalog.progress(hashed("a")) is None
        assert await catalog.newest_change() == 0
        assert (await catalog.statistics()).assets == 0

    async def test_what_landed_is_found_by_all(self, catalogs: tuple[Catalog, ...]) -> None:
        await self.land(catalogs[0], asset("a"))
        await self.land(catalogs[0], asset("a", format=WAV))
        for catalog in catalogs:
            assert await catalog.find(asset("a").content_hash) == asset("a")
            assert set(await catalog.variants(hashed("a"))) == {asset("a"), asset("a", format=WAV)}

    async def test_what_has_expired_is_not(self, catalog: Catalog) -> None:
        await self.land(catalog, asset("a", until=time.time() - 1), Use("request", keep_until=time.time() - 1))
        assert await catalog.variants(hashed("a")) == ()
        assert await catalog.find(asset("a").content_hash) is None
        assert isinstance(await catalog.take_off(wish("a"), 10), Lease)

    async def test_an_asset_lives_as_long_as_its_longest_use(self, catalog: Catalog) -> None:
        kept = asset("a")
        for keep_until, lives in ((100.0, 100.0), (50.0, 100.0), (None, None), (20.0, None)):
            await self.land(catalog, kept, Use("request", name=str(keep_until), keep_until=keep_until))
            found = await catalog._database.read(_until, kept.content_hash)
            assert found == lives

    async def test_a_refresh_alone_replaces_every_variant(self, catalog: Catalog) -> None:
        await self.land(catalog, asset("a"))
        await self.land(catalog, asset("a", format=WAV))
        lease = await catalog.take_off(wish("a", refresh=True), 10)
        assert isinstance(lease, Lease)
        newer = asset("a", digest=hashed("newer"), blobs=(Blob("local", "audio/newer", hashed("newer")),))
        landing = await catalog.land(lease, newer, Use("request"), None, alone=True)
        assert {blob.path for blob in landing.orphans} == {
            blob.path for old in (asset("a"), asset("a", format=WAV)) for blob in old.blobs
        }
        assert await catalog.variants(hashed("a")) == (newer,)

    async def test_a_lost_blob_takes_its_asset_along(self, catalog: Catalog) -> None:
        kept = asset("a")
        await self.land(catalog, kept)
        await catalog.drop_blob(kept.content_hash, replace(kept.blobs[0], digest=b"another's"))
        assert await catalog.find(kept.content_hash) == kept
        await catalog.drop_blob(kept.content_hash, kept.blobs[0])
        assert await catalog.find(kept.content_hash) is None

    async def test_a_variant_lands_only_beside_its_source(self, catalog: Catalog) -> None:
        variant = asset("a", format=WAV)
        assert await catalog.land_variant(asset("a"), variant, Use("variant")) is None
        await self.land(catalog, asset("a"))
        assert await catalog.land_variant(asset("a"), variant, Use("variant")) == ()
        assert set(await catalog.variants(hashed("a"))) == {asset("a"), variant}

    async def test_removing_takes_every_variant_and_tells_of_it(self, catalogs: tuple[Catalog, ...]) -> None:
        catalog, other = catalogs[:2]
        await self.land(catalog, asset("a"))
        await self.land(catalog, asset("a", format=WAV))
        before = await other.newest_change()
        assert await catalog.remove(asset("a").content_hash, "somebody", lambda _: True) is None
        assert await catalog.remove(asset("a").content_hash, "default", lambda _: False) is None
        removed = await catalog.remove(asset("a").content_hash, "default", lambda _: True)
        assert removed is not None
        assert len(removed.orphans) == 2
        assert isinstance(await other.take_off(wish("a"), 10), Held), "nobody lands what is being deleted"
        await catalog.let_go(removed)
        assert isinstance(await other.take_off(wish("a"), 10), Lease)
        assert await other.variants(hashed("a")) == ()
        told = {(change.kind, change.subject) for change in await other.changes_since(before)}
        assert ("recipe", hashed("a").hex()) in told

    async def test_a_place_is_one_assets_at_a_time(self, catalog: Catalog) -> None:
        use = Use("message", "thread/1")
        mine = Blob("local", "tts/1.mp3", asset("a").digest)
        await self.land(catalog, asset("a"))
        assert await catalog.attach(asset("a").content_hash, mine, use) == Landing(())
        await self.land(catalog, asset("b", blobs=(replace(mine, digest=asset("b").digest),)), use)
        found = await catalog.find(asset("a").content_hash)
        assert found is not None
        assert found.blobs == asset("a").blobs, "the message's file is the other's now"
        assert await catalog.attach(hashed("nobody"), mine, use) is None

    # ── who flies ────────────────────────────────────────────────────────────────────────────────

    async def test_one_of_many_takes_off(self, catalogs: tuple[Catalog, ...]) -> None:
        found = await asyncio.gather(
            *(catalog.take_off(wish("a", f"{n} {m}"), 10) for n, catalog in enumerate(catalogs) for m in range(8))
        )
        leases = [each for each in found if isinstance(each, Lease)]
        assert len(leases) == 1
        assert {each.fence for each in found if isinstance(each, Held)} == {leases[0].fence}

    async def test_of_many_that_fly_and_land_one_is_paid(self, catalogs: tuple[Catalog, ...]) -> None:
        """However take-offs and landings fall between each other."""
        landed = 0

        async def fly(catalog: Catalog, name: str) -> None:
            nonlocal landed
            while not isinstance(found := await catalog.take_off(wish(name), 10), Kept):
                if isinstance(found, Lease):
                    await catalog.land(found, asset(name), Use("request"), SPENT, alone=True)
                    landed += 1

        await asyncio.gather(*(fly(catalog, str(n)) for n in range(10) for catalog in catalogs for _ in range(2)))
        assert landed == 10
        assert await catalogs[0]._database.read(_spent) == 10 * 75

    async def test_fences_rise(self, catalogs: tuple[Catalog, ...]) -> None:
        fences = []
        for n in range(20):
            lease = await catalogs[n % 4].take_off(wish(str(n % 3)), 10)
            assert isinstance(lease, Lease)
            fences.append(lease.fence)
            await catalogs[n % 3].release(lease)
        assert fences == sorted(set(fences))

    async def test_a_lost_lease_renews_and_lands_nothing(self, catalogs: tuple[Catalog, ...]) -> None:
        old = await catalogs[0].take_off(wish("a"), 0.0)
        new = await catalogs[1].take_off(wish("a", "there"), 10)
        assert isinstance(old, Lease)
        assert isinstance(new, Lease)
        with pytest.raises(FenceLost):
            await catalogs[0].renew(old, 10)
        with pytest.raises(FenceLost):
            await catalogs[0].land(old, asset("a"), Use("request"), SPENT, alone=True)
        await catalogs[0].release(old)
        assert (await catalogs[1].renew(new, 10)).fence == new.fence
        assert await catalogs[1].variants(hashed("a")) == ()
        await catalogs[1].land(new, asset("a"), Use("request"), None, alone=True)
        assert isinstance(await catalogs[0].take_off(wish("a"), 10), Kept)

    async def test_a_failure_is_told_to_who_waits(self, catalogs: tuple[Catalog, ...]) -> None:
        lease = await catalogs[0].take_off(wish("a"), 10)
        assert isinstance(lease, Lease)
        await catalogs[0].release(lease, failure='{"error": "x"}')
        seen = await catalogs[1].progress(hashed("a"))
        assert seen is not None
        assert (seen.fence, seen.failure) == (lease.fence, '{"error": "x"}')
        assert isinstance(await catalogs[1].take_off(wish("a"), 10), Lease)

    async def test_what_is_removed_in_flight_does_not_land(self, catalogs: tuple[Catalog, ...]) -> None:
        lease = await catalogs[0].take_off(wish("a"), 10)
        assert isinstance(lease, Lease)
        removed = await catalogs[1].remove(asset("a").content_hash, "default", lambda _: True)
        assert removed is not None
        assert removed.orphans == ()
        with pytest.raises(FenceLost):
            await catalogs[0].land(lease, asset("a"), Use("request"), None, alone=True)

    async def test_removing_and_landing_at_once(self, catalogs: tuple[Catalog, ...]) -> None:
        """Either it landed and is gone, or it did not land: it is never there afterwards."""
        for n in range(10):
            name = f"raced {n}"
            lease = await catalogs[0].take_off(wish(name), 10)
            assert isinstance(lease, Lease)
            await asyncio.gather(
                catalogs[0].land(lease, asset(name), Use("request"), None, alone=True),
                catalogs[1].remove(asset(name).content_hash, "default", lambda _: True),
                return_exceptions=True,
            )
            assert await catalogs[2].variants(hashed(name)) == ()

    async def test_a_second_implausible_answer_is_believed(self, catalog: Catalog) -> None:
        assert not await catalog.is_doubted(hashed("a"))
        await catalog.doubt(hashed("a"))
        await catalog.doubt(hashed("a"))
        assert await catalog.is_doubted(hashed("a"))

    # ── what it costs ────────────────────────────────────────────────────────────────────────────

    async def test_a_budget_is_not_overspent_by_many_at_once(self, catalogs: tuple[Catalog, ...]) -> None:
        found = await asyncio.gather(
            *(
                catalog.take_off(wish(f"{n} {m}", estimate=100_000, budget=1.0), 10)
                for n, catalog in enumerate(catalogs)
                for m in range(8)
            ),
            return_exceptions=True,
        )
        assert sum(isinstance(each, Lease) for each in found) == 10
        assert sum(isinstance(each, BudgetSpent) for each in found) == 22

    async def test_counts_of_many_writers_add_up(self, catalogs: tuple[Catalog, ...]) -> None:
        for name in ("a", "b", "c"):
            await self.land(catalogs[0], asset(name))
        keys = [UsageKey(hour, "default", "espeak", "", voice) for hour in (0, 3_600) for voice in ("x", "y", "z")]
        counted = dict.fromkeys(keys, UsageCount(hits=1, spent_micros=500_000))
        served = {asset(name).content_hash: 2 for name in ("a", "b", "c")}
        turned = dict(reversed(counted.items())), dict(reversed(served.items()))
        await asyncio.gather(
            *(catalog.flush(*(turned if n % 2 else (counted, served))) for n in range(10) for catalog in catalogs)
        )
        found = await catalogs[0].statistics()
        assert (found.count.hits, found.count.spent_micros) == (240, 120_000_000)
        assert {count.hits for count in found.by_voice.values()} == {80}
        assert list(found.by_voice) == ["espeak/x", "espeak/y", "espeak/z"]
        assert (list(found.by_day), list(found.by_tenant)) == (["1970-01-01"], ["default"])
        assert (found.assets, found.bytes, found.duration) == (3, 3_000, 4.5)
        assert (await catalogs[0].statistics("somebody else")).count == UsageCount()

    # ── what takes long ──────────────────────────────────────────────────────────────────────────

    async def test_no_lookup_waits_for_a_survey(self, catalog: Catalog) -> None:
        surveying = asyncio.create_task(catalog._database.survey(_long))
        await asyncio.sleep(0)  # it is under way
        for _ in range(5):
            assert await catalog.find(hashed("a")) is None
            assert await catalog.keys_made() == 0
        assert not surveying.done(), "or it was no long one"
        assert await surveying == _MANY

    # ── who may ask, and what changed ────────────────────────────────────────────────────────────

    async def test_tenants_and_keys(self, catalogs: tuple[Catalog, ...]) -> None:
        catalog, other = catalogs[:2]
        tenant = Tenant("acme", rate=1.5, burst=3.0, budget=2.5, public=True, chain=("a", "b"))
        await catalog.put_tenant(tenant)
        key = ApiKey("k1", "acme", "label", frozenset({"speak", "admin"}), 1_000.0)
        await catalog.add_key(hashed("key"), key)
        assert await other.key(hashed("key")) == (key, tenant)
        assert await other.key(hashed("another")) is None
        with pytest.raises(NotFound):
            await catalog.add_key(hashed("key 2"), replace(key, id="k2", tenant="nobody"))
        await catalog.revoke_key("k1")
        assert (await other.valid_keys(), await other.keys_made()) == (0, 1)
        with pytest.raises(NotFound):
            await catalog.revoke_key("k1")

    async def test_secrets_are_one_for_all(self, catalogs: tuple[Catalog, ...]) -> None:
        assert len(set(await asyncio.gather(*(catalog.secret("urls") for catalog in catalogs)))) == 1
        assert len(set(await asyncio.gather(*(catalog.identity() for catalog in catalogs)))) == 1

    async def test_no_change_is_passed_over(self, catalogs: tuple[Catalog, ...]) -> None:
        """Who reads what came after the last change that was seen misses none, however writers overlap."""
        seen: list[int] = []
        done = asyncio.Event()

        async def watch() -> None:
            last = 0
            while True:
                ended = done.is_set()
                for change in await catalogs[3].changes_since(last):
                    seen.append(int(change.subject))
                    last = change.sequence
                if ended:
                    return
                await asyncio.sleep(0)

        async def change(catalog: Catalog, numbers: range) -> None:
            for n in numbers:
                await catalog._database.write(_slow_change, str(n))

        watching = asyncio.create_task(watch())
        await asyncio.gather(*(change(catalogs[n % 3], range(n, 60, 6)) for n in range(6)))
        done.set()
        await watching
        assert sorted(seen) == list(range(60))


_MANY = 3_000_000


def _long(connection: Connection) -> int:
    counting = (
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {_MANY}) SELECT count(*) FROM n"
    )
    return int(connection.execute(text(counting)).scalar_one())


def _slow_change(connection: Connection, subject: str) -> None:
    changes.append(connection, "tenant", subject, time.time())
    for _ in range(int(subject) % 5):
        connection.execute(select(facts.c.value)).all()


def _until(connection: Connection, content_hash: bytes) -> float | None:
    from sayonce.catalog.tables import assets

    found: float | None = connection.execute(
        select(assets.c.until).where(assets.c.content_hash == content_hash)
    ).scalar_one()
    return found


def _spent(connection: Connection) -> int:
    from sayonce.catalog.tables import spending

    return int(connection.execute(select(spending.c.spent_micros)).scalar_one())
