"""What is wrong with a row is told by its place, and nothing else fails with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from sayonce.batch.importing import Outcome
from sayonce.batch.sources.folder import Folder
from sayonce.errors import InvalidRequest
from tests.conftest import House, MakeHouse
from tests.integration.importing.conftest import TEXT, bring, counted, folder_of, recording, rows_of

ROW = {"file": "a.mp3", "text": TEXT, "voice": "nova"}

MP3_CUT = recording()[:-100]
WRONG: dict[str, tuple[dict[str, Any], bytes, str]] = {
    "cut short": ({}, MP3_CUT, "no whole mp3 audio"),
    "a text": ({}, b"This is no audio at all, but a text that somebody has renamed to .mp3.", "it is no mp3 audio"),
    "a page": ({}, b"<html>" + b" " * 1_000, "it is no mp3 audio"),
    "nothing": ({}, b"", "it is empty"),
    "another format": ({"format": "flac"}, recording(), "it is no flac audio in flac"),
    "another rate": ({"format": "mp3_44100_128"}, recording(), "24000 samples a second, and not 44100"),
    "much too long": ({"text": "Hi."}, recording(TEXT * 9), "too long for its text"),
    "much too short": ({"text": TEXT * 9}, recording("Hi."), "too short for its text"),
    "no text": ({"text": None}, recording(), "nothing tells its text"),
    "no words": ({"text": " \n "}, recording(), ""),
    "a number": ({"text": 7}, recording(), "its text is not text"),
    "no voice": ({"voice": ""}, recording(), "nothing tells its voice"),
    "no such format": ({"format": "mp9"}, recording(), "there is no such format"),
    "no such upstream": ({"upstream": "nobody"}, recording(), "There is no such upstream"),
    "an upstream without a key": ({"upstream": "deepgram"}, recording(), "Set DEEPGRAM_API_KEY"),
    "no such scope": ({"scope": "everyone"}, recording(), "there is no such scope"),
    "nobody's": ({"scope": "user"}, recording(), "needs to know the user"),
    "a wrong speed": ({"speed": "fast"}, recording(), "its speed is no number"),
    "an endless speed": ({"speed": "inf"}, recording(), ""),
    "a wrong option": ({"options": "[1]"}, recording(), "its options are no set"),
    "half a variation": ({"variation": 1.5}, recording(), "no whole number"),
    "a misspelt field": ({"vioce": "nova"}, recording(), "there is no field 'vioce'"),
    "too long a text": ({"text": "word " * 2_000}, recording(), ""),
}


@pytest.mark.parametrize(("told", "data", "why"), WRONG.values(), ids=WRONG)
async def test_what_is_wrong_is_told_by_its_row(
    house: House, tmp_path: Path, told: dict[str, Any], data: bytes, why: str
) -> None:
    rows = [ROW | {"file": "good.mp3"}, ROW | {"text": TEXT + "!"} | told]
    report = await bring(house, folder_of(tmp_path / "in", rows, {"good.mp3": recording(), "a.mp3": data}))
    assert counted(report) == {"imported": 1, "refused": 1}
    [(place, reason)] = report.refused
    assert place == "line 2"
    assert why in reason
    assert TEXT not in reason
    assert len(house.blobs()) == await house.rows() == 1


@pytest.mark.parametrize("name", ["../outside.mp3", "{root}/../outside.mp3", "link.mp3", "linked/outside.mp3"])
async def test_nothing_outside_of_the_folder_is_read(house: House, tmp_path: Path, name: str) -> None:
    (tmp_path / "outside.mp3").write_bytes(recording())
    root = folder_of(tmp_path / "in", [ROW | {"file": name.replace("{root}", str(tmp_path / "in"))}], {})
    (root / "link.mp3").symlink_to(tmp_path / "outside.mp3")
    (root / "linked").symlink_to(tmp_path)
    report = await bring(house, root)
    assert report.refused == [("line 1", "its file is outside of the folder.")]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        *[("gone.mp3", "No such file"), ("folder", "no plain file"), ("pipe.mp3", "no plain file")],
        *[("", "names no file"), (7, "names no file"), ("long" * 200, "too long")],
    ],
)
async def test_a_file_that_is_none_is_refused(house: House, tmp_path: Path, name: Any, why: str) -> None:
    root = folder_of(tmp_path / "in", [{"file": name, "text": TEXT, "voice": "nova", "format": "mp3"}], {})
    (root / "folder").mkdir()
    os.mkfifo(root / "pipe.mp3")
    [(place, reason)] = (await bring(house, root)).refused
    assert place == "line 1"
    assert why in reason


async def test_a_link_within_the_folder_is_followed(house: House, tmp_path: Path) -> None:
    root = folder_of(tmp_path / "in", [ROW], {"b.mp3": recording()})
    (root / "a.mp3").symlink_to("b.mp3")
    assert counted(await bring(house, root)) == {"imported": 1}


async def test_what_is_too_large_is_not_read(make_house: MakeHouse, tmp_path: Path) -> None:
    house = await make_house(max_audio=1_000)
    report = await bring(house, folder_of(tmp_path / "in", [ROW], {"a.mp3": recording()}))
    assert "are more than 1,000" in report.refused[0][1]


async def test_a_model_that_nothing_tells_is_asked_for(house: House, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", [ROW], {"a.mp3": recording()})
    report = await bring(house, source, model=None)
    assert report.refused == [("line 1", "nothing tells its model. Give it with --model.")]
    raw = folder_of(tmp_path / "raw", [ROW | {"file": "a.pcm"}], {"a.pcm": b"\0\0" * 24_000})
    assert "Give it with --format" in (await bring(house, raw)).refused[0][1]
    assert counted(await bring(house, raw, format="pcm")) == {"imported": 1}


async def test_the_doubtful_is_kept_when_told_so(house: House, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", [ROW | {"text": "Hi."}], {"a.mp3": recording(TEXT * 9)})
    assert counted(await bring(house, source, doubtful=True)) == {"imported": 1}
    [asset] = await rows_of(house)
    assert asset.flags == "implausible"


async def test_a_broken_row_ends_it_and_what_landed_stays(house: House, tmp_path: Path) -> None:
    rows = [ROW | {"file": f"{n}.mp3", "text": f"Say {n}."} for n in range(250)]
    root = folder_of(tmp_path / "in", rows, {row["file"]: recording(row["text"]) for row in rows})
    with (root / "manifest.jsonl").open("a") as manifest:
        manifest.write('{"text": "broken\n')
    with pytest.raises(InvalidRequest, match=r"line 251: is no JSON"):
        await bring(house, root)
    assert await house.rows() == 250
    (root / "manifest.jsonl").write_text((root / "manifest.jsonl").read_text().rpartition('{"text": "broken')[0])
    assert counted(await bring(house, root)) == {"known": 250}


@pytest.mark.parametrize("names", [(), ("manifest.csv", "manifest.yaml")])
def test_a_folder_without_its_manifest_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).write_text("text\na\n")
    with pytest.raises(InvalidRequest, match="--manifest"):
        Folder(tmp_path, None, {}, 1)
    with pytest.raises(InvalidRequest, match="is no folder"):
        Folder(tmp_path / "gone", None, {}, 1)


def test_outcomes_are_those_that_people_read() -> None:
    assert {*Outcome} == {"imported", "known", "busy", "refused"}
