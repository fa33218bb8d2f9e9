"""A bucket's lifecycle rules: which are asked for, what is said before one deletes, and that they are read back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sayonce.cli import app
from sayonce.errors import InvalidSettings, StorageError, StorageMisconfigured
from sayonce.settings import load
from sayonce.storage import registry
from sayonce.storage.contract import LifecycleRule
from sayonce.storage.lifecycle import wanted
from tests.buckets import Inside, buckets
from tests.conftest import MakeHouse

TABLE = """
storage = "bucket://mine"
[storages."bucket://mine"]
colour = "blue"
lifecycle = [{days = 90, to = "COLD"}, {days = 30, to = "COOL"}%s]
"""
COLDER = [LifecycleRule(30, "COOL"), LifecycleRule(90, "COLD")]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inside]:
    """A bucket that holds a rule of somebody's."""
    with buckets(tmp_path, monkeypatch, "mine") as made:
        made["mine"].rules = [LifecycleRule(7, "ARCHIVE")]
        monkeypatch.setenv("SAYONCE_DATA_DIR", str(tmp_path / "data"))
        yield made["mine"]


def told(further: str = "") -> None:
    Path("sayonce.toml").write_text(TABLE % further)


def command(*words: str, answer: str = "", **env: str) -> tuple[int, str]:
    ran = CliRunner().invoke(app, ["lifecycle", *words], input=answer, env=env)
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    return ran.exit_code, " ".join(ran.output.split())


# ── which rules ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("away", ["GLACIER", "DEEP_ARCHIVE"])
def test_audio_stays_at_hand(away: str) -> None:
    with pytest.raises(InvalidSettings, match=f"out of reach: {away}"):
        wanted("x", {"backend": "s3", "lifecycle": [{"days": 30, "to": away}]}, None)


@pytest.mark.parametrize(
    ("backend", "classes"), [("gcs", ["NEARLINE", "COLDLINE"]), ("s3", ["STANDARD_IA", "GLACIER_IR"])]
)
def test_the_usual_ones_delete_only_what_is_not_kept_for_as_long(backend: str, classes: list[str]) -> None:
    colder = [LifecycleRule(days, to) for days, to in zip((30, 90), classes, strict=True)]
    assert wanted("x", {"backend": backend}, None) == colder
    assert wanted("x", {"backend": backend}, 365 * 86_400.0) == colder
    assert wanted("x", {"backend": backend}, 364 * 86_400.0) == [*colder, LifecycleRule(365, None)]


def test_other_backends_have_no_usual_ones() -> None:
    assert wanted("x", {"backend": "local"}, 60.0) == []


def test_a_table_says_exactly_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYONCE_STORAGES", '{"cold": {"backend": "s3", "lifecycle": [{"days": 10, "to": "Delete"}]}}')
    table = load().all_storages["cold"]
    assert wanted("cold", table, None) == [LifecycleRule(10, None)]
    assert wanted("cold", {**table, "lifecycle": []}, 60.0) == []


@pytest.mark.parametrize(
    "rules",
    [
        "NEARLINE",
        {},
        [{"days": 30}],
        [{"to": "X"}],
        [{"days": "30", "to": "X"}],
        [{"days": True, "to": "X"}],
        [{"days": 0, "to": "X"}],
        [{"days": 1, "to": ""}],
        [{"days": 1, "to": "X", "form": "Y"}],
        [{"days": 1, "to": "X"}, {"days": 1, "to": "Y"}],
        [{"days": 1, "to": "delete"}, {"days": 2, "to": "Y"}],
        [5],
    ],
    ids=str,
)
def test_what_are_no_rules(rules: Any) -> None:
    with pytest.raises(InvalidSettings, match="'cold'"):
        wanted("cold", {"lifecycle": rules}, None)


# ── show and apply ───────────────────────────────────────────────────────────────────────────────


def test_both_are_shown_and_none_is_written(mine: Inside) -> None:
    told()
    code, said = command("show")
    assert code == 0
    assert "bucket://mine has rules: after 7 days: ARCHIVE" in said
    assert "ask for these: after 30 days: COOL after 90 days: COLD" in said
    assert mine.rules == [LifecycleRule(7, "ARCHIVE")]
    mine.rules = COLDER
    assert "ask for the same" in command("show")[1]
    mine.rules = []
    assert "bucket://mine has none." in command("show")[1]
    mine.rules = None
    assert "can have none" in command("show")[1]


def test_they_are_written_and_read_back(mine: Inside) -> None:
    told()
    assert command("apply")[0] == 0
    assert mine.rules == COLDER
    mine.stubborn = True
    assert "already" in command("apply")[1], "nothing is written again"
    mine.rules = []
    with pytest.raises(StorageError, match="other lifecycle rules"):
        command("apply")


@pytest.mark.parametrize(("answer", "words", "written"), [("y", (), True), ("n", (), False), ("", ("--yes",), True)])
def test_a_deletion_is_asked_for(mine: Inside, answer: str, words: tuple[str, ...], written: bool) -> None:
    told(', {days = 365, to = "delete"}')
    code, said = command("apply", *words, answer=answer)
    assert code == (0 if written else 1)
    assert mine.rules == ([*COLDER, LifecycleRule(365, None)] if written else [LifecycleRule(7, "ARCHIVE")])
    assert ("is kept for good" in said) is not bool(words)


async def test_how_much_of_it_is_kept_forever_is_said(mine: Inside, make_house: MakeHouse) -> None:
    house = await make_house(storage="bucket://mine")
    short = await make_house(storage="bucket://mine", keep=3_600)
    for n in range(2):
        await house.speak(f"Sentence number {n}.")
    await short.speak("A sentence that is not kept for long.")
    told(', {days = 365, to = "delete"}')
    _, said = await asyncio.to_thread(command, "apply", answer="n")
    assert "2 clips that the catalog keeps forever" in said


def test_where_there_can_be_none(mine: Inside) -> None:
    told()
    mine.rules = None
    with pytest.raises(StorageMisconfigured, match="no lifecycle rules"):
        command("apply")
    with pytest.raises(StorageMisconfigured, match="upkeep"):
        command("apply", "--storage", "local")
    with pytest.raises(InvalidSettings, match="nowhere"):
        command("show", "--storage", "nowhere")


def test_a_backends_usual_ones(mine: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.OURS, "s3", "tests.buckets:Bucket")
    Path("sayonce.toml").write_text('storage = "cold"\n[storages.cold]\nbackend = "s3"\nurl = "bucket://mine"')
    assert command("apply", SAYONCE_KEEP="30d", answer="y")[0] == 0
    assert mine.rules == [LifecycleRule(30, "STANDARD_IA"), LifecycleRule(90, "GLACIER_IR"), LifecycleRule(365, None)]
