"""The official client works against the stand-in, so the stand-in is right."""

from __future__ import annotations

import asyncio
import io

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import AlreadyExists, BadRequest, NotFound, PermissionDenied, Unauthenticated
from databricks.sdk.service.files import DirectoryEntry

from sayonce.testing.databricks import READ, VOLUME, FakeDatabricks


def drive(url: str) -> None:
    """What the plain SDK does with a workspace."""
    files = WorkspaceClient(host=url, token="dapi-service").files
    files.create_directory(f"{VOLUME}/a/b")
    files.create_directory(f"{VOLUME}/a/b")
    files.get_directory_metadata(f"{VOLUME}/a")
    files.upload(f"{VOLUME}/a/b/x =1.txt", io.BytesIO(b"hello"), overwrite=True)
    with pytest.raises(AlreadyExists):
        files.upload(f"{VOLUME}/a/b/x =1.txt", io.BytesIO(b"other"), overwrite=False)
    with pytest.raises(NotFound):
        files.upload(f"{VOLUME}/not/there", io.BytesIO(b"hello"))
    answer = files.download(f"{VOLUME}/a/b/x =1.txt")
    assert answer.contents is not None
    assert (answer.contents.read(), answer.content_length) == (b"hello", 5)
    assert files.get_metadata(f"{VOLUME}/a/b/x =1.txt").content_length == 5
    assert [told(each) for each in files.list_directory_contents(f"{VOLUME}/a")] == [("b", True, None)]
    assert [told(each) for each in files.list_directory_contents(f"{VOLUME}/a/b")] == [("x =1.txt", False, 5)]
    with pytest.raises(BadRequest):
        files.delete_directory(f"{VOLUME}/a/b")
    files.delete(f"{VOLUME}/a/b/x =1.txt")
    for gone in (files.delete, files.get_metadata, files.download):
        with pytest.raises(NotFound):
            gone(f"{VOLUME}/a/b/x =1.txt")
    files.delete_directory(f"{VOLUME}/a/b")
    with pytest.raises(NotFound):
        list(files.list_directory_contents(f"{VOLUME}/a/b"))
    with pytest.raises(NotFound, match=r"Volume 'main\.default\.other' does not exist"):
        files.download("/Volumes/main/default/other/x")
    with pytest.raises(PermissionDenied, match="WRITE VOLUME"):
        WorkspaceClient(host=url, token="dapi-reader").files.delete(f"{VOLUME}/x")
    with pytest.raises(Unauthenticated):
        WorkspaceClient(host=url, token="dapi-unknown").files.download(f"{VOLUME}/x")


def told(entry: DirectoryEntry) -> tuple[str | None, bool | None, int | None]:
    return entry.name, entry.is_directory, entry.file_size


async def test_the_official_client_works_against_the_fake(fake: FakeDatabricks, url: str) -> None:
    fake.people["dapi-reader"] = "reader"
    fake.grants["reader", VOLUME] = frozenset((READ,))
    await asyncio.to_thread(drive, url)
    assert [call.path for call in fake.called("POST")][:1] == ["/api/2.0/fs/create-download-url"]
    assert fake.called("GET", "/cloud/", "service"), "it has fetched from the signed address"


async def test_the_official_client_pages(fake: FakeDatabricks, url: str) -> None:
    def drive() -> list[str]:
        files = WorkspaceClient(host=url, token="dapi-service").files
        for n in range(5):
            files.upload(f"{VOLUME}/{n}", io.BytesIO(b""))
        return [each.name or "" for each in files.list_directory_contents(VOLUME, page_size=2)]

    assert sorted(await asyncio.to_thread(drive)) == ["0", "1", "2", "3", "4"]
    assert len(fake.called("GET", "/directories/")) == 3
