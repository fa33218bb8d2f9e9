"""What rests in a bucket, and where: prefixes, odd paths, long lists, and metadata of any size."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import unquote

import pytest

from sayonce.errors import StorageError, StorageMisconfigured
from sayonce.storage.contract import Serving, Storage
from tests.contract.object_stores.places import Place, S3Place

ODD = [
    ".hidden/.file",
    "a=b/==c=2f.mp3",
    "a..b/...c/d..",
    "-/_/.-_=",
    "UPPER/lower.MP3",
    "a/" + "x" * 240 + "/" + "y" * 200,
    "=" * 100,
    "audio.meta.json.mp3",
]


async def paths(storage: Storage, prefix: str = "") -> list[str]:
    return [blob.path async for blob in storage.list(prefix)]


# ── paths ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("prefix", ["", "/deep/=40er"])
async def test_odd_paths(place: Place, prefix: str) -> None:
    storage = place.storage(prefix)
    for path in ODD:
        await storage.write(path, path.encode(), {"path": path})
    assert await paths(storage) == sorted(ODD)
    for path in ODD:
        assert await storage.read(path) == path.encode()
        assert await storage.metadata(path) == {"path": path}
        assert path in await paths(storage, path[:-1])
        await storage.delete(path)
    assert await paths(storage) == []


async def test_two_storages_in_one_bucket(place: Place) -> None:
    here, there, around = place.storage("/speech"), place.storage("/speech-2/x"), place.storage()
    await here.write("a.mp3", b"here", {"n": "1"})
    await there.write("a.mp3", b"there", {"n": "2"})
    assert (await here.read("a.mp3"), await there.read("a.mp3")) == (b"here", b"there")
    assert (await paths(here), await paths(there)) == (["a.mp3"], ["a.mp3"])
    assert await paths(around) == ["speech-2/x/a.mp3", "speech/a.mp3"]
    await here.delete("a.mp3")
    assert await there.read("a.mp3") == b"there"


async def test_a_prefix_may_end_anywhere(place: Place) -> None:
    """The driver knows whole segments alone, and skips to shortly before what is asked for."""
    storage = place.storage("/p")
    every = sorted(a + b for a in "-.0Az" for b in ["", "-", ".x", "/0", "0", "Z", "_", "z/z"] if a != "." or b > "0")
    place.fill([f"p/{path}" for path in every])
    assert await paths(storage) == every
    for prefix in ["-", "-z", ".", ".0", "0", "0/", "00", "A", "A/0", "AZ", "A_", "z", "zz", "zz/", "zz/z", "zz/zz"]:
        assert await paths(storage, prefix) == [path for path in every if path.startswith(prefix)], prefix


@pytest.mark.parametrize("path", ["a.meta.json", ".sayonce-probe-x"])
async def test_its_own_objects_are_no_blobs(place: Place, path: str) -> None:
    with pytest.raises(StorageError, match="own"):
        await place.storage().write(path, b"", {})


# ── long lists ───────────────────────────────────────────────────────────────────────────────────


async def test_a_list_of_many_pages(place: Place) -> None:
    storage = place.storage("/p")
    names = [f"{n % 16:x}/{n:05}.mp3" for n in range(1_300)]
    place.fill([f"p/{name}" for name in names] + [f"p/{name}.meta.json" for name in names] + ["q/other", "o/other"])
    if place.backend != "s3":
        place.fake.page = 1_000  # type: ignore[attr-defined]
    place.troubled.forget()
    assert await paths(storage) == sorted(names)
    assert len(place.calls) == 3
    place.troubled.forget()
    for prefix in ("1", "e", "e/0"):  # neither what comes before it is listed, nor what comes after
        place.troubled.forget()
        assert await paths(storage, prefix) == sorted(name for name in names if name.startswith(prefix))
        assert len(place.calls) == 1


async def test_a_list_that_is_not_read_to_its_end(place: Place) -> None:
    storage = place.storage()
    place.fill([f"{n:05}" for n in range(2_500)])
    if place.backend != "s3":
        place.fake.page = 1_000  # type: ignore[attr-defined]
    place.troubled.forget()
    async for blob in storage.list():
        assert blob.path == "00000"
        break
    assert 1 <= len(place.calls) <= 2


async def test_a_name_that_cannot_be_listed_is_told_of(s3: S3Place) -> None:
    s3.fill(["p/a", "p//b"])
    with pytest.raises(StorageMisconfigured, match="prefix of its own"):
        await paths(s3.storage("/p"))
    with pytest.raises(StorageMisconfigured):
        await paths(s3.storage())


# ── metadata ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("size", "requests"), [(100, 1), (1_500, 1), (1_501, 2), (60_000, 2)])
async def test_metadata_goes_in_a_header_or_in_a_sidecar(place: Place, size: int, requests: int) -> None:
    storage = place.storage()
    told = {"voice": "grün 🙂", "marks": "x" * (size - len('{"voice":"grün 🙂","marks":""}'.encode()))}
    place.troubled.forget()
    await storage.write("a/b.mp3", b"bytes", told)
    assert [call.partition(" ")[0] for call in place.calls] == ["PUT"] * requests
    assert unquote(place.calls[-1]).endswith("b.mp3")  # what tells of the blob is there before it is
    assert await storage.metadata("a/b.mp3") == told
    assert await paths(storage) == ["a/b.mp3"]
    await storage.delete("a/b.mp3")
    assert await objects(place) == 0


async def objects(place: Place) -> int:
    """How many objects there are, sidecars among them."""
    storage: Any = place.storage()
    return len([each async for page in storage._list("") for each in page])


async def test_metadata_is_that_of_the_blob_that_is_there(place: Place) -> None:
    storage = place.storage()
    large, small = {"marks": "x" * 5_000}, {"marks": "y"}
    for told in (small, large, small, {}, small, large, {}):
        await storage.write("blob", b"bytes", told)
        if told:
            assert await storage.metadata("blob") == told
    await storage.delete("blob")
    await storage.write("blob", b"bytes", {})
    assert await storage.metadata("blob") == {}


async def test_metadata_that_is_not_ours(place: Place) -> None:
    storage: Any = place.storage()
    for written in ("not base64 at all!", "bm8ganNvbg=="):
        await storage._store.put_async("blob", b"bytes", attributes={"sayonce": written}, use_multipart=False)
        with pytest.raises(StorageError, match="cannot be read"):
            await storage.metadata("blob")
        assert await storage.read("blob") == b"bytes"


# ── how it is written ────────────────────────────────────────────────────────────────────────────


async def test_a_blob_is_one_request(place: Place) -> None:
    """Of any size: whoever breaks off leaves no parts behind."""
    storage = place.storage()
    data = os.urandom(12_000_000)
    place.troubled.forget()
    await storage.write("big", data, {"n": "1"})
    assert len(place.calls) == 1
    assert await storage.read("big") == data
    assert len(place.calls) == 2


async def test_what_is_served_is_what_was_said(place: Place) -> None:
    storage = place.storage()
    await storage.write("a.mp3", b"bytes", {"n": "1"}, Serving("audio/mpeg", "public, max-age=60"))
    found = await storage._store.get_async("a.mp3")  # type: ignore[attr-defined]
    told = {name: found.attributes[name] for name in ("Content-Type", "Cache-Control")}
    assert told == {"Content-Type": "audio/mpeg", "Cache-Control": "public, max-age=60"}


async def test_a_deletion_is_one_request_in_s3(s3: S3Place) -> None:
    storage = s3.storage()
    await storage.write("a", b"", {"marks": "x" * 5_000})
    s3.troubled.forget()
    await storage.delete("a")
    assert [call.partition("?")[2] for call in s3.calls] == ["delete"]


async def test_what_one_deletion_of_many_says(s3: S3Place) -> None:
    storage = s3.storage()
    for code, kind in (("AccessDenied", StorageMisconfigured), ("NoSuchKey", None)):
        told = f"<Error><Key>a</Key><Code>{code}</Code><Message>-</Message></Error>"
        s3.trouble(status=200, body=f"<DeleteResult>{told}</DeleteResult>".encode())
        if kind is None:
            await storage.delete("a")
        else:
            with pytest.raises(kind):
                await storage.delete("a")
