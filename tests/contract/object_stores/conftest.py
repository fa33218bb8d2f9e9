"""Servers to test against, and a bucket for each test: in S3 (moto, in a thread of its own), in Google's cloud and in
Azure's (fakes)."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from moto.server import ThreadedMotoServer

from sayonce.storage import remote
from tests.contract.object_stores.places import AzurePlace, GcsPlace, Place, S3Place


@pytest.fixture(autouse=True)
def _no_credentials_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between tries; how long they are is a matter of `RemoteStorage`."""
    monkeypatch.setattr(remote, "_FIRST_PAUSE", 0.01)


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """A server of S3 that verifies no signature, and no expiry either."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture(params=["s3", "gcs", "azure"])
def place(request: pytest.FixtureRequest) -> Place:
    """A bucket of each kind in turn."""
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def s3(moto: str, stack: AsyncExitStack) -> AsyncIterator[S3Place]:
    place = S3Place(f"bucket-{secrets.token_hex(6)}", stack)
    front = place.front(moto)
    stack.push_async_callback(front.aclose)
    await place.open(front)
    async with httpx.AsyncClient(base_url=moto) as http:
        assert (await http.put(f"/{place.bucket}")).status_code == 200
        yield place
        await http.post("/moto-api/reset")


@pytest.fixture
async def gcs(stack: AsyncExitStack, tmp_path: Path) -> GcsPlace:
    place = GcsPlace("speech-bucket", stack, tmp_path)
    await place.open(place.fake)
    return place


@pytest.fixture
async def azure(stack: AsyncExitStack) -> AzurePlace:
    place = AzurePlace("speech-container", stack)
    await place.open(place.fake)
    return place
