"""Fleets for the tests: what they share is real, and may be taken away from them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeAlias

import pytest

from sayonce.testing.redis import RedisServer
from sayonce.testing.servers import serving
from sayonce.testing.vendors import FakeVendors
from tests.chaos.buckets import Bucket
from tests.chaos.buckets import bucket_server as running_buckets
from tests.chaos.fleet import Fleet, Grounds
from tests.chaos.nursery import Nursery
from tests.chaos.nursery import nursery as running_nursery

MakeFleet: TypeAlias = Callable[..., Awaitable[Fleet]]


@pytest.fixture(scope="session")
def bucket_server() -> Iterator[int]:
    """The port of a server of S3, one a worker."""
    with running_buckets() as port:
        yield port


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Where replicas come from, one a worker."""
    with running_nursery() as there:
        yield there


@pytest.fixture
async def bucket(bucket_server: int) -> AsyncIterator[Bucket]:
    """An empty bucket of the test's own."""
    bucket = Bucket(bucket_server, f"bucket-{secrets.token_hex(6)}")
    await bucket.relay.open()
    bucket.make()
    yield bucket
    bucket.relay.close()


@pytest.fixture
async def make_fleet(nursery: Nursery, bucket: Bucket, postgres: str, tmp_path: Path) -> AsyncIterator[MakeFleet]:
    """Makes a fleet of so many replicas, with a Redis or without, and with a database of its own where one is
    given. Changes are told soon."""
    async with AsyncExitStack() as stack:

        async def make(
            number: int, redis: RedisServer | None = None, database: str = postgres, **settings: str
        ) -> Fleet:
            vendors = FakeVendors()
            upstream = await stack.enter_async_context(serving(vendors))
            shared = None if redis is None else redis.url()
            quick = {"SAYONCE_POLL_SECONDS": "0.1", "SAYONCE_FLUSH_SECONDS": "0.5"}
            grounds = Grounds(nursery, database, bucket, shared, vendors, upstream)
            fleet = Fleet(grounds, tmp_path / "fleet", **quick, **settings)
            stack.push_async_callback(fleet.close)
            await fleet.start(number)
            return fleet

        yield make
