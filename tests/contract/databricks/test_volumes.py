"""Databricks' volumes keep the contract, over a socket."""

from __future__ import annotations

import asyncio

import pytest

from sayonce.errors import (
    CallerRefused,
    InvalidSettings,
    StorageMisconfigured,
)
from sayonce.storage import registry
from sayonce.storage.contract import Storage
from sayonce.storage.databricks import DatabricksStorage
from sayonce.testing.databricks import VOLUME, FakeDatabricks
from sayonce.testing.storages import TOLD, StorageContract
from tests.contract.databricks.conftest import ROOT, Make, forwarding, paths


class TestDatabricks(StorageContract):
    @pytest.fixture
    async def storage(self, make: Make) -> Storage:
        return make(url="databricks:///Volumes/main/default/audio/some/prefix", volume=None)


class TestDatabricksAtTheRoot(StorageContract):
    """… and where the workspace makes no addresses to download from."""

    @pytest.fixture
    async def storage(self, make: Make, fake: FakeDatabricks) -> Storage:
        fake.signing = False
        return make()


# ── settings, and what construction does ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("table", "place", "prefix"),
    [
        ({"url": "databricks:///Volumes/main/my-schema/audio"}, "/Volumes/main/my-schema/audio", ""),
        ({"url": "databricks:///Volumes/m/s/v/a/b/"}, "/Volumes/m/s/v/a/b", "a/b/"),
        ({"url": "databricks:///Volumes/m/s/gr%C3%BCn"}, "/Volumes/m/s/grün", ""),
        ({"url": "databricks://", "volume": "/Volumes/m/s/v/"}, "/Volumes/m/s/v", ""),
        ({"volume": "/Volumes/m/s/v/a"}, "/Volumes/m/s/v/a", "a/"),
        ({"url": "databricks:///Volumes/m/s/v", "volume": "/Volumes/other/s/v"}, "/Volumes/m/s/v", ""),
    ],
)
def test_where_it_is(table: dict[str, str], place: str, prefix: str) -> None:
    storage = registry.make("volume", "databricks", table)
    assert isinstance(storage, DatabricksStorage)
    assert (storage.reach.place, storage.reach.prefix) == (place, prefix)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "'volume' of the storage 'x' is missing. Set DATABRICKS_VOLUME"),
        ({"url": "databricks://"}, "'volume' .* missing"),
        ({"url": "databricks://Volumes/m/s/v"}, "'url' .* three slashes"),
        ({"url": "databricks:///Volumes/m/s"}, "'url' .* must be like /Volumes/catalog/schema/volume"),
        ({"url": "databricks:///volumes/m/s/v"}, "'url' .* must be like"),
        ({"url": "databricks:///Volumes/m/s/v/a b"}, "'url' .* something else than letters"),
        ({"url": "databricks:///Volumes/m/s/v/../w"}, "'url' .* only dots"),
        ({"volume": "main.default.audio"}, "'volume' .* must be like"),
        ({"volume": "/Volumes/m/s/v w"}, "'volume' .* must be like"),
        ({"volume": "/Volumes/m/s/v", "host": "ftp://x"}, "'host' .* address"),
        ({"volume": "/Volumes/m/s/v", "host": "https://me:pw@x"}, "'host' .* address"),
        ({"volume": "/Volumes/m/s/v", "token": "dapi-secret"}, "'host' .* missing. Set DATABRICKS_HOST"),
        ({"volume": "/Volumes/m/s/v", "host": "x", "token": "dapi secret"}, "'token' .* printable"),
        ({"volume": "/Volumes/m/s/v", "timeout": 0}, "'timeout' .* greater"),
        ({"volume": "/Volumes/m/s/v", "tokn": "dapi-secret"}, "'tokn' .* not permitted"),
    ],
)
def test_what_is_wrong_is_said(table: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidSettings, match=said) as refused:
        DatabricksStorage.from_settings("x", table)
    assert "secret" not in str(refused.value)


async def test_construction_talks_to_nobody(fake: FakeDatabricks, make: Make) -> None:
    """Not even about what the workspace is, which the SDK's own clients ask first of all."""
    storage = make()
    assert fake.calls == []
    await storage.write("a", b"bytes", {})
    assert {call.path.removeprefix(ROOT) for call in fake.calls} == {"/a.meta.json", "/a"}


async def test_addresses_are_not_given(make: Make) -> None:
    assert await make().url("a", 60) is None


# ── folders ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_folder_is_made_once(fake: FakeDatabricks, make: Make) -> None:
    storage = make()
    await asyncio.gather(*(storage.write(f"some/folder/{n}", b"", {}) for n in range(20)))
    assert len(fake.called("PUT", "/directories/")) == 1
    await storage.write("some/other/1", b"", {})
    assert len(fake.called("PUT", "/directories/")) == 2


async def test_a_folder_that_was_removed_is_made_again(fake: FakeDatabricks, make: Make) -> None:
    storage = make()
    await storage.write("folder/a", b"old", {})
    fake.files.clear()
    fake.folders.clear()
    await storage.write("folder/a", b"new", TOLD)
    assert (await storage.read("folder/a"), await storage.metadata("folder/a")) == (b"new", TOLD)


async def test_a_folder_that_one_may_not_make_is_no_others_trouble(people: FakeDatabricks, make: Make) -> None:
    storage = make()

    async def write(who: str) -> object:
        with forwarding(f"token-{who}"):
            return await storage.write("folder/a", b"", {})

    told = await asyncio.gather(*(write(who) for who in ("eve", "ann", "eve", "bob")), return_exceptions=True)
    assert [type(each) for each in told] == [CallerRefused, type(None), CallerRefused, type(None)]


async def test_a_file_in_a_folders_place(fake: FakeDatabricks, make: Make) -> None:
    storage = make()
    await storage.write("a", b"", {})
    with pytest.raises(StorageMisconfigured, match="something else"):
        await storage.write("a/b", b"", {})


async def test_few_folders_are_remembered(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sayonce.storage.databricks._MOST_FOLDERS", 3)
    storage = make()
    for n in range(5):
        await storage.write(f"{n}/a", b"", {})
    assert [*storage._folders] == [f"{VOLUME}/{n}" for n in (2, 3, 4)]


async def test_a_long_listing(fake: FakeDatabricks, make: Make) -> None:
    """In path order, over folders, and over more entries than the platform tells at a time."""
    storage = make()
    await storage.write("m/first", b"", {})
    blank = fake.files[f"{VOLUME}/m/first"]
    fake.files.clear()
    names = [f"m/{n:04}" for n in range(1_205)] + ["m/0600/deep", "m-1", "m.mp3", "l", "n/x/y/z"]
    for name in reversed(names):
        fake.files[f"{VOLUME}/{name}"] = blank
    fake.folders |= {f"{VOLUME}/m/0600", f"{VOLUME}/m/empty", f"{VOLUME}/n/x/y", f"{VOLUME}/n/x", f"{VOLUME}/n"}
    fake.calls.clear()
    assert await paths(storage) == sorted(names)
    assert len(fake.called("GET", f"/directories{VOLUME}/m")) == 2 + 2, "two pages of one, and its two folders"
    fake.calls.clear()
    assert await paths(storage, "m/06") == [name for name in sorted(names) if name.startswith("m/06")]
    assert {call.path.rpartition(VOLUME)[2] for call in fake.calls} == {"/m", "/m/0600"}


async def test_a_page_at_a_time_is_waited_for(
    fake: FakeDatabricks, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the whole folder takes."""
    monkeypatch.setattr("sayonce.testing.databricks._MOST_ENTRIES", 2)
    monkeypatch.setattr("sayonce.storage.databricks._LISTED_AT_ONCE", 2)
    storage = make(timeout=1.0)
    for n in range(10):
        await storage.write(f"{n}", b"", {})
    fake.befall(on="GET /api/2.0/fs/directories", seconds=0.15)
    assert len(await paths(storage)) == 10
    assert len(fake.called("GET", "/directories")) == 10, "with the sidecars; more than a second in all"


async def test_two_storages_in_one_volume(make: Make) -> None:
    one, other, whole = make(volume=f"{VOLUME}/one"), make(volume=f"{VOLUME}/one-more"), make()
    for storage in (one, other):
        await storage.write("a/b", storage.reach.prefix.encode(), {})
        assert await paths(storage) == ["a/b"]
    assert await paths(whole) == ["one-more/a/b", "one/a/b"]
    await one.delete("a/b")
    assert await other.read("a/b") == b"one-more/"


@pytest.mark.parametrize("path", ["a=20b", "x._-=", "=2e", "tts_audio/=/1.mp3", "a/" + "x" * 230 + ".mp3"])
async def test_odd_paths(make: Make, path: str) -> None:
    storage = make()
    await storage.write(path, b"bytes", TOLD)
    assert (await storage.read(path), await storage.metadata(path)) == (b"bytes", TOLD)
    assert await paths(storage) == [path]
