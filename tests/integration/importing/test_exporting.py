"""What was exported comes back unchanged, into a catalog that knows nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from sayonce.batch.exporting import Exporting, Report, row_of
from sayonce.batch.pieces import Reading
from sayonce.batch.rows import opened
from sayonce.catalog.records import Asset, Selection, Tenant
from sayonce.errors import InvalidRequest
from sayonce.speech.chunks import Mark
from sayonce.speech.formats import BY_NAME, MP3
from sayonce.speech.normaliser import normalise
from sayonce.speech.recipes import content_hash_of
from sayonce.speech.requests import Owner, Scope
from tests.conftest import House, MakeHouse
from tests.integration.adoption.conftest import ask, key_of
from tests.integration.importing.conftest import TEXT, bring, counted


async def export(house: House, folder: Path, **how: Any) -> Report:
    which, dry = Selection(**{k: v for k, v in how.items() if k != "dry"}), how.get("dry", False)
    running = Exporting(house.gateway.catalog, house.gateway.shelf, folder, dry=dry).run(which)
    return [report async for report in running][-1]


async def kept(house: House) -> dict[bytes, Asset]:
    """Every asset, but for where its bytes are."""
    found, _ = await house.gateway.catalog.inventory.page(Selection(), 0, 1_000)
    return {asset.content_hash: replace(asset, blobs=()) for asset in found}


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_all_comes_back(
    make_house: MakeHouse, tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    before = await make_house(require_keys=True, before=["elevenlabs"], upstreams={"elevenlabs": {"price": 80.0}})
    headers = {tenant: await key_of(before, tenant) for tenant in ("one", "two")}
    said = await ask(before, headers)
    marked = {"model": "eleven_multilingual_v2", "voice": "elevenlabs/21m00Tcm4TlvDq8ikWAM"}
    assert (await before.speak(TEXT, headers=headers["one"], **marked)).status == 200
    known, paid = await kept(before), [each.counts.calls for each in before.vendors.all.values()]
    assert any(asset.marks and asset.cost for asset in known.values())
    report = await export(before, tmp_path / "out")
    assert (report.written, report.failed) == (len(known), 0)

    url = f"sqlite:///{tmp_path}/another.db" if engine == "sqlite" else request.getfixturevalue("postgres")
    home = {"data_dir": tmp_path / "elsewhere", "database_url": url}
    after = await make_house(require_keys=True, poll_seconds=0.05, before=["elevenlabs"], **home)
    for tenant in ("one", "two"):
        await after.gateway.catalog.put_tenant(Tenant(tenant))
    assert counted(await bring(after, tmp_path / "out")) == {"imported": len(known)}
    assert await kept(after) == known, "hashes, bytes, timings, owner, flags, cost, text, until when"
    again = {tenant: await key_of(after, tenant) for tenant in ("one", "two")}
    assert await ask(after, again) == [("hit", audio) for _, audio in said]
    assert [each.counts.calls for each in after.vendors.all.values()] == paid
    assert counted(await bring(after, tmp_path / "out")) == {"known": len(known)}


async def test_only_what_is_selected_is_exported(house: House, tmp_path: Path) -> None:
    await house.speak(TEXT, voice="nova")
    await house.speak(TEXT, voice="onyx")
    assert (await export(house, tmp_path / "out", voice="onyx", dry=True)).written == 1
    assert not (tmp_path / "out").exists()
    assert (await export(house, tmp_path / "out", voice="onyx")).written == 1
    [row] = opened(tmp_path / "out" / "manifest.jsonl")
    assert (row.fields["voice"], row.fields["text"]) == ("onyx", TEXT)
    assert (tmp_path / "out" / "manifest.jsonl").stat().st_mode & 0o077 == 0, "it holds texts"


async def test_what_an_earlier_export_wrote_stays_told(house: House, tmp_path: Path) -> None:
    for voice in ("nova", "alloy"):
        await house.speak(TEXT, voice=voice)
    await export(house, tmp_path / "out")
    manifest = tmp_path / "out" / "manifest.jsonl"
    both = sorted(manifest.read_text().splitlines())
    for which in ({"voice": "nvoa"}, {"voice": "nova"}, {}):
        await export(house, tmp_path / "out", **which)
        assert sorted(manifest.read_text().splitlines()) == both
    [blob] = [path for path in house.blobs() if path.name.endswith(".mp3")][:1]
    blob.unlink()
    house.gateway.hot.clear()
    assert (await export(house, tmp_path / "out")).there == 2, "what is lost here is there still"
    (tmp_path / "out" / json.loads(both[0])["file"]).unlink()
    await export(house, tmp_path / "out", voice="nvoa")
    assert manifest.read_text().splitlines() == both[1:]


async def test_it_goes_on_where_it_was_stopped(house: House, tmp_path: Path) -> None:
    for n in range(3):
        await house.speak(f"{TEXT} {n}")
    await export(house, tmp_path / "out")
    [first, *_] = (tmp_path / "out" / "audio").rglob("*.mp3")
    whole = first.read_bytes()
    first.write_bytes(whole[:-9])
    (tmp_path / "out" / "manifest.jsonl").rename(tmp_path / "out" / "manifest.jsonl.partial")
    report = await export(house, tmp_path / "out")
    assert (report.written, report.there, first.read_bytes()) == (1, 2, whole)
    assert len(list(opened(tmp_path / "out" / "manifest.jsonl"))) == 3


async def test_what_is_gone_is_told(house: House, tmp_path: Path) -> None:
    await house.speak(TEXT)
    [blob] = house.blobs()
    blob.unlink()
    report = await export(house, tmp_path / "out")
    [(name, why)] = report.lost
    assert (report.failed, len(name), "gone from its storage" in why) == (1, 64, True)


async def test_nothing_else_is_written_over(house: House, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.odt").write_text("mine")
    with pytest.raises(InvalidRequest, match="Name an empty folder"):
        await export(house, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"digest": "00" * 32}, "are others than those that were exported"),
        ({"recipe_hash": "00" * 32}, "its name is not that of its recipe and format"),
        ({"format": "wav"}, "it is no row of an export"),
        ({"scope": "user"}, "it is no row of an export"),
        ({"duration": "long"}, "it is no row of an export"),
        ({"until": "soon"}, "it is no row of an export"),
        ({"size": None}, "it is no row of an export|imported"),
        ({"content_hash": "xx"}, "it is no row of an export"),
    ],
)
async def test_a_row_that_was_changed_is_refused(
    make_house: MakeHouse, tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    house = await make_house()
    await house.speak(TEXT)
    await export(house, tmp_path / "out")
    manifest = tmp_path / "out" / "manifest.jsonl"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    other = await make_house(data_dir=tmp_path / "other")
    report = await bring(other, tmp_path / "out")
    said = report.refused[0][1] if report.refused else "imported"
    assert any(each in said for each in why.split("|"))
    assert TEXT not in said


_names = some.text(some.characters(categories=["L", "N"]), min_size=1, max_size=9)
_owners = some.one_of(
    some.builds(Owner, _names, some.sampled_from([Scope.TENANT, Scope.SHARED])),
    some.builds(Owner, _names, some.just(Scope.USER), _names),
    some.builds(Owner, _names, some.just(Scope.SESSION), some.none(), _names),
)
_times = some.floats(0, 1e6)
_marks = some.builds(Mark, _times, _times, some.integers(0, 999), some.integers(0, 99), some.sampled_from(["word"]))


@given(
    owner=_owners,
    text=some.none()
    | some.text(some.characters(exclude_categories=["C"]), max_size=200).map(lambda said: normalise(f"A {said}")),
    marks=some.lists(_marks, max_size=3).map(tuple),
    flags=some.frozensets(some.sampled_from(["implausible", "other"])),
    cost=some.none() | some.integers(0, 10**9),
    until=some.none() | some.floats(0, 1e10),
    audio_format=some.sampled_from(list(BY_NAME.values())),
    recipe=some.binary(min_size=32, max_size=32),
    transcoded=some.booleans(),
)
def test_a_row_tells_all_of_an_asset(tmp_path_factory: Any, **fields: Any) -> None:
    audio_format, recipe = fields.pop("audio_format"), fields.pop("recipe")
    asset = Asset(
        content_hash=content_hash_of(recipe, audio_format),
        recipe_hash=recipe,
        format=audio_format,
        upstream="openai",
        model="m",
        voice=None,
        language=None,
        characters=0 if fields["text"] is None else len(fields["text"]),
        size=3,
        digest=recipe,
        duration=1 / 3,
        sample_rate=24_000,
        made_at=1.0e9 / 7,
        blobs=(),
        **fields,
    )
    folder = tmp_path_factory.mktemp("row")
    (folder / "m.jsonl").write_text(json.dumps(row_of(asset, "a.mp3"), ensure_ascii=False) + "\n")
    [row] = opened(folder / "m.jsonl")
    reading = Reading(None, {})  # type: ignore[arg-type]  # of what was exported nobody is asked
    assert reading.told(row.fields).asset == asset
    assert MP3 in BY_NAME.values()
