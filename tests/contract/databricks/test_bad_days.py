"""What a workspace's errors mean, and how often they are met."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from sayonce.errors import (
    BlobNotFound,
    StorageError,
    StorageMisconfigured,
    StorageUnavailable,
)
from sayonce.storage import remote
from sayonce.storage.contract import Storage
from sayonce.testing.databricks import READ, VOLUME, WRITE, FakeDatabricks
from sayonce.testing.waiting import until
from tests.contract.databricks.conftest import ROOT, Make, paths

# ── not found, and not allowed ───────────────────────────────────────────────────────────────────


async def everything(storage: Storage) -> list[StorageError]:
    """What each of a storage's deeds is refused with."""

    async def listed() -> None:
        await paths(storage)

    deeds: list[Callable[[], Awaitable[object]]] = [
        lambda: storage.read("a/b"),
        lambda: storage.metadata("a/b"),
        lambda: storage.delete("a/b"),
        lambda: storage.write("a/b", b"", {}),
        listed,
        storage.probe,
    ]
    refused = []
    for deed in deeds:
        with pytest.raises(StorageError) as error:
            await deed()
        refused.append(error.value)
    return refused


async def test_a_volume_that_is_not_there_is_no_missing_blob(fake: FakeDatabricks, make: Make) -> None:
    storage = make(volume="/Volumes/main/default/other")
    for refused in await everything(storage):
        assert type(refused) is StorageMisconfigured
        assert "/Volumes/main/default/other is not there" in refused.message
        assert "USE CATALOG" in refused.remedy
    assert fake.files == {}


async def test_a_volume_that_is_dropped_later_loses_no_blob(fake: FakeDatabricks, make: Make) -> None:
    storage = make()
    await storage.write("a/b", b"bytes", {})
    fake.volumes.clear()
    for refused in await everything(storage):
        assert type(refused) is StorageMisconfigured
    fake.volume()
    assert await storage.read("a/b") == b"bytes"


@pytest.mark.parametrize("has", [(), (READ,), (WRITE,)])
async def test_the_grant_that_is_missing_is_named(fake: FakeDatabricks, make: Make, has: tuple[str, ...]) -> None:
    await make().write("a/b", b"bytes", {})
    fake.volume(service=has)
    storage = make()
    with pytest.raises(StorageMisconfigured, match=r"is not open to the service's .* READ VOLUME and WRITE VOLUME"):
        await storage.write("a/b", b"other", {})
    if READ in has:
        assert await storage.read("a/b") == b"bytes"
    else:
        for refused in await everything(storage):
            assert type(refused) is StorageMisconfigured


async def test_a_token_that_is_not_known(make: Make) -> None:
    for refused in await everything(make(token="dapi-expired")):
        assert type(refused) is StorageMisconfigured
        assert "does not accept the service's credentials" in refused.message
        assert "dapi" not in str(refused)


@pytest.mark.parametrize("said", ["NOT_FOUND", "RESOURCE_DOES_NOT_EXIST", ""])
async def test_a_file_that_is_not_found_without_a_reason(fake: FakeDatabricks, make: Make, said: str) -> None:
    """… is so only where its volume is found."""
    storage = make()
    await storage.write("a", b"bytes", {})
    fake.befall(on=f"GET {ROOT}/b", status=404, code=said)
    with pytest.raises(BlobNotFound):
        await storage.read("b")
    fake.befall(on=f"/directories{VOLUME}", status=404, code=said)
    with pytest.raises(StorageMisconfigured, match="is not there"):
        await storage.read("b")


async def test_a_volume_with_nothing_in_it_is_not_found_but_is_there(fake: FakeDatabricks, make: Make) -> None:
    """Its directory is 404 (databricks/cli#5834); metadata and listings have nothing else to go by."""
    storage = make()
    with pytest.raises(BlobNotFound):
        await storage.metadata("a")
    assert len(fake.called("HEAD", f"/directories{VOLUME}")) == 1
    fake.folders.clear()
    assert await paths(storage) == []
    fake.folders.clear()
    await storage.delete("a")


# ── bad days ─────────────────────────────────────────────────────────────────────────────────────

PASSING: list[dict[str, Any]] = [
    {"status": 500, "code": "INTERNAL_ERROR"},
    {"status": 500, "code": "UNKNOWN"},
    {"status": 502},
    {"status": 502, "text": "upstream connect error"},
    {"status": 502, "text": "<html><title>Bad gateway</title></html>", "kind": "text/html"},
    {"status": 503, "code": "TEMPORARILY_UNAVAILABLE", "headers": {"retry-after": "100"}},
    {"status": 504, "code": "DEADLINE_EXCEEDED"},
    {"status": 429, "headers": {"retry-after": "100"}},
    {"status": 429, "code": "RESOURCE_EXHAUSTED"},
    {"status": 429, "code": "REQUEST_LIMIT_EXCEEDED"},
    {"status": 409, "code": "ABORTED"},
    {"status": 499, "code": "CANCELLED"},
    {"reset": True},
]
LASTING: list[tuple[dict[str, Any], str]] = [
    ({"status": 400, "code": "BAD_REQUEST"}, "refuses the request .* cloud storage"),
    ({"status": 400, "code": "INVALID_PARAMETER_VALUE"}, "refuses the request"),
    ({"status": 401}, "does not accept the service's credentials. Renew"),
    ({"status": 403}, "is not open to .* WRITE VOLUME .* renew the token"),
    ({"status": 404, "code": "RESOURCE_DOES_NOT_EXIST"}, "is not there for the service's .* USE CATALOG"),
    ({"status": 409, "code": "ALREADY_EXISTS"}, "something else at that path"),
    ({"status": 501}, "refuses the request"),
    ({"status": 200, "text": "<html>Log in</html>", "kind": "text/html"}, "web page. Set DATABRICKS_HOST"),
]


def named(how: Any) -> str:
    return "-".join(str(value) for key, value in how.items() if key not in ("headers", "text")) if how else ""


@pytest.mark.parametrize("how", PASSING, ids=named)
async def test_what_may_pass_is_tried_again_and_by_one_alone(
    fake: FakeDatabricks, make: Make, how: dict[str, Any]
) -> None:
    storage = make()
    fake.befall(on="PUT", times=1, **how)
    await storage.write("a", b"bytes", {})
    assert len(fake.called("PUT", "/a.meta.json")) == 2
    fake.calm()
    fake.befall(on="/fs/files/", **how)
    fake.befall(on="create-download-url", **how)
    with pytest.raises(StorageUnavailable, match=r"audio (has failed|answered)") as failed:
        await storage.read("a")
    assert type(failed.value) is StorageUnavailable
    assert failed.value.retryable
    assert len(fake.called("GET", ROOT)) == 3
    with pytest.raises(StorageUnavailable):
        await storage.write("a", b"bytes", {})
    assert len(fake.called("PUT")) == 3


@pytest.mark.parametrize(("how", "said"), LASTING, ids=lambda value: named(value) if isinstance(value, dict) else "")
async def test_what_lasts_is_tried_once(fake: FakeDatabricks, make: Make, how: dict[str, Any], said: str) -> None:
    storage = make()
    fake.befall(on="/api/", **how)
    for deed in (storage.write("a", b"bytes", {}), storage.read("a")):
        with pytest.raises(StorageMisconfigured, match=said) as refused:
            await deed
        assert (type(refused.value), refused.value.retryable) == (StorageMisconfigured, False)
        assert (refused.value.backend, VOLUME in refused.value.message) == ("databricks", True)
    assert len(fake.called("PUT", ROOT)) == 1
    assert len(fake.called("GET", ROOT)) == 1


@pytest.mark.parametrize("how", [{"status": status} for status in (408, 429, 502, 503, 504)], ids=named)
async def test_a_bad_day_of_the_cloud_behind(fake: FakeDatabricks, make: Make, how: dict[str, Any]) -> None:
    storage = make()
    await storage.write("a", b"bytes", {})
    fake.befall(on="/cloud/", times=2, **how)
    assert await storage.read("a") == b"bytes"
    assert len(fake.called("GET", "/cloud/")) == 3, "one each of ours, and none of the SDK's"


async def test_a_signed_address_that_is_refused(fake: FakeDatabricks, make: Make) -> None:
    """A cloud's firewall, say: then the workspace passes it on itself."""
    storage = make()
    await storage.write("a", b"bytes", {})
    fake.befall(on="/cloud/", status=403)
    assert await storage.read("a") == b"bytes"
    assert len(fake.called("GET", ROOT)) == 1


async def test_an_answer_that_breaks_off_is_no_answer(fake: FakeDatabricks, make: Make) -> None:
    storage = make()
    await storage.write("a", b"bytes" * 100_000, {})
    fake.befall(on="/cloud/", cut=True, times=1)
    assert await storage.read("a") == b"bytes" * 100_000
    fake.befall(on="/cloud/", cut=True)
    fake.calls.clear()
    with pytest.raises(StorageUnavailable):
        await storage.read("a")
    assert len(fake.called("GET", "/cloud/")) == 3


async def test_a_bad_week_of_one_blob(fake: FakeDatabricks, make: Make) -> None:
    """500, then slowly, then never, and then it is gone."""
    storage = make(timeout=0.3)
    for name in ("good", "bad"):
        await storage.write(name, b"bytes", {})
    bad = f"GET {ROOT}/bad"
    fake.signing = False
    fake.befall(on=bad, status=500, times=2)
    assert await storage.read("bad") == b"bytes"
    fake.befall(on=bad, seconds=0.1, times=1)
    assert await storage.read("bad") == b"bytes"
    never = fake.befall(on=bad, never=True)
    with pytest.raises(StorageUnavailable, match=r"did not answer within 0.3 seconds"):
        await storage.read("bad")
    assert await storage.read("good") == b"bytes"
    never.times = 0
    fake.befall(on=bad, status=404, code="NOT_FOUND")
    with pytest.raises(BlobNotFound):
        await storage.read("bad")
    assert await storage.read("good") == b"bytes"


@pytest.mark.parametrize("on", ["/cloud/", "/fs/"])
async def test_what_never_answers_holds_no_thread_for_long(
    fake: FakeDatabricks, make: Make, monkeypatch: pytest.MonkeyPatch, on: str
) -> None:
    monkeypatch.setattr(remote, "_ATTEMPTS", 1)
    storage = make(timeout=0.3)
    await storage.write("a", b"bytes", {})
    never = fake.befall(on=on, never=True)
    told = await asyncio.gather(*(storage.read("a") for _ in range(20)), return_exceptions=True)
    assert {type(each) for each in told} == {StorageUnavailable}
    never.times = 0

    async def read() -> bytes | None:
        with suppress(StorageUnavailable):
            return await storage.read("a")
        return None

    assert await until(read, deadline=20) == b"bytes"


async def test_nobody_is_there(make: Make) -> None:
    with pytest.raises(StorageUnavailable, match="ConnectionError") as failed:
        await make(host="http://127.0.0.1:1").read("a")
    assert failed.value.retryable


async def test_a_web_page_is_no_blob(fake: FakeDatabricks, make: Make) -> None:
    fake.befall(on="/cloud/", status=200, text="<html>Log in</html>", kind="text/html")
    storage = make()
    await storage.write("a", b"bytes", {})
    with pytest.raises(StorageMisconfigured, match="web page"):
        await storage.read("a")


async def test_a_cancelled_write_leaves_what_was_there(fake: FakeDatabricks, make: Make) -> None:
    storage = make()
    await storage.write("a", b"old", {})
    held = fake.befall(on=f"PUT {ROOT}/a", never=True)
    writing = asyncio.create_task(storage.write("a", b"new", {}))
    await until(lambda: held.times < 1_000_000)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    fake.calm()
    assert (await storage.read("a"), await paths(storage)) == (b"old", ["a"])
