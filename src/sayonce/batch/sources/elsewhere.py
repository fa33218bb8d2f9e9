"""What a table or a manifest only names: at an address, or at a path of a storage."""

from __future__ import annotations

import httpx

from sayonce.batch.sources.contract import too_large
from sayonce.errors import BlobNotFound, InvalidRequest, StorageError
from sayonce.storage.contract import Storage

# How long an answer is waited for, in seconds.
_PATIENCE = 60.0


class Addresses:
    """Gets what is at an address; nothing larger than `most` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._http = httpx.AsyncClient(timeout=_PATIENCE, follow_redirects=True)

    async def fetch(self, url: str) -> bytes:
        """The bytes there. InvalidRequest where there are none, which says nothing of the address: it may be
        signed."""
        if not url.startswith(("https://", "http://")):
            raise InvalidRequest("its address is none of http or https", param="url")
        try:
            async with self._http.stream("GET", url) as answer:
                if answer.status_code != 200:
                    raise InvalidRequest(f"its address answers with {answer.status_code}", param="url")
                return await self._body(answer)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise InvalidRequest(f"its address does not answer: {type(error).__name__}", param="url") from error

    async def _body(self, answer: httpx.Response) -> bytes:
        came = bytearray()
        async for chunk in answer.aiter_bytes():
            came += chunk
            if len(came) > self._most:
                raise too_large(len(came), self._most)
        return bytes(came)

    async def aclose(self) -> None:
        """Closes its connections."""
        await self._http.aclose()


class Paths:
    """Gets what is at a path of a storage that is configured."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def fetch(self, path: str) -> bytes:
        """The bytes there. InvalidRequest where there are definitely none; StorageUnavailable where that cannot be
        told."""
        try:
            return await self._storage.read(path)
        except BlobNotFound as error:
            raise InvalidRequest(f"there is nothing at its path in '{self._storage.name}'", param="path") from error
        except StorageError as error:
            if type(error) is not StorageError:
                raise
            raise InvalidRequest(f"its path is none of '{self._storage.name}'", param="path") from error
