"""`/api/cache-stats` and `sayonce stats`: what is kept and most used, and to whom its texts are told."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from typer.testing import CliRunner

from sayonce.access.callers import Role
from sayonce.cache import figures
from sayonce.catalog import census
from sayonce.catalog.records import Use
from sayonce.cli import app
from tests.conftest import House, MakeHouse
from tests.integration.laws.test_law_09_scopes_hold import key_of
from tests.integration.test_retention import engine
from tests.integration.test_storage_cost import stats_of

__all__ = ["engine"]


async def ask(house: House, text: str, times: int, **how: Any) -> str:
    """Asks so many times; gives the content hash."""
    for _ in range(times):
        heard = await house.speak(text, **how)
    return heard.headers["x-content-hash"]


@pytest.fixture(params=[2, 500_000])
def parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in parts of so many assets."""
    monkeypatch.setattr(census, "_ASSETS", request.param)


@pytest.mark.usefixtures("parts")
async def test_what_is_kept_and_most_used(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    now = time.time()
    house = await make_house(clock=lambda: now, tier="database://", flush_seconds=3600, **engine)
    names = [await ask(house, f"Sentence {n}.", n) for n in (1, 3, 2, 5)]
    over = await ask(house, "Over soon.", 7, headers={"x-sayonce-keep": "1m"})
    asset = await house.gateway.catalog.find(bytes.fromhex(over))
    assert asset is not None
    now += 61
    told = await stats_of(house)
    assert (told["entries"], told["hits"], told["misses"]) == (5, 13, 5)
    assert told["average_hits"] == round(13 / 5, 2)
    assert (told["expired"], told["pinned"]) == (1, 0)
    used = told["most_used"]
    assert [(each["content_hash"], each["text"], each["hits"]) for each in used] == [
        (names[3], "Sentence 5.", 4),
        (names[1], "Sentence 3.", 2),
        (names[2], "Sentence 2.", 1),
    ]
    heard = 6 * asset.duration + sum(each["seconds"] * each["hits"] for each in used)
    assert told["saved_seconds"] == pytest.approx(heard, abs=0.01)
    assert (used[0]["provider"], used[0]["voice"], used[0]["tenant"]) == ("openai", "nova", "default")
    assert told["by_tier"]["tier"] == told["by_tier"]["storage"] == {"entries": 5, "bytes": told["bytes"]}
    assert told["by_tier"]["memory"] == told["memory"]
    assert told["stale"] is None


@pytest.mark.usefixtures("parts")
async def test_pinned(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    house = await make_house(**engine)
    name = bytes.fromhex(await ask(house, "Mine.", 1))
    for n in range(3):
        await ask(house, f"Another, {n}.", 1)
    asset = await house.gateway.catalog.find(name)
    assert asset is not None
    for kind in ("greeting", "collection"):
        await house.gateway.catalog.attach(name, asset.blobs[0], Use(kind, "one", pinned=True))
    told = await stats_of(house)
    assert (told["entries"], told["pinned"]) == (4, 1)


async def test_what_is_deleted_or_over_is_told_no_more_however_old_the_figures(
    make_house: MakeHouse, engine: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "_LITTLE", 0)
    monkeypatch.setattr(figures, "_WORTH", 1_000_000)
    now = time.time()
    house = await make_house(clock=lambda: now, **engine)
    gone, stays = await ask(house, "Gone.", 3), await ask(house, "Stays.", 2)
    await ask(house, "Over.", 2, headers={"x-sayonce-keep": "1m"})
    before = await stats_of(house)
    assert [each["text"] for each in before["most_used"]] == ["Gone.", "Stays.", "Over."]
    await house.http.delete(f"/api/voice/{gone}")
    now += 61
    after = await stats_of(house)
    assert (after["as_of"], after["entries"]) == (before["as_of"], 3)
    assert [each["content_hash"] for each in after["most_used"]] == [stays]


async def test_texts_are_told_to_whoever_may_have_them(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    house = await make_house(require_keys=True, **engine)
    one, two = await key_of(house, "one"), await key_of(house, "two")
    boss = await key_of(house, "boss", Role.ADMIN)
    await ask(house, "Ours.", 4, headers=one)
    await ask(house, "Theirs.", 3, headers=two)
    for scope in ({"scope": "user", "user": "ann"}, {"scope": "session", "session": "s"}):
        await ask(house, "Ann's alone.", 5, headers=one, **scope)
    told = await stats_of(house, **one)
    assert [(each["text"], each["hits"]) for each in told["most_used"]] == [("Ours.", 3)]
    assert (list(told["by_tenant"]), told["hits"]) == (["one"], 11)
    assert [each["text"] for each in (await stats_of(house, **two))["most_used"]] == ["Theirs."]
    found = (await stats_of(house, **boss))["most_used"]
    assert [(each["tenant"], each["text"], each["hits"]) for each in found] == [("one", None, 3), ("two", None, 2)]
    nobody = await key_of(house, "nobody")
    empty = await stats_of(house, **nobody)
    assert (empty["entries"], empty["hit_rate"], empty["average_hits"], empty["most_used"]) == (0, 0.0, 0.0, [])


async def test_texts_that_are_not_kept_are_not_told(make_house: MakeHouse, engine: dict[str, Any]) -> None:
    house = await make_house(keep_text=False, **engine)
    name = await ask(house, "Forget this.", 2)
    [entry] = (await stats_of(house))["most_used"]
    assert (entry["text"], entry["content_hash"]) == (None, name)


@pytest.mark.parametrize("as_json", [True, False])
async def test_the_command_tells_it(make_house: MakeHouse, as_json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    house = await make_house(keep_text=True)
    await ask(house, "[red]Say[/] it \u202eonce, and say it at such a length that it fits nowhere at all.", 3)
    quiet = await make_house(keep_text=False)
    name = await ask(quiet, "Forget this.", 2)
    await stats_of(house)
    await stats_of(quiet)
    monkeypatch.setenv("SAYONCE_DATA_DIR", str(house.gateway.settings.data_dir))
    command = ["stats", "--json"] if as_json else ["stats"]
    ran = await asyncio.to_thread(CliRunner().invoke, app, command, env={"COLUMNS": "120"})
    assert ran.exception is None, ran.exception
    if as_json:
        assert [each["hits"] for each in json.loads(ran.output)["most_used"]] == [2, 1]
        return
    lines = [line.split() for line in ran.output.splitlines()]
    assert ["most", "used", "voice", "hits", "size", "last", "used"] in lines
    [shown] = [line for line in ran.output.splitlines() if "[red]Say[/] it" in line]
    assert "…" in shown
    assert "\u202e" not in ran.output
    assert shown.split()[-5] == "2"
    assert [line[2] for line in lines if line[:1] == [name[:16]]] == ["1"]
    assert "hit rate 60.0%, 1.5 hits a clip" in ran.output
