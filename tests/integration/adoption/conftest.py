"""What the tests of adoption share: what is asked before and after, and how a catalog is lost."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from sayonce.access import keys
from sayonce.access.callers import Role
from sayonce.cache.adoption import Adoption, Manner, Report
from sayonce.catalog.records import Asset, Tenant
from sayonce.catalog.tables import assets as asset_rows
from sayonce.catalog.tables import blobs as blob_rows
from sayonce.catalog.tables import uses
from sayonce.cluster.catalog_leases import CatalogLeases
from sayonce.storage.local import LocalStorage
from tests.conftest import Heard, House

LONG = "One sentence that is said, and kept, and lost with its catalog, and found again."


@pytest.fixture(params=["sqlite", "postgresql"])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a catalog that knows nothing yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/another.db"
    url: str = request.getfixturevalue("postgres")
    return url


@asynccontextmanager
async def storage_of(house: House) -> AsyncIterator[LocalStorage]:
    storage = LocalStorage("local", house.gateway.settings.data_dir / "audio")
    yield storage
    await storage.aclose()


async def adopt(house: House, **manner: Any) -> Report:
    """What a run on the house's storage reports in the end."""
    async with storage_of(house) as storage:
        catalog = house.gateway.catalog
        running = Adoption(catalog, CatalogLeases(catalog, 10), storage, Manner(**manner), time.time).run()
        return [report async for report in running][-1]


def counted(report: Report) -> dict[str, int]:
    return {name: many for name, many in report.count.items() if many}


async def key_of(house: House, tenant: str) -> dict[str, str]:
    """The header of a new key that may do anything."""
    if await house.gateway.catalog.tenant(tenant) is None:
        await house.gateway.catalog.put_tenant(Tenant(tenant))
    _, key = await keys.create(house.gateway.catalog, tenant, "", tuple(Role), time.time)
    return {"authorization": f"Bearer {key}"}


#: Who asks, as which tenant, and how.
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("one", {}),
    ("one", {"response_format": "wav"}),
    ("one", {"response_format": "opus"}),
    ("one", {"voice": "onyx", "response_format": "pcm"}),
    ("one", {"scope": "user", "user": "Ann, née Grün"}),
    ("one", {"scope": "user", "user": "bob"}),
    ("one", {"scope": "session", "session": "s/1"}),
    ("two", {}),
    ("two", {"scope": "shared", "response_format": "flac"}),
]


async def ask(house: House, headers: Mapping[str, dict[str, str]], message: str = "m1") -> list[tuple[str, bytes]]:
    """Everything, and a chat message at a place of its own: where it came from, and its bytes."""
    heard: list[Heard] = [await house.speak(LONG, headers=headers[tenant], **body) for tenant, body in ASKED]
    body = {"text": LONG, "thread_id": "t1", "message_id": message, "save_to_volume": True}
    who = headers["one"] | {"x-sayonce-user": "ann"}
    told = await house.http.post("/api/tts/speak", json=body, headers=who)
    return [(str(each.outcome), each.audio) for each in heard] + [(told.headers["x-tts-cache"], told.content)]


async def assets(house: House) -> dict[bytes, Asset]:
    """Every asset by its content hash, as the blobs tell of them, with what no blob can tell left out."""
    found: dict[bytes, Asset] = {}
    async with storage_of(house) as storage:
        async for blob in storage.list():
            told = await storage.metadata(blob.path)
            asset = await house.gateway.catalog.find(bytes.fromhex(told["content_hash"]))
            assert asset is not None
            places = tuple(sorted(asset.blobs, key=lambda each: each.path))
            found[asset.content_hash] = replace(asset, text=None, blobs=places)
    return found


async def forget(house: House) -> None:
    """All rows of what is kept are gone, as in a catalog that was restored from before."""
    for table in (uses, blob_rows, asset_rows):
        await house.gateway.catalog._database.write(lambda connection, which=table: connection.execute(delete(which)))
    house.gateway.hot.clear()
