"""The doctor says what is missing, part by part; it keeps nobody waiting, and does no harm."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sayonce.access import keys
from sayonce.access.callers import Role
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.registry import connect
from sayonce.checkup.findings import Finding
from sayonce.checkup.rounds import check_up, is_well
from sayonce.cli import app
from sayonce.settings import load
from tests.buckets import Inside
from tests.conftest import House
from tests.integration.doctor.conftest import answering, http_answer, told, verdicts

# ── all well, and no harm ────────────────────────────────────────────────────────────────────────


async def test_beside_a_gateway_it_asks_nobody_to_speak_and_changes_nothing(house: House) -> None:
    await house.speak()
    rows, blobs, newest = await house.rows(), house.blobs(), await house.gateway.catalog.newest_change()
    settings = house.gateway.settings
    found = await told(
        data_dir=settings.data_dir, openai_base_url=settings.openai_base_url, openai_api_key="sk-x", chain="openai"
    )
    assert is_well(found.values()), found
    assert verdicts(found, "catalog") == dict.fromkeys(("reached", "schema", "written", "room"), "ok")
    assert verdicts(found, "provider openai") == dict.fromkeys(("set up", "key", "reached"), "ok")
    assert verdicts(found, "storage local") == {
        "written and read": "ok",
        "blob": "ok",
        "list": "ok",
        "address": "skipped",
        "delete": "ok",
        "lifecycle": "skipped",
    }
    assert verdicts(found, "clock") == {"time": "ok"}, "the provider told the time"
    assert (house.calls, await house.rows(), house.blobs()) == (1, rows, blobs)
    assert await house.gateway.catalog.newest_change() == newest
    assert (await house.speak()).outcome == "hit"


async def test_before_the_first_start_nothing_is_made() -> None:
    found = await told()
    assert is_well(found.values()), found
    assert "empty" in found["catalog", "schema"].said
    assert not Path("data/catalog.db").exists()
    assert {path.name for path in Path("data/audio").rglob("*")} == {".partial", ".sayonce-storage"}, (
        "as the start does"
    )


async def test_what_is_under_way_is_said_meanwhile() -> None:
    seen: list[set[str]] = []
    parts = [
        part
        async for part in check_up(
            lambda: load(data_dir=Path("data").absolute()), waiting=lambda names: seen.append(set(names))
        )
    ]
    assert seen[0] == {"settings", "catalog", "storage local", "provider espeak"}
    assert len(parts) == 5


# ── settings ─────────────────────────────────────────────────────────────────────────────────────


async def test_each_wrong_setting_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYONCE_PROT", "secret-1")
    monkeypatch.setenv("SAYONCE_KEPE", "secret-2")
    monkeypatch.setenv("SAYONCE_PORT", "secret-3")
    found = await told()
    assert verdicts(found, "settings") == {
        "SAYONCE_PROT": "failed",
        "SAYONCE_KEPE": "failed",
        "port": "failed",
        "all else": "skipped",
    }
    assert "SAYONCE_PORT?" in found["settings", "SAYONCE_PROT"].said
    assert {part for part, _ in found} == {"settings"}
    assert "secret" not in str(found)


async def test_a_file_that_cannot_be_read_is_said() -> None:
    Path("sayonce.toml").write_text("port = ")
    found = await told()
    assert "sayonce.toml cannot be read" in found["settings", "read"].said


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"path_template": "{nothing}"}, "path_template"),
        ({"message_path": "one.mp3"}, "message_path"),
        ({"default_upstream": "espeak", "chain": "openai"}, "chain"),
        ({"cleaner": {"modle": "x"}}, "cleaner"),
        ({"turn_path": "{nothing}"}, "turn_path"),
        ({"schedules": {"nightly": {"cron": "soon", "do": "upkeep"}}}, "schedules"),
    ],
    ids=str,
)
async def test_settings_that_do_not_fit_are_said(wrong: dict[str, Any], what: str) -> None:
    found = await told(**wrong)
    assert found["settings", what].verdict == "failed"
    assert found["settings", what].remedy
    assert found["catalog", "reached"].verdict == "ok", "all else is checked"


# ── the clock, and who is let in ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("ahead", "verdict", "way"),
    [
        (0, "ok", "agrees"),
        (4, "ok", "agrees"),
        (20, "warning", "behind"),
        (-20, "warning", "ahead of"),
        (3_600, "failed", "3,600 seconds behind"),
    ],
)
async def test_a_clock_that_is_apart_is_said(ahead: float, verdict: str, way: str) -> None:
    async with answering(lambda _: http_answer(404, date=time.time() + ahead)) as (address, _):
        found = await told(chain="openai", openai_base_url=address, openai_api_key="k")
    line = found["clock", "time"]
    assert line.verdict == verdict
    assert way in line.said
    assert "provider openai" in line.said


async def test_an_answer_that_a_cdn_kept_is_not_taken_for_the_time(mine: Inside) -> None:
    old = http_answer(200, b"x", time.time() - 500, age="500")
    async with answering(lambda _: old) as (mine.address, _):
        assert (await told(storage="bucket://mine"))["clock", "time"].verdict == "ok"
    async with answering(lambda _: http_answer(200, b"x", date=None, Date="yesterday")) as (mine.address, _):
        assert (await told(storage="bucket://mine"))["clock", "time"].verdict == "skipped"


async def test_who_is_let_in(postgres: str) -> None:
    async def exposure(**settings: Any) -> Finding:
        return (await told(database_url=postgres, **settings))["exposure", "keys"]

    open_door = await exposure(host="0.0.0.0")
    assert (open_door.verdict, "sayonce keys create" in open_door.remedy) == ("failed", True)
    assert (await exposure()).verdict == "ok"
    assert (await exposure(require_keys=True)).verdict == "warning"
    catalog = Catalog(connect(postgres), time.time)
    assert (await exposure(host="0.0.0.0")).verdict == "failed"
    await keys.create(catalog, "default", "", [Role.SPEAK], time.time)
    shut = await exposure(host="0.0.0.0")
    assert (shut.verdict, "1 key" in shut.said) == ("ok", True)
    assert (await exposure(require_keys=True)).verdict == "ok"
    await catalog.aclose()


# ── on the command line ──────────────────────────────────────────────────────────────────────────


def command(*words: str, **env: str) -> tuple[int, str]:
    ran = CliRunner().invoke(app, ["doctor", *words], env={"SAYONCE_DATA_DIR": "data", **env})
    assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
    return ran.exit_code, ran.stdout


def test_the_command() -> None:
    code, said = command()
    assert (code, "All is well." in said) == (0, True)
    code, said = command(SAYONCE_CHAIN="elevenlabs,espeak")
    assert code == 1
    assert "Set ELEVENLABS_API_KEY." in said
    code, said = command(SAYONCE_REQUIRE_KEYS="true")
    assert (code, "Not all is well." in said) == (1, True), "a warning is not well, either"
    code, said = command("--json", SAYONCE_HOST="0.0.0.0")
    report = json.loads(said)
    assert (code, report["well"]) == (1, False)
    [wrong] = [each for each in report["findings"] if each["verdict"] == "failed"]
    assert wrong["part"] == "exposure"
    assert set(wrong) == {"part", "what", "verdict", "said", "remedy"}
