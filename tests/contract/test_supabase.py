"""Supabase keeps the contract, over a socket, against a stand-in of ours (`test_supabase_fake.py`)."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from sayonce.errors import InvalidSettings, MissingExtra, StorageError, StorageMisconfigured, StorageUnavailable
from sayonce.storage import registry
from sayonce.storage.contract import Serving, Storage, StoredBlob
from sayonce.testing.storages import StorageContract
from sayonce.testing.supabase import ANON, FakeSupabase, Trouble
from sayonce.testing.supabase.objects import Bucket, Stored
from sayonce.testing.supabase.troubles import BUCKET_EXISTS
from tests.contract import supabase_project
from tests.contract.supabase_project import BUCKET, Make, paths

fake = pytest.fixture(supabase_project.fake)
project = pytest.fixture(supabase_project.project)
make = pytest.fixture(supabase_project.make)
bucket = pytest.fixture(supabase_project.bucket)


class TestSupabase(StorageContract):
    @pytest.fixture
    async def storage(self, make: Make, bucket: Bucket) -> Storage:
        return make()


class TestOfAnOlderServer(StorageContract):
    """Which lists folder by folder alone, folders first."""

    @pytest.fixture
    async def storage(self, make: Make, bucket: Bucket, fake: FakeSupabase) -> Storage:
        fake.knows_v2, fake.folders_first = False, True
        return make(f"supabase://{BUCKET}/our/audio")


# ── buckets ──────────────────────────────────────────────────────────────────────────────────────


async def test_the_first_write_makes_the_bucket(make: Make, fake: FakeSupabase) -> None:
    storages = [make(public=True) for _ in range(2)]
    await asyncio.gather(*(storage.write(f"{n}", b"x", {}) for n in range(20) for storage in storages))
    assert fake.buckets[BUCKET].public
    assert fake.counts["create bucket"] <= 2  # one of the two came too late, and does not mind
    assert len(fake.buckets[BUCKET].objects) == 40


async def test_another_gateway_makes_it_first(make: Make, fake: FakeSupabase) -> None:
    fake.behave(Trouble("error", "create bucket", refused=BUCKET_EXISTS))
    with pytest.raises(StorageMisconfigured, match="no such bucket"):
        await make().write("a", b"x", {})  # it is told that there is one, and there is not
    assert (fake.counts["create bucket"], fake.counts["upload"]) == (1, 2)


async def test_a_bucket_is_private_and_left_as_it_is(make: Make, fake: FakeSupabase, bucket: Bucket) -> None:
    await make(public=True).write("a", b"x", {})
    assert not bucket.public
    await make("supabase://another").probe()
    assert not fake.buckets["another"].public
    assert fake.buckets["another"].objects == {}


async def test_a_missing_bucket_is_no_missing_blob(make: Make, fake: FakeSupabase) -> None:
    storage = make()
    for ask in (storage.read("a"), storage.metadata("a"), paths(storage)):
        with pytest.raises(StorageMisconfigured, match="no such bucket"):
            await ask
    assert fake.buckets == {}
    await storage.write("a", b"x", {})
    del fake.buckets[BUCKET]
    with pytest.raises(StorageMisconfigured, match=f"supabase://{BUCKET} has no such bucket"):
        await storage.write("a", b"x", {})  # what was there and is gone is not made again behind anybody's back
    assert fake.buckets == {}


async def test_two_under_one_bucket(make: Make, fake: FakeSupabase) -> None:
    one, other, whole = (make(f"supabase://{BUCKET}{prefix}") for prefix in ("/a", "/a/b/", ""))
    await one.write("x.mp3", b"1", {"n": "1"})
    await other.write("x.mp3", b"2", {"n": "2"})
    assert (await one.read("x.mp3"), await other.read("x.mp3")) == (b"1", b"2")
    assert (await paths(other), await paths(one)) == (["x.mp3"], ["b/x.mp3", "x.mp3"])
    assert await paths(whole) == ["a/b/x.mp3", "a/x.mp3"]
    await one.delete("x.mp3")
    assert await paths(whole) == ["a/b/x.mp3"]
    assert sorted(fake.buckets[BUCKET].objects) == ["a/b/x.mp3", "a/b/x.mp3.meta.json"]


# ── paths and listings ───────────────────────────────────────────────────────────────────────────


ODD = ["a=2f..b/c.d-e_f", "=con", ".hidden/x", "A/B", "a..b", "x" * 240, "/".join(["y" * 220] * 4), "1", "a-", "a.b"]


@pytest.mark.parametrize("path", ODD)
async def test_odd_but_valid_paths(make: Make, path: str) -> None:
    storage = make()
    await storage.write(path, b"bytes", {"n": "1"})
    assert await storage.read(path) == b"bytes"
    assert await storage.metadata(path) == {"n": "1"}
    assert await paths(storage) == [path]
    address = await storage.url(path, 60)
    assert address is not None
    async with httpx.AsyncClient() as http:
        assert (await http.get(address)).content == b"bytes"
    await storage.delete(path)
    assert await paths(storage) == []


async def test_a_key_that_is_too_long_is_not_sent(make: Make, fake: FakeSupabase) -> None:
    storage = make(f"supabase://{BUCKET}/" + "/".join(["p" * 200] * 4))
    with pytest.raises(StorageError, match="so many characters") as refused:
        await storage.write("q" * 200, b"x", {})
    assert not isinstance(refused.value, StorageUnavailable)
    assert "path_template" in refused.value.remedy
    assert fake.counts["upload"] == 0


KEYS = [
    *(f"flat/{n:04}" for n in range(2_500)),
    *("flat-a", "flat.mp3", "flat", "flat=", "Flat/0001", "deep/a/b/c", "deep/a/b", "deep/a-b", "deep/a.b/c"),
]


@pytest.mark.parametrize("knows_v2", [True, False])
async def test_many_are_listed_in_path_order(make: Make, fake: FakeSupabase, bucket: Bucket, knows_v2: bool) -> None:
    fake.knows_v2, fake.folders_first = knows_v2, not knows_v2
    keys = KEYS if knows_v2 else [key for key in KEYS if key != "Flat/0001"]  # case is lost on older servers
    bucket.objects |= {key: Stored(b"four", "audio/mpeg", "no-cache", updated=1.5) for key in keys}
    bucket.objects["flat/0007.meta.json"] = bucket.objects["deep/.emptyFolderPlaceholder"] = bucket.objects["flat"]
    storage = make()
    found = [blob async for blob in storage.list()]
    assert [blob.path for blob in found] == sorted(keys)
    assert found[0] == StoredBlob(sorted(keys)[0], 4, datetime.fromtimestamp(1.5, UTC))
    fake.counts.clear()
    assert await paths(storage, "flat/01") == [f"flat/{n:04}" for n in range(100, 200)]
    assert fake.counts == ({"list-v2": 1} if knows_v2 else {"list-v2": 1, "list": 3})
    assert await paths(storage, "deep/a") == ["deep/a-b", "deep/a.b/c", "deep/a/b", "deep/a/b/c"]
    assert await paths(storage, "deep/a/b/") == ["deep/a/b/c"]
    assert await paths(storage, "flat") == [key for key in sorted(keys) if key.startswith("flat")]


@pytest.mark.parametrize("removed", [1, 700, 1_200])
async def test_what_goes_meanwhile_hides_nothing_that_stays(
    make: Make, fake: FakeSupabase, bucket: Bucket, removed: int
) -> None:
    fake.knows_v2 = False
    keys = [f"{n:05}" for n in range(3_500)]
    bucket.objects |= {key: Stored(b"x", "audio/mpeg", "no-cache") for key in keys}
    gone: list[str] = []

    def forget(asked: dict[str, Any]) -> None:
        if asked["offset"] > 1_900 and not gone:
            gone.extend(keys[:removed])
            for key in gone:
                del bucket.objects[key]

    fake.on_list = forget
    assert set(keys) - set(await paths(make())) <= set(gone)
    assert gone


# ── addresses ────────────────────────────────────────────────────────────────────────────────────


async def test_signed_addresses(make: Make, fake: FakeSupabase, project: str) -> None:
    storage = make()
    await storage.write("a/b.mp3", b"bytes", {}, Serving("audio/mpeg", "private, max-age=60, immutable"))
    address = await storage.url("a/b.mp3", 59.2)
    assert address is not None
    assert address.startswith(f"{project}/storage/v1/object/sign/{BUCKET}/a/b.mp3?token=")
    assert fake.counts["sign"] == 1
    assert fake.bodies[-1]["expiresIn"] == "60"
    async with httpx.AsyncClient() as http:
        answer = await http.get(address)
        caching = {directive.strip() for directive in answer.headers["cache-control"].split(",")}
        assert caching == {"private", "max-age=60", "immutable"}
        now = time.time()
        fake.clock = lambda: now + 61
        assert (await http.get(address)).json()["code"] == "InvalidJWT"
    await storage.url("a/b.mp3", 0.0)
    assert fake.bodies[-1]["expiresIn"] == "1"
    assert await storage.url("not/there.mp3", 60) is None


async def test_addresses_of_another_host(make: Make, fake: FakeSupabase, project: str) -> None:
    """The signature holds there, too: it is one of the path alone."""
    storage = make(public_url="https://voice.example.com/supabase/")
    await storage.write("a/b.mp3", b"bytes", {})
    address = await storage.url("a/b.mp3", 60)
    assert address is not None
    outside = "https://voice.example.com/supabase/storage/v1/object/sign/"
    assert address.startswith(f"{outside}{BUCKET}/a/b.mp3?token=")
    async with httpx.AsyncClient() as http:
        inside = f"{project}/storage/v1/object/sign/" + address.removeprefix(outside)
        assert (await http.get(inside)).content == b"bytes"


async def test_public_addresses(make: Make, fake: FakeSupabase, project: str) -> None:
    storage = make(f"supabase://{BUCKET}/our", urls="public", public=True)
    await storage.write("a/b=.mp3", b"bytes", {}, Serving("audio/mpeg", "no-cache, private"))
    address = await storage.url("a/b=.mp3", 60)
    assert address is not None
    async with httpx.AsyncClient() as http:
        answer = await http.get(address)
        assert (answer.status_code, answer.content) == (200, b"bytes")
        assert answer.headers["content-type"] == "audio/mpeg"
        assert answer.headers["cache-control"] == "max-age=0, no-cache, private"
    assert fake.counts["sign"] == 0
    elsewhere = make(urls="public", public_url="https://cdn.example.com")
    assert await elsewhere.url("a.mp3", 60) == f"https://cdn.example.com/storage/v1/object/public/{BUCKET}/a.mp3"
    assert await make(urls="none").url("a.mp3", 60) is None


@pytest.mark.parametrize(
    ("project_url", "given"),
    [
        ("http://127.0.0.1:8000", False),
        ("http://[::1]:8000", False),
        ("http://localhost:8000/storage/v1", False),
        ("http://kong:8000", False),
        ("http://host.docker.internal:8000", False),
        ("http://0.0.0.0:8000", False),
        ("https://xyz.supabase.co", True),
        ("https://xyz.supabase.co/storage/v1/", True),
        ("http://10.0.0.7:8000", True),
    ],
)
async def test_nobody_is_sent_to_a_host_of_ours_alone(make: Make, project_url: str, given: bool) -> None:
    storage = make(project_url=project_url, public_url=None, urls="public")
    address = await storage.url("a.mp3", 60)
    assert (address is not None) is given
    if address is not None:
        root = project_url.rstrip("/").removesuffix("/storage/v1")
        assert address == f"{root}/storage/v1/object/public/{BUCKET}/a.mp3"


# ── settings ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"url": "supabase://"}, "'url'.*supabase://bucket/prefix"),
        ({"url": "supabase://a b/c"}, "bucket of letters"),
        ({"url": "supabase://key@bucket"}, "bucket of letters"),
        ({"url": "supabase://bucket/../up"}, "'url'.*only dots"),
        ({"url": "supabase://bucket?x=1"}, "'url'"),
        ({"project_url": "xyz.supabase.co"}, "'project_url'.*SUPABASE_URL"),
        ({"project_url": "https://user:pw@xyz.supabase.co"}, "'project_url'.*without a user"),
        ({"project_url": "https://xyz.supabase.co:99999"}, "'project_url'.*[Pp]ort"),
        ({"public_url": "ftp://x.example"}, "'public_url'"),
        ({"service_key": " "}, "'service_key'.*SUPABASE_SERVICE_KEY"),
        ({"service_key": "sb_publishable_abc"}, "for browsers"),
        ({"service_key": None}, "'service_key'"),
        ({"urls": "sometimes"}, "'urls'.*'signed'"),
        ({"timeout": 0}, "'timeout'"),
        ({"bukket": "x"}, "'bukket'"),
    ],
)
def test_settings_that_are_wrong(table: dict[str, Any], says: str) -> None:
    right = {"url": "supabase://b", "project_url": "https://xyz.supabase.co", "service_key": "sb_secret_abc"}
    with pytest.raises(InvalidSettings) as wrong:
        registry.make("cloud", "supabase", right | table)
    assert re.search(says, str(wrong.value).replace("\n", " "))
    assert "'cloud'" in str(wrong.value)
    assert "[storages.cloud]" in wrong.value.remedy
    given = str(table.get("service_key") or "").strip()
    assert not given or given not in str(wrong.value)


def test_the_key_for_browsers_is_refused(fake: FakeSupabase) -> None:
    table = {"url": "supabase://b", "project_url": "https://xyz.supabase.co", "service_key": fake.key_of(ANON)}
    with pytest.raises(InvalidSettings, match="for browsers"):
        registry.make("cloud", "supabase", table)


async def test_its_key_is_nowhere_to_be_seen(make: Make, fake: FakeSupabase) -> None:
    storage = make()
    assert fake.service_key not in repr(storage) + repr(vars(storage)["settings"])


def test_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "storage3", None)
    monkeypatch.delitem(sys.modules, "sayonce.storage.supabase", raising=False)
    with pytest.raises(MissingExtra, match=r"sayonce\[supabase\]"):
        registry.make("cloud", "supabase", {})


async def test_keys_go_to_no_proxy_of_the_environment(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    storage = make()
    await storage.write("a", b"bytes", {})
    assert await storage.read("a") == b"bytes"
    assert urlsplit(str(await storage.url("a", 1))).scheme == "http"
