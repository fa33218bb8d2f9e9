"""The stand-in for Supabase: its own client, as it is, works against it, so it is right."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import httpx
import pytest
from storage3 import AsyncStorageClient
from storage3.exceptions import StorageApiError

from sayonce.testing.supabase import ANON, FakeSupabase
from tests.contract import supabase_project

fake = pytest.fixture(supabase_project.fake)
project = pytest.fixture(supabase_project.project)


@pytest.fixture
async def official(fake: FakeSupabase, project: str) -> AsyncIterator[AsyncStorageClient]:
    """Supabase's own client, as it is."""
    async with client(project, fake.service_key) as official:
        yield official


def client(project: str, key: str) -> AsyncStorageClient:
    return AsyncStorageClient(f"{project}/storage/v1/", {"apikey": key, "Authorization": f"Bearer {key}"})


async def test_the_official_client_keeps_objects_in_the_fake(official: AsyncStorageClient) -> None:
    await official.create_bucket("voices", options={"public": False, "file_size_limit": 100})
    assert [bucket.id for bucket in await official.list_buckets()] == ["voices"]
    assert (await official.get_bucket("voices")).file_size_limit == 100
    objects = official.from_("voices")
    sent = await objects.upload("a/b c.mp3", b"bytes", {"content-type": "audio/mpeg", "metadata": {"n": 1}})
    assert (sent.path, sent.full_path) == ("a/b c.mp3", "voices/a/b c.mp3")
    assert await objects.download("a/b c.mp3") == b"bytes"
    assert await objects.exists("a/b c.mp3")
    assert not await objects.exists("a/b.mp3")
    assert (await objects.info("a/b c.mp3"))["metadata"] == {"n": 1}
    await objects.update("a/b c.mp3", b"other")
    await objects.upload("a/b c.mp3", b"others", {"x-upsert": "true"})
    assert await objects.download("a/b c.mp3") == b"others"
    assert await objects.remove(["a/b c.mp3", "a/none"]) == [{"name": "a/b c.mp3"}]
    await official.delete_bucket("voices")
    assert await official.list_buckets() == []


async def test_the_official_client_lists_in_the_fake(official: AsyncStorageClient) -> None:
    await official.create_bucket("voices")
    objects = official.from_("voices")
    for key in ("a/1", "a/b/2", "a.mp3", "A/3", "c"):
        await objects.upload(key, key.encode())
    listed = await objects.list()
    assert [(each["name"], each["id"] is None) for each in listed] == [("a.mp3", False), ("a", True), ("c", False)]
    assert listed[0]["metadata"]["size"] == 5
    assert [each["name"] for each in await objects.list("a", {"limit": 2, "offset": 1})] == ["3", "b"]
    assert [each["name"] for each in await objects.list("a", {"search": "b"})] == ["b"]
    assert await official.from_("nowhere").list() == []
    page = await objects.list_v2({"prefix": "a", "limit": 2})
    assert ([each.name for each in page.objects], page.hasNext) == (["a.mp3", "a/1"], True)
    assert page.nextCursor
    page = await objects.list_v2({"prefix": "a", "cursor": page.nextCursor})
    assert ([each.name for each in page.objects], page.hasNext, page.nextCursor) == (["a/b/2"], False, None)


async def test_the_official_client_signs_in_the_fake(official: AsyncStorageClient, fake: FakeSupabase) -> None:
    await official.create_bucket("voices")
    objects = official.from_("voices")
    await objects.upload("a/b.mp3", b"bytes", {"content-type": "audio/mpeg", "cache-control": "60"})
    await objects.upload("a/c.mp3", b"other", {"cache-control": ""})
    url = (await objects.create_signed_url("a/b.mp3", 60))["signedURL"]
    other = (await objects.create_signed_url("a/c.mp3", 60))["signedURL"]
    assert url is not None
    assert other is not None
    async with httpx.AsyncClient() as http:
        answer = await http.get(url)
        assert (answer.status_code, answer.content) == (200, b"bytes")
        told = [answer.headers[name] for name in ("content-type", "cache-control")]
        assert told == ["audio/mpeg", "max-age=60"]
        assert (await http.get(other)).headers["cache-control"] == "no-cache"
        swapped = url.partition("?")[0] + "?" + other.partition("?")[2]
        for wrong, code in ((swapped, "InvalidSignature"), (url[:-1] + "!", "InvalidJWT")):
            refused = await http.get(wrong)
            assert (refused.status_code, refused.json()["code"]) == (400, code)
        fake.clock = lambda: time.time() + 61
        assert (await http.get(url)).json()["code"] == "InvalidJWT"
        public = await objects.get_public_url("a/b.mp3")
        assert (await http.get(public)).json()["code"] == "NoSuchBucket"
        fake.buckets["voices"].public = True
        assert (await http.get(public)).content == b"bytes"
        assert (await http.head(public.replace("b.mp3", "d.mp3"))).status_code == 400


@pytest.mark.parametrize(
    ("key", "error", "status"),
    [
        ("there", "Duplicate", "409"),
        ("a~b", "InvalidKey", "400"),
        ("🙂", "InvalidKey", "400"),
        ("big", "Payload too large", "413"),
        ("x" * 1_100, "InternalError", "500"),
    ],
)
async def test_the_official_client_is_refused_by_the_fake(
    official: AsyncStorageClient, key: str, error: str, status: str
) -> None:
    await official.create_bucket("voices", options={"file_size_limit": 10})
    objects = official.from_("voices")
    await objects.upload("there", b"1")
    with pytest.raises(StorageApiError) as refused:
        await objects.upload(key, b"x" * (20 if key == "big" else 1))
    assert (refused.value.code, refused.value.status) == (error, status)
    with pytest.raises(StorageApiError) as refused:
        await official.create_bucket("voices")
    assert (refused.value.code, refused.value.status) == ("Duplicate", "409")
    for missing in (objects.download("none"), objects.create_signed_url("none", 60), objects.info("none")):
        with pytest.raises(StorageApiError) as refused:
            await missing
        assert (refused.value.code, refused.value.status) == ("not_found", "404")


async def test_the_official_client_needs_the_right_key_for_the_fake(
    official: AsyncStorageClient, fake: FakeSupabase, project: str
) -> None:
    await official.create_bucket("voices")
    await official.from_("voices").upload("a", b"1")
    for key in (fake.key_of("service_role", -1), fake.service_key[:-3] + "abc", "nonsense", fake.key_of(ANON)):
        async with client(project, key) as stranger:
            with pytest.raises(StorageApiError) as refused:
                await stranger.from_("voices").upload("b", b"1")
            assert refused.value.status == "403"
            with pytest.raises(StorageApiError) as refused:  # this is how it really answers
                await stranger.from_("voices").download("a")
            assert refused.value.status == "404"
