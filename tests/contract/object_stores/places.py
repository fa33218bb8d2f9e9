"""Where the tests put blobs: a bucket of each kind behind a server that can be troubled."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from moto.core.models import DEFAULT_ACCOUNT_ID  # type: ignore[import-untyped]
from moto.s3.models import s3_backends  # type: ignore[import-untyped]
from starlette.types import ASGIApp

from sayonce.storage import registry
from sayonce.storage.contract import Storage
from sayonce.testing import azure, gcs
from sayonce.testing.s3 import S3Front
from sayonce.testing.servers import resettable, serving
from sayonce.testing.troubled import Trouble, Troubled

SECRET = "a secret that nobody is to see"
KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": SECRET}


class Place(ABC):
    """A bucket named `bucket`. `later` is how far its server's clock is ahead."""

    backend: ClassVar[str]

    #: The code of its errors for an object, and for a bucket, that is not there.
    no_object, no_bucket = "NoSuchKey", "NoSuchBucket"

    def __init__(self, bucket: str, stack: AsyncExitStack) -> None:
        self.bucket = bucket
        self.later = timedelta()
        self._stack = stack

    async def open(self, app: ASGIApp) -> None:
        """Serves it from now on."""
        self.troubled = Troubled(app)
        self.url = await self._stack.enter_async_context(serving(resettable(self.troubled)))

    @property
    @abstractmethod
    def address(self) -> str:
        """The bucket's own, here."""

    @abstractmethod
    def usual(self, prefix: str) -> dict[str, Any]:
        """The settings that reach it."""

    @abstractmethod
    def strangers(self, tmp_path: Path) -> dict[str, Any]:
        """Settings of somebody whom it does not know."""

    @abstractmethod
    def fill(self, keys: list[str]) -> None:
        """Puts an empty object at each key, past the server."""

    def now(self) -> datetime:
        """The server's time."""
        return datetime.now(UTC) + self.later

    def table(self, prefix: str = "", **more: Any) -> dict[str, Any]:
        """The usual settings, with more; `None` leaves one out."""
        given = {**self.usual(prefix), "public_url": self.address, **more}
        return {name: value for name, value in given.items() if value is not None}

    def storage(self, prefix: str = "", **more: Any) -> Storage:
        """A storage there."""
        made = registry.make("speech", self.backend, self.table(prefix, **more))
        self._stack.push_async_callback(made.aclose)
        return made

    def trouble(self, *, code: str = "", **how: Any) -> None:
        """From now on so; a `code` is told as this kind of storage does."""
        self.troubled.forget()
        if code:
            how["body"] = f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode()
        self.troubled.trouble = Trouble(**how)

    @property
    def calls(self) -> list[str]:
        """The requests so far, since there was trouble last."""
        return self.troubled.calls


class S3Place(Place):
    backend = "s3"

    def front(self, behind: str, **more: Any) -> S3Front:
        """What checks signatures before the server that does not."""
        return S3Front(behind, {KEYS["access_key_id"]: SECRET}, now=self.now, **more)

    @property
    def address(self) -> str:
        return f"{self.url}/{self.bucket}"

    def usual(self, prefix: str) -> dict[str, Any]:
        return {"url": f"s3://{self.bucket}{prefix}", "endpoint_url": self.url, **KEYS}

    def strangers(self, tmp_path: Path) -> dict[str, Any]:
        return {"secret_access_key": "another"}

    def fill(self, keys: list[str]) -> None:
        for key in keys:
            s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(self.bucket, key, b"")


class GcsPlace(Place):
    backend = "gcs"

    def __init__(self, bucket: str, stack: AsyncExitStack, folder: Path) -> None:
        super().__init__(bucket, stack)
        self.fake = gcs.FakeGcs(bucket, now=self.now)
        self._folder = folder

    @property
    def address(self) -> str:
        return f"{self.url}/{self.bucket}"

    def usual(self, prefix: str) -> dict[str, Any]:
        file = self._folder / "account.json"
        file.write_text(json.dumps(gcs.account(self.url)))
        return {"url": f"gs://{self.bucket}{prefix}", "credentials": str(file), "base_url": self.url}

    def strangers(self, tmp_path: Path) -> dict[str, Any]:
        file = tmp_path / "stranger.json"
        file.write_text(json.dumps(gcs.account(self.url) | {"client_email": "stranger@example.com"}))
        return {"credentials": str(file)}

    def fill(self, keys: list[str]) -> None:
        self.fake.fill(keys)


class AzurePlace(Place):
    backend = "obstore"
    no_object, no_bucket = "BlobNotFound", "ContainerNotFound"

    def __init__(self, bucket: str, stack: AsyncExitStack) -> None:
        super().__init__(bucket, stack)
        self.fake = azure.FakeAzure(bucket, now=self.now)

    @property
    def address(self) -> str:
        return f"{self.url}/{azure.ACCOUNT}/{self.bucket}"

    def usual(self, prefix: str) -> dict[str, Any]:
        options = {"account_name": azure.ACCOUNT, "account_key": azure.KEY, "endpoint": f"{self.url}/{azure.ACCOUNT}"}
        return {"url": f"az://{self.bucket}{prefix}", "options": options}

    def strangers(self, tmp_path: Path) -> dict[str, Any]:
        return {"options": self.usual("")["options"] | {"account_key": "YW5vdGhlcg=="}}

    def fill(self, keys: list[str]) -> None:
        self.fake.fill(keys)
