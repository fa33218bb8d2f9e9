"""Law 5: with any part of the cache failing, a request still gets its audio."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sayonce.access.callers import Role
from tests.conftest import House, MakeHouse, until


@contextmanager
def corrupt(database: Path) -> Iterator[None]:
    """The catalog's file is overwritten, and then put back."""
    # Not its shared memory: who truncates what a process has mapped ends that process.
    files = {path: path.read_bytes() for path in database.parent.glob("catalog.db*") if path.suffix != ".db-shm"}
    for path in files:
        path.write_bytes(b"this is no database " * 1000)
    try:
        yield
    finally:
        for path, data in files.items():
            path.write_bytes(data)


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process holds the catalog and does not let go."""
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.close()


async def test_a_corrupt_catalog(house: House) -> None:
    await house.speak("Kept.")
    with corrupt(house.gateway.settings.data_dir / "catalog.db"):
        heard = [await house.speak(f"New {n}.") for n in range(3)]
        assert [answer.status for answer in heard] == [200] * 3
        assert (await house.speak("Kept.")).outcome == "hit"


async def test_memory_that_nobody_tells_what_to_forget_is_marked(house: House) -> None:
    await house.speak("Kept.")
    house.gateway.feed.patience = 0.2
    with corrupt(house.gateway.settings.data_dir / "catalog.db"):
        await until(lambda: house.gateway.feed.deaf)
        heard = await house.speak("Kept.")
        assert (heard.status, heard.outcome, house.calls) == (200, "bypass", 1)
    await until(lambda: not house.gateway.feed.deaf)
    assert await until(lambda: _is_hit(house, "Kept."))
    assert house.calls == 1


async def _is_hit(house: House, text: str) -> bool:
    return (await house.speak(text)).outcome == "hit"


async def test_a_locked_catalog(house: House) -> None:
    with locked(house.gateway.settings.data_dir / "catalog.db"):
        first = await house.speak()
        second = await house.speak()
        assert (first.outcome, second.outcome) == ("bypass", "bypass")
        assert first.audio == second.audio
        assert house.calls == 1  # it entered memory
    recovered = await until(lambda: _outcome(house, "hit"))
    assert recovered
    assert house.calls == 1  # and was kept when the catalog was back
    assert await house.rows() == 1


async def _outcome(house: House, wanted: str) -> bool:
    return (await house.speak()).outcome == wanted


async def test_single_flight_holds_in_bypass(house: House) -> None:
    house.vendors.behave(first_byte=0.2)
    with locked(house.gateway.settings.data_dir / "catalog.db"):
        heard = await asyncio.gather(*(house.speak() for _ in range(20)))
    assert house.calls == 1
    assert {answer.outcome for answer in heard} == {"bypass"}
    assert len({answer.audio for answer in heard}) == 1


async def test_spending_in_bypass_is_capped(make_house: MakeHouse) -> None:
    house = await make_house(bypass_characters=50)
    with locked(house.gateway.settings.data_dir / "catalog.db"):
        heard = [await house.speak(f"Twenty characters. {n}") for n in range(4)]
    assert [answer.status for answer in heard] == [200, 200, 429, 429]
    assert heard[-1].error["code"] == "insufficient_quota"
    assert house.calls == 2


async def test_a_storage_that_cannot_be_written(house: House) -> None:
    root = house.gateway.settings.data_dir / "audio"
    root.mkdir(parents=True)
    (root / ".sayonce-storage").touch()
    (root / "audio").write_text("a file where a folder should be")
    first, second = await house.speak(), await house.speak()
    assert (first.status, first.audio) == (200, second.audio)
    assert house.calls == 1
    assert (await house.http.get("/api/health")).json()["status"] == "degraded"
    (root / "audio").unlink()
    assert (await house.speak()).status == 200
    assert (await house.speak()).outcome == "hit"
    assert house.calls == 1
    assert (await house.http.get("/api/health/ready")).json()["status"] == "healthy"


async def test_known_keys_hold_and_unknown_ones_get_503(make_house: MakeHouse) -> None:
    from sayonce.access import keys

    house = await make_house(poll_seconds=0.05)
    _, key = await keys.create(house.gateway.catalog, "default", "", [Role.SPEAK], lambda: 0.0)
    house.gateway.gate.forget_all()
    known = {"authorization": f"Bearer {key}"}
    assert (await house.speak(headers=known)).outcome == "miss"
    with corrupt(house.gateway.settings.data_dir / "catalog.db"):
        assert (await house.speak("Other words.", headers=known)).status == 200
        strange = await house.speak(headers={"authorization": "Bearer sayonce_nobody"})
        assert (strange.status, strange.error["code"]) == (503, "catalog_unavailable")


async def test_a_damaged_catalog_at_the_start_lets_nobody_in(make_house: MakeHouse, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "catalog.db").write_bytes(b"this is no database " * 1000)
    house = await make_house()
    assert (await house.speak()).status == 503
    assert (await house.http.get("/api/health")).json()["parts"]["catalog"] == "catalog_unavailable"
    (tmp_path / "data" / "catalog.db").unlink()
    assert await until(lambda: _outcome(house, "miss"))


async def test_a_catalog_that_is_deleted_is_begun_anew_and_shared(make_house: MakeHouse) -> None:
    """What is written to a file that nobody else can open is lost, and would be paid for again."""
    house = await make_house(poll_seconds=0.05, flush_seconds=0.05)
    await house.speak("Before.")
    for file in house.gateway.settings.data_dir.glob("catalog.db*"):
        file.unlink()
    assert (await house.speak("After.")).outcome == "miss"
    other = await make_house()
    assert (await other.speak("After.")).outcome == "hit"
    assert (house.calls, await other.rows()) == (2, 1)
    assert (await house.http.get("/api/health/ready")).status_code == 200
