"""A catalog built anew from a storage: all of it is back, nobody pays, and it can be done again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from typer.testing import CliRunner

from sayonce.cache import adoption
from sayonce.cache.adoption import Adoption, Manner, Outcome
from sayonce.catalog.records import Asset
from sayonce.cli import app
from sayonce.cluster.catalog_leases import CatalogLeases
from sayonce.storage.contract import PLAIN, Serving
from sayonce.storage.local import LocalStorage
from tests.conftest import House, MakeHouse
from tests.integration.adoption.conftest import adopt, ask, assets, counted, forget, key_of, storage_of
from tests.integration.test_sessions import record, tone


async def test_all_is_a_hit_again_and_scopes_hold(make_house: MakeHouse, elsewhere: str) -> None:
    before = await make_house(require_keys=True, poll_seconds=0.05)
    said = await ask(before, {tenant: await key_of(before, tenant) for tenant in ("one", "two")})
    assert {outcome for outcome, _ in said} == {"miss", "hit"}, "formats of one recipe are transcoded"
    known, paid = await assets(before), before.calls

    after = await make_house(require_keys=True, database_url=elsewhere, poll_seconds=0.05)
    report = await adopt(after)
    assert counted(report) == {Outcome.ADOPTED: len(before.blobs())}
    assert dict(report.catalogs) == {await before.gateway.catalog.identity(): len(before.blobs())}
    assert await assets(after) == known, "marks, cost, flags, whose it is, where it lies: all but the text"

    headers = {tenant: await key_of(after, tenant) for tenant in ("one", "two")}
    assert await ask(after, headers) == [("hit", audio) for _, audio in said]
    assert before.calls == paid
    for content_hash, asset in known.items():
        await there_for_its_owner_alone(after, headers, content_hash, asset)


async def there_for_its_owner_alone(
    house: House, headers: Mapping[str, dict[str, str]], content_hash: bytes, asset: Asset
) -> None:
    path, mine = f"/api/voice/{content_hash.hex()}", headers[asset.owner.tenant]
    theirs = headers["two" if asset.owner.tenant == "one" else "one"]
    who = {"x-sayonce-user": asset.owner.user, "x-sayonce-session": asset.owner.session}
    own = mine | {name: value.encode() for name, value in who.items() if value}  # type: ignore[operator]
    assert (await house.http.get(path, headers=own)).status_code == 200
    assert (await house.http.get(path, headers=theirs)).status_code == (200 if asset.owner.scope == "shared" else 404)
    if own != mine:
        assert (await house.http.get(path, headers=mine)).status_code == 404


async def test_timings_cost_and_flags_come_back(make_house: MakeHouse, elsewhere: str) -> None:
    how: dict[str, Any] = {"before": ["elevenlabs"], "default_upstream": "elevenlabs"}
    before = await make_house(**how, upstreams={"elevenlabs": {"price": 80.0}})
    before.vendors.all["elevenlabs"].behave(seconds=60.0)  # which is believed the second time
    for _ in range(2):
        await before.speak("Too long.", voice="21m00Tcm4TlvDq8ikWAM")
    await before.speak("Too long.", voice="21m00Tcm4TlvDq8ikWAM", response_format="wav")
    known = await assets(before)
    assert {bool(each.marks) and bool(each.cost) for each in known.values()} == {True}
    assert {each.transcoded for each in known.values()} == {True, False}
    assert {frozenset({"implausible"})} == {each.flags for each in known.values()}
    after = await make_house(database_url=elsewhere, **how)
    await adopt(after)
    assert await assets(after) == known


async def test_each_blob_is_stamped_anew_and_served_as_before(make_house: MakeHouse, elsewhere: str) -> None:
    before = await make_house()
    await before.speak()
    after = await make_house(database_url=elsewhere)
    async with storage_of(after) as storage:
        [blob] = [blob async for blob in storage.list()]
        told = await storage.metadata(blob.path)
        await storage.write(blob.path, await storage.read(blob.path), {**told, "later": "x"})
        await adopt(after)
        stamped = await storage.metadata(blob.path)
    assert stamped == {**told, "later": "x", "catalog": await after.gateway.catalog.identity()}
    assert stamped["catalog"] != told["catalog"]


async def test_what_the_storage_is_told_of_each(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """New bytes of a message take the same path: no browser may keep them for good."""
    written: dict[str, Serving] = {}
    write = LocalStorage.write

    async def noted(self: LocalStorage, path: str, data: bytes, told: Any, serving: Serving = PLAIN) -> None:
        written[path] = serving
        await write(self, path, data, told, serving)

    monkeypatch.setattr(LocalStorage, "write", noted)
    await ask(house, {"one": {}, "two": {}})
    first, written = written, {}
    await forget(house)
    await adopt(house)
    assert written == first
    assert {"immutable" in serving.cache_control for serving in written.values()} == {True, False}


async def test_a_second_run_finds_nothing_to_do(house: House) -> None:
    await ask(house, {"one": {}, "two": {}})
    await forget(house)
    many = len(house.blobs())
    assert counted(await adopt(house)) == {Outcome.ADOPTED: many}
    before = {path: path.stat().st_mtime_ns for path in house.blobs()}
    assert counted(await adopt(house)) == {Outcome.KNOWN: many}
    assert {path: path.stat().st_mtime_ns for path in house.blobs()} == before


async def test_it_goes_on_where_it_was_stopped(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption, "_BATCH", 2)
    for n in range(5):
        await house.speak(f"Sentence number {n}.")
    await forget(house)
    catalog = house.gateway.catalog
    async with storage_of(house) as storage:
        running = Adoption(catalog, CatalogLeases(catalog, 10), storage, Manner(), time.time).run()
        assert counted(await anext(running)) == {Outcome.ADOPTED: 2}
        await running.aclose()
    assert await house.rows() == 2
    assert counted(await adopt(house)) == {Outcome.ADOPTED: 3, Outcome.KNOWN: 2}


async def test_two_runs_at_once_adopt_each_once(make_house: MakeHouse, elsewhere: str) -> None:
    before = await make_house()
    for n in range(6):
        await before.speak(f"Sentence number {n}.")
        await before.speak(f"Sentence number {n}.", response_format="wav")
    after = await make_house(database_url=elsewhere)
    runs = await asyncio.gather(*(adopt(after) for _ in range(3)))
    assert sum(run.count[Outcome.ADOPTED] for run in runs) == 12
    assert await after.rows() == 12
    heard = [await after.speak(f"Sentence number {n}.") for n in range(6)]
    assert {each.outcome for each in heard} == {"hit"}
    assert before.calls == 6


async def test_a_dry_run_changes_nothing(make_house: MakeHouse, elsewhere: str) -> None:
    before = await make_house()
    await ask(before, {"one": {}, "two": {}})
    files = {path: path.read_bytes() for path in (before.gateway.settings.data_dir / "audio").rglob("*.json")}
    after = await make_house(database_url=elsewhere)
    assert counted(await adopt(after, dry=True)) == {Outcome.ADOPTED: len(before.blobs())}
    assert await after.rows() == 0
    assert {path: path.read_bytes() for path in files} == files


async def test_for_how_long(house: House) -> None:
    heard = await house.speak()
    for keep in (None, 3_600.0):
        await forget(house)
        await adopt(house, keep=keep)
        asset = await house.gateway.catalog.find(bytes.fromhex(heard.headers["x-content-hash"]))
        assert asset is not None
        assert asset.until == (None if keep is None else pytest.approx(time.time() + keep, abs=60))


# ── on the command line ──────────────────────────────────────────────────────────────────────────


async def test_the_command(make_house: MakeHouse, elsewhere: str) -> None:
    house = await make_house()
    await ask(house, {"one": {}, "two": {}})
    house.blobs()[0].write_bytes(b"broken")
    many = len(house.blobs()) - 1
    env = {"DATABASE_URL": elsewhere, "SAYONCE_DATA_DIR": str(house.gateway.settings.data_dir)}

    def command(*words: str) -> str:
        ran = CliRunner().invoke(app, ["adopt", *words], env=env)
        assert ran.exit_code == 0, ran.output
        return ran.stdout

    assert f"{many} would be adopted" in await asyncio.to_thread(command, "--dry-run")
    said = await asyncio.to_thread(command, "--keep", "30d")
    assert f"{many} adopted" in said
    assert "1 broken" in said
    assert "its bytes are others" in said
    report = json.loads(await asyncio.to_thread(command, "--json", "--storage", "local"))
    assert (report["adopted"], report["known"], report["broken"]) == (0, many, 1)


@pytest.mark.parametrize("words", [["--keep", "soon"], ["--keep", "0d"]])
def test_a_wrong_span_is_refused(words: list[str]) -> None:
    assert CliRunner().invoke(app, ["adopt", *words]).exit_code == 2


async def test_what_was_recorded_makes_no_room(make_house: MakeHouse, elsewhere: str) -> None:
    """Nobody could speak it anew; which turn it was is lost with the catalog."""
    before = await make_house()
    heard = await record(before, tone())
    await before.speak("What a vendor can say again.")
    after = await make_house(database_url=elsewhere, max_entries=0, upkeep=False)
    assert (await adopt(after)).count[Outcome.ADOPTED] == 2
    await after.gateway.upkeep.run()
    assert await after.rows() == 1
    assert (await after.http.get(f"/audio/{heard['content_hash']}.opus")).content == tone()
