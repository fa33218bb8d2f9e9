"""Counting what is kept: once at a time, no more often than is worth it, and never older than it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sayonce.cache import figures
from sayonce.cache.figures import CensusTaker
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.census import Counted
from sayonce.catalog.records import UsageCount, UsageKey
from sayonce.catalog.sqlite import SqliteDatabase
from sayonce.errors import CatalogUnavailable
from sayonce.testing.waiting import until

DAY = 86_400.0


class Bench:
    """A taker before a real catalog, with its hand on the clock; each census takes `took` seconds."""

    def __init__(self, catalog: Catalog) -> None:
        self.time = 1_000.0
        self.took = 2.0
        self.failing = False
        self.counts = self.counted = self.flushes = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._catalog = catalog
        self._count = catalog.censuses.count
        catalog.censuses.count = self.count  # type: ignore[method-assign]
        self.taker = CensusTaker(catalog, self.flush, lambda: self.time, lambda: DAY + self.time)

    async def flush(self) -> None:
        self.flushes += 1

    async def count(self) -> Counted:
        self.counts += 1
        found = await self._count()
        self.counted += 1
        await self.gate.wait()
        self.time += self.took
        if self.failing:
            raise CatalogUnavailable("It is away.", backend="sqlite")
        return found

    async def hit(self, hits: int = 1) -> None:
        """Something changes."""
        key = UsageKey(0, "default", "espeak", "", "nova")
        await self._catalog.flush({key: UsageCount(hits=hits)}, {})

    async def hits(self) -> int:
        return (await self.taker.latest()).census.of(None).count.hits


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    catalog = Catalog(SqliteDatabase(tmp_path / "catalog.db"), lambda: DAY)
    yield Bench(catalog)
    await catalog.aclose()


@pytest.fixture
def much(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were very much to count."""
    monkeypatch.setattr(figures, "_LITTLE", 0)


async def test_of_little_it_tells_what_is_now(bench: Bench) -> None:
    for n in range(3):
        assert await bench.hits() == n
        await bench.hit()
    assert bench.counts == bench.flushes == 3


@pytest.mark.usefixtures("much")
async def test_of_much_it_tells_the_same_for_twenty_times_as_long_as_it_took(bench: Bench) -> None:
    assert await bench.hits() == 0
    first = (await bench.taker.latest()).as_of
    await bench.hit()
    bench.time += 39.9
    assert await bench.hits() == 0
    assert (bench.counts, bench.flushes) == (1, 1)
    bench.time += 0.2
    assert await bench.hits() == 1
    assert bench.counts == 2
    told = await bench.taker.latest()
    assert (first, told.as_of, told.trouble) == (DAY + 1_000.0, DAY + 1_042.1, None)


async def test_one_count_at_a_time_and_nobody_hears_what_was_before_his_question(bench: Bench) -> None:
    bench.gate.clear()
    early = asyncio.create_task(bench.hits())
    await until(lambda: bench.counts)
    await until(lambda: bench.counted)
    await bench.hit()
    bench.time += 1
    late = [asyncio.create_task(bench.hits()) for _ in range(50)]
    await asyncio.sleep(0)
    bench.gate.set()
    assert await early == 0
    assert set(await asyncio.gather(*late)) == {1}
    assert bench.counts == 2


@pytest.mark.usefixtures("much")
async def test_of_much_a_crowd_is_told_of_one_count(bench: Bench) -> None:
    bench.gate.clear()
    crowd = [asyncio.create_task(bench.hits()) for _ in range(50)]
    await until(lambda: bench.counts)
    bench.gate.set()
    assert set(await asyncio.gather(*crowd)) == {0}
    assert bench.counts == 1


async def test_who_leaves_while_it_is_counted_leaves_nobody_without(bench: Bench) -> None:
    bench.gate.clear()
    leaving = asyncio.create_task(bench.hits())
    await until(lambda: bench.counts)
    staying = asyncio.create_task(bench.hits())
    await asyncio.sleep(0)
    leaving.cancel()
    bench.gate.set()
    assert await staying == 0


async def test_a_count_that_fails_leaves_the_old_figures_and_says_so(bench: Bench) -> None:
    await bench.hit(5)
    assert await bench.hits() == 5
    before = (await bench.taker.latest()).as_of
    bench.failing = True
    bench.time += 1
    told = await bench.taker.latest()
    assert (told.census.of(None).count.hits, told.as_of) == (5, before)
    assert told.trouble is not None
    assert told.trouble.code == "catalog_unavailable"
    counts = bench.counts
    bench.time += 39
    assert (await bench.taker.latest()).trouble is not None
    assert bench.counts == counts, "what fails is not tried again at once"
    bench.failing = False
    bench.time += 2
    assert (await bench.taker.latest()).trouble is None


async def test_without_any_figures_its_error_is_told_to_all_who_wait(bench: Bench) -> None:
    bench.failing, bench.took = True, 10.0
    crowd = await asyncio.gather(*(bench.taker.latest() for _ in range(20)), return_exceptions=True)
    assert {type(each) for each in crowd} == {CatalogUnavailable}
    assert bench.counts == 1
    bench.failing = False
    bench.time += 59
    with pytest.raises(CatalogUnavailable):
        await bench.taker.latest()
    bench.time += 2  # a minute, however long it took
    assert await bench.hits() == 0
