"""A stand-in for a Supabase project, and storages in it: what the tests of Supabase make fixtures of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

from sayonce.storage import registry
from sayonce.storage.contract import Storage
from sayonce.testing.servers import serving
from sayonce.testing.supabase import FakeSupabase
from sayonce.testing.supabase.objects import Bucket

Make = Callable[..., Storage]
BUCKET = "sayonce-audio"


def fake() -> FakeSupabase:
    return FakeSupabase()


async def project(fake: FakeSupabase) -> AsyncIterator[str]:
    async with serving(fake) as url:
        yield url


async def make(fake: FakeSupabase, project: str) -> AsyncIterator[Make]:
    """Makes storages of that project."""
    async with AsyncExitStack() as stack:

        def make(url: str = f"supabase://{BUCKET}", **table: Any) -> Storage:
            given = {"project_url": project, "service_key": fake.service_key, "public_url": project}
            storage = registry.make("cloud", "supabase", {"url": url} | given | table)
            stack.push_async_callback(storage.aclose)
            return storage

        yield make


def bucket(fake: FakeSupabase) -> Bucket:
    """The bucket, as it is from the first write on."""
    return fake.buckets.setdefault(BUCKET, Bucket(BUCKET))


async def paths(storage: Storage, prefix: str = "") -> list[str]:
    """What it lists."""
    return [blob.path async for blob in storage.list(prefix)]
