"""A workspace of Databricks for a test, and storages in its volumes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sayonce.storage import remote
from sayonce.storage.contract import Storage, forwarded_token
from sayonce.storage.databricks import DatabricksStorage
from sayonce.testing.databricks import READ, VOLUME, WRITE, FakeDatabricks
from sayonce.testing.servers import serving

ROOT = f"/api/2.0/fs/files{VOLUME}"
Make = Callable[..., DatabricksStorage]


@pytest.fixture(autouse=True)
def nobodys_workspace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The SDK finds nothing of this machine's."""
    for name in [*os.environ]:
        if name.startswith(("DATABRICKS_", "ARM_", "GOOGLE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(remote, "_FIRST_PAUSE", 0.001)


@pytest.fixture
def fake() -> FakeDatabricks:
    return FakeDatabricks()


@pytest.fixture
async def url(fake: FakeDatabricks) -> AsyncIterator[str]:
    async with serving(fake) as url:
        yield url


@pytest.fixture
async def make(url: str) -> AsyncIterator[Make]:
    """Storages of the fake; `settings` are further ones, or others."""
    made: list[DatabricksStorage] = []

    def storage(**settings: Any) -> DatabricksStorage:
        table = {"host": url, "token": "dapi-service", "volume": VOLUME} | settings
        made.append(DatabricksStorage.from_settings("volume", {k: v for k, v in table.items() if v is not None}))
        return made[-1]

    yield storage
    for each in made:
        await each.aclose()


@contextmanager
def forwarding(token: str) -> Iterator[None]:
    """As a door does it for its request."""
    before = forwarded_token.set(token)
    try:
        yield
    finally:
        forwarded_token.reset(before)


def causes(error: BaseException) -> list[BaseException]:
    """An error, and what led to it."""
    return [error, *(causes(error.__cause__) if error.__cause__ is not None else ())]


async def paths(storage: Storage, prefix: str = "") -> list[str]:
    return [blob.path async for blob in storage.list(prefix)]


@pytest.fixture
def people(fake: FakeDatabricks) -> FakeDatabricks:
    """Ann and Bob may all in the volume, Eve may read."""
    fake.people |= {"token-ann": "ann", "token-bob": "bob", "token-eve": "eve", "token-new": "stranger"}
    fake.volume(ann=(READ, WRITE), bob=(READ, WRITE), eve=(READ,))
    return fake
