"""Upkeep: what goes, what stays, and that it does no harm beside requests or another of it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sayonce.catalog.records import Use
from sayonce.cli import app
from tests.conftest import House, MakeHouse, until
from tests.integration.test_retention import Clock, engine, outcome

__all__ = ["engine"]
_DAY = 86_400


async def speak_all(house: House, number: int) -> list[str]:
    texts = [f"Sentence number {n}." for n in range(number)]
    for text in texts:
        await house.speak(text)
    return texts


async def pin(house: House, text: str) -> None:
    heard = await house.speak(text)
    content_hash = bytes.fromhex(heard.headers["x-content-hash"])
    found = await house.gateway.catalog.find(content_hash)
    assert found is not None
    await house.gateway.catalog.attach(content_hash, found.blobs[0], Use("greeting", "shop", pinned=True))


async def test_what_expired_goes_with_its_bytes(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    clock = Clock()
    house = await make_house(clock=clock, upkeep=False, **engine)
    await house.speak("Short.", headers={"x-sayonce-keep": "5m"})
    await house.speak("Forever.")
    clock.now += 301
    seen = await house.gateway.upkeep.run(dry=True)
    assert (seen.expired, await house.rows(), len(house.blobs())) == (1, 2, 2)
    done = await house.gateway.upkeep.run()
    assert (done.expired, done.bytes, done.uses) == (seen.expired, seen.bytes, seen.uses) == (1, seen.bytes, 0)
    assert (await house.rows(), len(house.blobs())) == (1, 1)
    assert await outcome(house, "Forever.") == "hit"
    assert (await house.gateway.upkeep.run()).expired == 0


async def test_an_ended_use_takes_no_asset_that_another_keeps(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    clock = Clock()
    house = await make_house(clock=clock, upkeep=False, keep="5m", **engine)
    await pin(house, "Both.")
    clock.now += 301
    report = await house.gateway.upkeep.run()
    assert (report.expired, report.uses) == (0, 1)
    assert await outcome(house, "Both.") == "hit"


async def test_what_is_pinned_makes_no_room(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    house = await make_house(upkeep=False, max_entries=0, **engine)
    await pin(house, "A greeting.")
    await house.speak("Said in passing.")
    seen = await house.gateway.upkeep.run(dry=True)
    done = await house.gateway.upkeep.run()
    assert (seen.evicted, seen.bytes) == (done.evicted, done.bytes) == (1, seen.bytes)
    assert await house.rows() == 1


@pytest.mark.parametrize("limit", ["max_entries", "max_bytes"])
async def test_the_least_recently_used_make_room(make_house: MakeHouse, engine: dict[str, Any], limit: str) -> None:
    clock = Clock()
    first = await make_house(clock=clock, upkeep=False, flush_seconds=600, **engine)
    texts = await speak_all(first, 10)
    size = max(path.stat().st_size for path in first.blobs())
    most = 4 if limit == "max_entries" else size * 4
    house = await make_house(clock=clock, upkeep=False, flush_seconds=600, **{limit: most}, **engine)
    for text in texts[:3]:  # used again, and so more recently than the rest
        clock.now += 1
        await house.speak(text)
        await house.gateway.flush()
    await pin(house, texts[5])
    seen = await house.gateway.upkeep.run(dry=True)
    report = await house.gateway.upkeep.run()
    assert report.evicted in range(6, 8)
    assert abs(seen.evicted - report.evicted) <= 1
    assert await house.rows() == len(house.blobs()) == 10 - report.evicted
    house.gateway.hot.clear()
    for text in (*texts[:3], texts[5]):
        assert await outcome(house, text) == "hit"
    house.gateway.hot.clear()
    assert await outcome(house, texts[3]) == "miss"


async def test_pinned_ones_stay_whatever_the_limit(make_house: MakeHouse) -> None:
    house = await make_house(upkeep=False, max_entries=0)
    await pin(house, "Stays.")
    await house.speak("Goes.")
    assert (await house.gateway.upkeep.run()).evicted == 1
    assert await outcome(house, "Stays.") == "hit"


# ── the sweep ────────────────────────────────────────────────────────────────────────────────────


def orphaned(house: House) -> list[Path]:
    """Two-day-old copies, as a crash leaves them, of every blob there is; and one that is not ours."""
    made = []
    for path in house.blobs():
        for suffix in ("", ".meta.json"):
            orphan = path.with_name("left-" + path.name + suffix)
            orphan.write_bytes(path.with_name(path.name + suffix).read_bytes())
            made.append(orphan)
    strange = house.blobs()[0].with_name("strange.mp3")
    strange.write_bytes(b"not ours")
    for path in [*made, strange]:
        os.utime(path, (path.stat().st_mtime - 2 * _DAY, path.stat().st_mtime - 2 * _DAY))
    return [path for path in made if path.suffix != ".json"]


async def test_old_blobs_of_ours_that_nobody_names_go(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    house = await make_house(upkeep=False, **engine)
    await speak_all(house, 3)
    kept = house.blobs()
    left = orphaned(house)
    assert (await house.gateway.upkeep.run(dry=True)).swept == 3
    assert all(path.exists() for path in left)
    assert (await house.gateway.upkeep.run()).swept == 3
    assert not any(path.exists() for path in left)
    assert {path.name for path in house.blobs()} == {path.name for path in kept} | {"strange.mp3"}
    assert await outcome(house, "Sentence number 1.") == "hit"


async def test_young_ones_stay(make_house: MakeHouse) -> None:
    house = await make_house(upkeep=False)
    await house.speak()
    left = orphaned(house)
    for path in left:
        os.utime(path)
    assert (await house.gateway.upkeep.run()).swept == 0
    assert all(path.exists() for path in left)


async def test_another_catalogs_stay(make_house: MakeHouse, tmp_path: Path) -> None:
    """A catalog restored from elsewhere, or two gateways in one bucket: only one's own go."""
    house = await make_house(upkeep=False)
    await house.speak()
    left = orphaned(house)
    other = await make_house(
        upkeep=False, data_dir=tmp_path / "other", storages={"local": {"root": str(tmp_path / "data" / "audio")}}
    )
    assert (await other.gateway.upkeep.run(sweep_all=True)).swept == 0
    assert all(path.exists() for path in left)


async def test_many_go_only_by_hand(make_house: MakeHouse) -> None:
    house = await make_house(upkeep=False, sweep_most=2)
    await speak_all(house, 3)
    left = orphaned(house)
    report = await house.gateway.upkeep.run()
    assert (report.swept, report.left) == (0, 3)
    assert all(path.exists() for path in left)
    assert (await house.gateway.upkeep.run(sweep_all=True)).swept == 3


async def test_what_is_flying_is_not_swept(make_house: MakeHouse) -> None:
    house = await make_house(upkeep=False, shutdown_seconds=0)
    await house.speak()
    left = orphaned(house)
    house.vendors.behave(trouble="never")
    asking = asyncio.create_task(house.speak(headers={"cache-control": "no-cache"}))
    await until(lambda: house.calls == 2)
    assert (await house.gateway.upkeep.run()).swept == 0
    assert all(path.exists() for path in left)
    asking.cancel()


# ── beside others ────────────────────────────────────────────────────────────────────────────────


async def test_two_of_it_and_requests_at_once(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    """Nobody is answered wrongly, and the limit is kept as if there had been one."""
    houses = [await make_house(upkeep=False, max_entries=20, flush_seconds=0.05, **engine) for _ in range(2)]
    texts = await speak_all(houses[0], 60)

    async def ask(house: House, first: int) -> None:
        for text in texts[first::4]:
            heard = await house.speak(text)
            assert (heard.status, len(heard.audio) > 0) == (200, True)

    await asyncio.gather(
        *(house.gateway.upkeep.run() for house in houses),
        *(ask(house, first) for first, house in enumerate(houses * 2)),
    )
    await houses[0].gateway.upkeep.run()
    assert await houses[0].rows() == len(houses[0].blobs()) == 20


async def test_one_process_does_it_in_an_hour(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    clock = Clock()
    houses = [await make_house(clock=clock, upkeep=False, **engine) for _ in range(2)]
    claims = [await house.gateway.catalog.claim("upkeep", 3_600) for house in houses * 2]
    assert claims == [True, False, False, False]
    clock.now += 3_601
    claims = await asyncio.gather(*(house.gateway.catalog.claim("upkeep", 3_600) for house in houses * 2))
    assert sorted(claims) == [False, False, False, True]


async def test_it_runs_by_itself(make_house: MakeHouse) -> None:
    clock = Clock()
    house = await make_house(clock=clock, keep="5m", flush_seconds=0.05)
    await house.speak()
    clock.now += 3_601
    await until(lambda: not house.blobs())
    assert await house.rows() == 0


# ── invalidation ─────────────────────────────────────────────────────────────────────────────────


async def test_what_is_selected_goes_and_nothing_else(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    clock = Clock()
    house = await make_house(clock=clock, upkeep=False, **engine)
    await house.speak("One.", voice="nova")
    await house.speak("Two.", voice="alloy")
    await house.speak("Three.", voice="alloy", headers={"x-sayonce-scope": "user", "x-sayonce-user": "ann"})
    await house.speak("Four.", voice="alloy", headers={"x-sayonce-scope": "session", "x-sayonce-session": "s1"})
    for which, number in (
        ({"voice": "nobody"}, 0),
        ({"user": "ben"}, 0),
        ({"user": "ann"}, 1),
        ({"session": "s1", "voice": "nova"}, 0),
        ({"session": "s1"}, 1),
        ({"voice": "alloy", "provider": "openai"}, 1),
        ({"tenant": "default"}, 1),
    ):
        seen = await house.http.post("/admin/invalidate", json={**which, "dry_run": True})
        assert seen.json()["selected"] == number, which
        done = await house.http.post("/admin/invalidate", json=which)
        assert done.json() == {"success": True, "removed": number}
    assert (await house.rows(), house.blobs()) == (0, [])
    assert await outcome(house, "One.") == "miss"


async def test_by_age(house: House) -> None:
    await house.speak()
    for age, number in (("1h", 0), ("0s", 1)):
        done = await house.http.post("/admin/invalidate", json={"older_than": age})
        assert done.json()["removed"] == number


@pytest.mark.parametrize("body", [{}, {"dry_run": True}, {"who": "x"}, {"older_than": "soon"}, {"tenant": ""}])
async def test_nothing_selected_is_nothing_done(house: House, body: dict[str, Any]) -> None:
    await house.speak()
    answer = await house.http.post("/admin/invalidate", json=body)
    assert answer.status_code == 400
    assert await house.rows() == 1


def command(*arguments: str, **variables: str) -> str:
    ran = CliRunner().invoke(app, arguments, env=variables)
    assert ran.exception is None, ran.exception
    return ran.output


def test_the_commands(tmp_path: Path) -> None:
    there = {"SAYONCE_DATA_DIR": str(tmp_path / "data")}
    assert "0  assets whose time was over" in command("upkeep", "--dry-run", **there)
    assert '"swept": 0' in command("upkeep", "--json", **there)
    assert "removed 0 assets" in command("invalidate", "--older-than", "30d", **there)
    assert CliRunner().invoke(app, ["invalidate"], env=there).exception is not None
