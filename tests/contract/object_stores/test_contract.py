"""The storages over obstore keep the contract."""

from __future__ import annotations

import pytest

from sayonce.storage import registry
from sayonce.storage.contract import Storage
from sayonce.testing.storages import StorageContract
from tests.contract.object_stores.places import AzurePlace, GcsPlace, S3Place


class TestS3(StorageContract):
    """Before moto, behind what checks signatures and sizes as Amazon's does."""

    @pytest.fixture
    async def storage(self, s3: S3Place) -> Storage:
        return s3.storage("/some/prefix")


class TestGcs(StorageContract):
    """Before our own fake."""

    @pytest.fixture
    async def storage(self, gcs: GcsPlace) -> Storage:
        return gcs.storage("/some/prefix")


class TestAzure(StorageContract):
    """Before our own fake."""

    @pytest.fixture
    async def storage(self, azure: AzurePlace) -> Storage:
        return azure.storage("/some/prefix")


class TestMemory(StorageContract):
    """obstore's own."""

    @pytest.fixture
    async def storage(self) -> Storage:
        return registry.make("memory", "obstore", {"url": "memory:///"})
