"""What Supabase's errors mean, and what is tried again."""

from __future__ import annotations

import asyncio

import pytest
from storage3.exceptions import StorageApiError

from sayonce.errors import (
    BlobNotFound,
    StorageError,
    StorageFull,
    StorageMisconfigured,
    StorageUnavailable,
)
from sayonce.storage.contract import Storage
from sayonce.testing.supabase import FakeSupabase, Refusal, Trouble
from sayonce.testing.supabase.objects import Bucket
from sayonce.testing.supabase.troubles import KEY_EXISTS, NO_KEY, POLICY, TOO_LARGE, invalid_key, invalid_type
from tests.conftest import until
from tests.contract import supabase_project
from tests.contract.supabase_project import BUCKET, Make, paths

fake = pytest.fixture(supabase_project.fake)
project = pytest.fixture(supabase_project.project)
make = pytest.fixture(supabase_project.make)
bucket = pytest.fixture(supabase_project.bucket)


async def called(storage: Storage, operation: str) -> object:
    if operation == "upload":
        return await storage.write("a", b"bytes", {})
    if operation == "download":
        return await storage.read("a")
    if operation == "remove":
        return await storage.delete("a")
    if operation == "sign":
        return await storage.url("a", 60)
    return await paths(storage)


def refusal(status: int, code: str, error: str = "") -> Refusal:
    return Refusal(status, code, error or code, "As it was told to.")


TABLE: list[tuple[str, Refusal, type[StorageError], str]] = [
    ("upload", KEY_EXISTS, StorageError, "policies on storage.objects"),
    ("upload", invalid_key("a"), StorageError, "path_template"),
    ("upload", TOO_LARGE, StorageFull, "file size limit"),
    ("upload", refusal(402, "QuotaExceeded"), StorageFull, "over its quota"),
    ("upload", invalid_type("audio/mpeg"), StorageMisconfigured, "application/json"),
    ("upload", POLICY, StorageMisconfigured, "service_role"),
    ("download", NO_KEY, BlobNotFound, "not in supabase://"),
    ("download", refusal(404, "NoSuchBucket", "Bucket not found"), StorageMisconfigured, "one project"),
    ("download", refusal(404, "Other"), StorageMisconfigured, "SUPABASE_URL"),
    ("download", refusal(400, "InvalidRequest"), StorageMisconfigured, "logs"),
    ("sign", refusal(400, "InvalidJWT"), StorageMisconfigured, "expired"),
    ("sign", refusal(403, "AccessDenied", "Unauthorized"), StorageMisconfigured, "expired"),
    ("remove", refusal(401, "Other"), StorageMisconfigured, "SUPABASE_SERVICE_KEY"),
    ("download", refusal(540, "Paused"), StorageMisconfigured, "Restore it"),
    ("upload", refusal(423, "ResourceLocked"), StorageUnavailable, "answered 423"),
    ("download", refusal(429, "SlowDown", "too_many_connections"), StorageUnavailable, "answered 429"),
    *(("download", refusal(n, "X"), StorageUnavailable, f"answered {n}") for n in (500, 502, 503, 504, 544)),
]


@pytest.mark.parametrize(("operation", "refused", "kind", "says"), TABLE, ids=lambda value: str(value)[:60])
async def test_what_its_errors_mean(
    make: Make, fake: FakeSupabase, bucket: Bucket, operation: str, refused: Refusal, kind: type, says: str
) -> None:
    """Each names the backend, the place and what to do; only what may pass is tried again."""
    storage = make()
    fake.behave(Trouble("error", operation, refused=refused))
    with pytest.raises(StorageError) as raised:
        await called(storage, operation)
    error = raised.value
    assert type(error) is kind
    assert error.backend == "supabase"
    assert f"supabase://{BUCKET}" in error.message
    assert says in str(error)
    assert error.remedy
    assert isinstance(error.__cause__, StorageApiError)
    assert fake.service_key not in str(error) + repr(error.__cause__)
    assert fake.counts[operation] == (3 if kind is StorageUnavailable else 1)


@pytest.mark.parametrize("status", [404, 405, 302])
async def test_no_supabase_there(make: Make, fake: FakeSupabase, status: int) -> None:
    fake.behave(Trouble("error", status=status))
    for operation in ("upload", "download", "remove", "list-v2", "sign"):
        with pytest.raises(StorageMisconfigured, match="SUPABASE_URL"):
            await called(make(), operation)


@pytest.mark.parametrize("operation", ["upload", "remove", "list-v2", "sign"])
async def test_a_page_in_place_of_an_answer(make: Make, fake: FakeSupabase, bucket: Bucket, operation: str) -> None:
    fake.behave(Trouble("html"))
    with pytest.raises(StorageMisconfigured, match="SUPABASE_URL"):
        await called(make(), operation)


async def test_wrong_keys(make: Make, fake: FakeSupabase, bucket: Bucket) -> None:
    await make().write("a", b"bytes", {})
    for key in (fake.service_key[:-3] + "abc", fake.key_of("service_role", -1), "nonsense"):
        storage = make(service_key=key)
        for operation in ("upload", "download", "remove", "list-v2", "sign"):
            with pytest.raises(StorageMisconfigured, match="SUPABASE_SERVICE_KEY") as refused:
                await called(storage, operation)
            assert key not in str(refused.value)
        with pytest.raises(StorageMisconfigured):
            await storage.probe()
    assert list(bucket.objects) == ["a.meta.json", "a"]


async def test_to_a_key_of_another_role_nothing_is_there(make: Make, fake: FakeSupabase, bucket: Bucket) -> None:
    """Which is no definite answer."""
    await make().write("a", b"bytes", {})
    storage = make(service_key=fake.key_of("authenticated"))
    for operation in ("upload", "download", "list-v2"):
        with pytest.raises(StorageMisconfigured, match="SUPABASE_SERVICE_KEY"):
            await called(storage, operation)
    assert await storage.url("a", 60) is None


async def test_a_bucket_of_which_nothing_is_said(make: Make, fake: FakeSupabase) -> None:
    """There are servers that say of an object in a missing bucket that it is not there."""
    fake.behave(Trouble("error", "download", refused=NO_KEY))
    with pytest.raises(StorageMisconfigured, match="no such bucket"):
        await make().read("a")


# ── trouble that passes ──────────────────────────────────────────────────────────────────────────


async def test_a_bad_day(make: Make, fake: FakeSupabase) -> None:
    storage = make()
    for path in ("a", "b"):
        await storage.write(path, b"bytes", {})
    fake.counts.clear()
    fake.behave(Trouble("error", status=500, times=1), Trouble("slow", seconds=0.05, times=1))
    assert await storage.read("a") == b"bytes"
    assert fake.counts["download"] == 2
    fake.behave(Trouble("never"))
    with pytest.raises(StorageUnavailable, match=r"within 0\.2 seconds") as failed:
        await make(timeout=0.2).read("a")
    assert failed.value.retryable
    fake.behave(Trouble("error", key="a", refused=NO_KEY))
    with pytest.raises(BlobNotFound):
        await storage.read("a")
    assert await storage.read("b") == b"bytes"


@pytest.mark.parametrize("kind", ["reset", "cut", "error"])
@pytest.mark.parametrize("operation", ["download", "upload", "remove", "sign"])
async def test_what_passes_is_tried_again(
    make: Make, fake: FakeSupabase, bucket: Bucket, kind: str, operation: str
) -> None:
    storage = make()
    await storage.write("a", b"bytes", {})
    fake.counts.clear()
    fake.behave(Trouble(kind, operation, times=2, status=503))
    await called(storage, operation)
    assert fake.counts[operation] == (4 if operation == "upload" else 3)
    fake.behave(Trouble(kind, operation, status=503))
    with pytest.raises(StorageUnavailable) as failed:
        await called(storage, operation)
    assert failed.value.retryable


async def test_nobody_listens(make: Make) -> None:
    with pytest.raises(StorageUnavailable, match="ConnectError"):
        await make(project_url="http://127.0.0.1:9").read("a")


async def test_other_bytes_are_passed_on(make: Make, fake: FakeSupabase) -> None:
    """Who asked for them knows their digest."""
    storage = make()
    await storage.write("a", b"bytes", {})
    fake.behave(Trouble("wrong", "download"))
    assert await storage.read("a") != b"bytes"


async def test_who_leaves_is_not_waited_for(make: Make, fake: FakeSupabase, bucket: Bucket) -> None:
    storage = make()
    fake.behave(Trouble("never"))
    reading = asyncio.create_task(storage.read("a"))
    await until(lambda: fake.counts["download"])
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    fake.behave()
    await storage.write("a", b"bytes", {})
    assert await storage.read("a") == b"bytes"
