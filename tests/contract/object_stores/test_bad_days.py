"""Bad days of a storage over obstore: each answer has one meaning, and only what may pass is tried again."""

from __future__ import annotations

import asyncio
import socket
import traceback
from pathlib import Path

import pytest

from sayonce.errors import BlobNotFound, StorageError, StorageFull, StorageMisconfigured, StorageUnavailable
from sayonce.storage.contract import Storage
from sayonce.testing.waiting import until
from tests.contract.object_stores.places import SECRET, Place, S3Place

TOLD = {"voice": "nova"}
OPERATIONS = ("read", "metadata", "write", "delete", "list", "probe")

# Status, code, what it is, and whether it may pass.
ANSWERS: list[tuple[int, str, type[StorageError], bool]] = [
    (500, "InternalError", StorageUnavailable, True),
    (500, "", StorageUnavailable, True),
    (502, "", StorageUnavailable, True),
    (503, "SlowDown", StorageUnavailable, True),
    (503, "ServerBusy", StorageUnavailable, True),
    (504, "", StorageUnavailable, True),
    (429, "", StorageUnavailable, True),
    (400, "RequestTimeout", StorageUnavailable, True),
    (409, "OperationAborted", StorageUnavailable, True),
    (401, "", StorageMisconfigured, False),
    (403, "AccessDenied", StorageMisconfigured, False),
    (403, "InvalidAccessKeyId", StorageMisconfigured, False),
    (403, "SignatureDoesNotMatch", StorageMisconfigured, False),
    (403, "RequestTimeTooSkewed", StorageMisconfigured, False),
    (403, "InvalidObjectState", StorageMisconfigured, False),
    (400, "ExpiredToken", StorageMisconfigured, False),
    (400, "AuthorizationHeaderMalformed", StorageMisconfigured, False),
    (301, "PermanentRedirect", StorageMisconfigured, False),
    (400, "InvalidRequest", StorageMisconfigured, False),
    (501, "NotImplemented", StorageMisconfigured, False),
    (404, "NoSuchBucket", StorageMisconfigured, False),
    (404, "ContainerNotFound", StorageMisconfigured, False),
    (404, "", StorageMisconfigured, False),
    (413, "EntityTooLarge", StorageFull, False),
    (507, "XMinioStorageFull", StorageFull, False),
    (507, "", StorageFull, False),
]


async def do(storage: Storage, operation: str) -> None:
    match operation:
        case "write":
            await storage.write("a/b.mp3", b"bytes", TOLD)
        case "list":
            assert [blob async for blob in storage.list()]
        case "probe":
            await storage.probe()
        case _:
            await getattr(storage, operation)("a/b.mp3")


async def refused(storage: Storage, operation: str = "read") -> StorageError:
    """What an operation fails with. All of it tells whose trouble it is, and nothing of it tells a secret."""
    with pytest.raises(StorageError) as caught:
        await do(storage, operation)
    error = caught.value
    assert error.backend == storage.backend
    assert "://" in error.message
    assert error.remedy
    told = "".join(traceback.format_exception(error)) + repr(storage) + repr(vars(storage))
    assert SECRET not in told
    return error


# ── what an answer means ─────────────────────────────────────────────────────────────────────────


async def test_an_answer_has_one_meaning(place: Place) -> None:
    storage = place.storage()
    for status, code, kind, passes in ANSWERS:
        place.trouble(status=status, code=code)
        error = await refused(storage)
        assert (type(error), error.retryable) == (kind, passes), (status, code)
        assert len(place.calls) == (3 if passes else 1), (status, code)
        assert status in (301, 404) or (code or str(status)) in error.message


@pytest.mark.parametrize("operation", ["metadata", "write", "delete"])
@pytest.mark.parametrize(("status", "kind", "times"), [(503, StorageUnavailable, 3), (403, StorageMisconfigured, 1)])
async def test_so_it_is_for_every_call(
    place: Place, operation: str, status: int, kind: type[StorageError], times: int
) -> None:
    storage = place.storage()
    place.trouble(status=status)
    assert type(await refused(storage, operation)) is kind
    assert len(place.calls) == times


async def test_a_listing_that_broke_off_is_not_taken_up_again(place: Place) -> None:
    storage = place.storage()
    place.trouble(status=503)
    assert type(await refused(storage, "list")) is StorageUnavailable
    assert len(place.calls) == 1


async def test_only_a_definite_answer_is_not_found(place: Place) -> None:
    storage = place.storage()
    await storage.write("a/b.mp3", b"bytes", TOLD)
    await storage.write("other", b"bytes", TOLD)
    place.trouble(status=404, code=place.no_object, meant=lambda asked: "other" not in asked)
    assert type(await refused(storage)) is BlobNotFound
    assert await storage.read("other") == b"bytes"
    assert len(place.calls) == 2
    await storage.delete("a/b.mp3")  # what is not there is not to be removed
    for body in (b"", b"<html>404 page not found</html>"):
        place.trouble(status=404, body=body)
        for operation in ("read", "metadata"):
            assert type(await refused(storage, operation)) is StorageMisconfigured


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_bucket_that_is_not_there(place: Place, operation: str) -> None:
    elsewhere = place.table()["url"].replace(place.bucket, "no-such-bucket")
    error = await refused(place.storage(url=elsewhere), operation)
    assert type(error) is StorageMisconfigured
    assert f"{elsewhere} lies in a bucket that does not exist" in error.message


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_wrong_keys(place: Place, operation: str, tmp_path: Path) -> None:
    storage = place.storage(**place.strangers(tmp_path))
    error = await refused(storage, operation)
    assert type(error) is StorageMisconfigured
    assert error.message.split(" (")[0].endswith(("does not accept our credentials", "does not allow it"))
    assert len(place.calls) <= 2  # a probe cleans up after itself


async def test_something_else_answers(place: Place) -> None:
    """But for what the driver believes: any success of a deletion in Google's cloud, and in lists any XML without
    objects."""
    storage = place.storage()
    for operation in ("write", "delete", "list"):
        place.trouble(status=200, body=b"<html>Sign in to <br> the network</html>")
        if (place.backend, operation) != ("gcs", "delete"):
            assert type(await refused(storage, operation)) is StorageMisconfigured


# ── what happens on the way ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("operation", ["read", "write", "delete", "metadata"])
@pytest.mark.parametrize("trouble", [{"status": 500}, {"status": 503, "code": "SlowDown"}, {"how": "reset"}], ids=str)
async def test_what_passes_is_tried_again(place: Place, operation: str, trouble: dict[str, object]) -> None:
    storage = place.storage()
    await storage.write("a/b.mp3", b"bytes", TOLD)
    place.trouble(times=2, **trouble)
    await do(storage, operation)
    assert len(place.calls) >= 3


@pytest.mark.parametrize("operation", ["read", "write", "delete", "metadata"])
async def test_a_connection_that_breaks(place: Place, operation: str) -> None:
    storage = place.storage()
    place.trouble(how="reset")
    error = await refused(storage, operation)
    assert (type(error), error.retryable, len(place.calls)) == (StorageUnavailable, True, 3)


async def test_half_an_answer_is_none(place: Place) -> None:
    storage = place.storage()
    await storage.write("a/b.mp3", b"0123456789" * 1_000, TOLD)
    place.trouble(how="cut", times=1)
    assert await storage.read("a/b.mp3") == b"0123456789" * 1_000
    place.trouble(how="cut")
    assert type(await refused(storage)) is StorageUnavailable


async def test_nobody_listens(place: Place) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        moved = {
            key: value.replace(place.url, url) if isinstance(value, str) else value
            for key, value in (place.table() | place.table().get("options", {})).items()
        }
        options = {"options": {name: moved[name] for name in place.table().get("options", {})} or None}
        table = {name: moved.get(name) for name in place.table()} | options
        error = await refused(place.storage(**table))
        assert (type(error), error.retryable) == (StorageUnavailable, True)


async def test_slowly_is_not_never(place: Place) -> None:
    storage = place.storage()
    await storage.write("a/b.mp3", b"bytes", TOLD)
    place.trouble(seconds=0.3)
    assert await storage.read("a/b.mp3") == b"bytes"
    hasty = place.storage(timeout=0.1)
    place.trouble(how="never")
    for operation in ("read", "write"):
        error = await refused(hasty, operation)
        assert (type(error), error.retryable) == (StorageUnavailable, True)
        assert "did not answer within 0.1 seconds" in error.message
    assert len(place.calls) == 6


async def test_who_leaves_ends_the_request(place: Place) -> None:
    storage = place.storage()
    place.trouble(how="never")
    for operation in ("read", "write", "delete"):
        asking = asyncio.create_task(do(storage, operation))
        await until(lambda: place.calls)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: place.troubled.left == 1)
        assert len(place.calls) == 1
        place.trouble(how="never")
    place.troubled.forget()
    await do(storage, "write")
    await do(storage, "read")


async def test_other_bytes_are_for_the_digest_to_find(place: Place) -> None:
    """A storage cannot tell; whoever has the digest can. Here it is shown only that nothing else hides it."""
    storage = place.storage()
    await storage.write("a/b.mp3", b"\x00\xff", TOLD)
    place.trouble(how="other")
    assert await storage.read("a/b.mp3") == b"\xff\x00"


async def test_another_region_is_told(s3: S3Place) -> None:
    error = await refused(s3.storage(region="eu-central-1"))
    assert type(error) is StorageMisconfigured
    assert "region" in error.remedy


async def test_a_role_that_the_machine_has_not(s3: S3Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/none")
    own = {"credentials": "metadata", "access_key_id": None, "secret_access_key": None}
    error = await refused(s3.storage(**own))
    assert type(error) is StorageMisconfigured
    assert "role" in error.message
