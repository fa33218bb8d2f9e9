"""Unity Catalog volumes of Databricks, through the Files API (databricks-sdk 0.156, 2026-11).

Each call is made with the credentials that the caller of its task has forwarded, or else with the service's. Volumes
keep no metadata, so that lies in sidecars; and they give no addresses that would do for others: those that they sign
say neither what a file is nor how long it may be kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from io import BytesIO
from itertools import islice
from typing import TypeVar
from weakref import WeakValueDictionary

from pydantic import ValidationError

from sayonce.errors import CallerRefused, InvalidSettings, MissingExtra, StorageError, StorageMisconfigured
from sayonce.storage.contract import Serving, StoredBlob, forwarded_token
from sayonce.storage.databricks_clients import LIKE, Clients, DatabricksSettings, NoCredentials, can_be_sent
from sayonce.storage.remote import Reach, RemoteStorage

try:
    import requests
    from databricks.sdk.core import DatabricksError
    from databricks.sdk.errors import platform
    from databricks.sdk.errors.private_link import PrivateLinkValidationError
    from databricks.sdk.mixins.files import FilesExt
    from databricks.sdk.service.files import DirectoryEntry
except ImportError as error:
    raise MissingExtra("The storage 'databricks'", extra="databricks") from error

T = TypeVar("T")

_THREADS = 10
# How many folders are remembered as being there.
_MOST_FOLDERS = 10_000
_LISTED_AT_ONCE = 1_000  # the platform's own page
# What the platform says of a file, and of nothing above it.
_NO_FILE = "FILES_API_FILE_NOT_FOUND"
_GRANTS = "READ VOLUME and WRITE VOLUME on the volume, USE SCHEMA and USE CATALOG above it"


class DatabricksStorage(RemoteStorage):
    """Files in a volume, in folders that are made as needed. The SDK is synchronous: a call is a hop to a thread of
    its own pool."""

    backend = "databricks"

    def __init__(self, name: str, settings: DatabricksSettings) -> None:
        self._volume, prefix = settings.place
        super().__init__(name, Reach(f"{self._volume}/{prefix}".rstrip("/"), prefix, settings.timeout))
        self._clients = Clients(settings)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"storage-{name}")
        self._folders: dict[str, None] = {}
        self._making: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @classmethod
    def from_settings(cls, name: str, table: Mapping[str, object]) -> DatabricksStorage:
        try:
            settings = DatabricksSettings.model_validate(dict(table))
        except ValidationError as error:
            wrong = error.errors(include_input=False, include_url=False)[0]
            where, why = ".".join(map(str, wrong["loc"])), wrong["msg"].removeprefix("Value error, ")
            raise _invalid(name, where, f"is wrong: {why}", f'Mend it in [storages."{name}"].') from error
        if not settings.place[0]:
            remedy = f"Set DATABRICKS_VOLUME, or the storage databricks://{LIKE}."
            raise _invalid(name, "volume", "is missing", remedy)
        if settings.token is not None and settings.host is None:
            raise _invalid(name, "host", "is missing", "Set DATABRICKS_HOST to the address that the token is for.")
        return cls(name, settings)

    async def aclose(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    # ── what the backend does ────────────────────────────────────────────────────────────────────

    async def _put(self, key: str, data: bytes, serving: Serving, metadata: Mapping[str, str]) -> None:
        path = self._path(key)
        folder = path.rpartition("/")[0]
        remembered = folder in self._folders
        await self._make(folder)
        try:
            await self._run(_upload, path, data)
        except platform.NotFound:
            if not remembered:
                raise
            self._folders.pop(folder, None)  # somebody has removed it since
            await self._put(key, data, serving, metadata)
        except TypeError as error:
            # The SDK's own slip over an answer to an upload that is neither JSON nor HTML: a proxy's, on a bad day.
            raise self.unavailable("answered with an error that cannot be read") from error

    async def _get(self, key: str) -> bytes:
        kind, data = await self._of_file(_download, self._path(key))
        if kind.startswith("text/html"):
            raise self._not_databricks()
        return data

    async def _told(self, key: str) -> Mapping[str, str]:
        await self._of_file(FilesExt.get_metadata, self._path(key))
        return {}

    async def _remove(self, keys: Sequence[str]) -> None:
        for key in keys:
            try:
                await self._run(FilesExt.delete, self._path(key))
            except platform.NotFound as error:
                await self._demand_volume(error)

    async def _list(self, prefix: str) -> AsyncIterator[Sequence[StoredBlob]]:
        folder, slash, _ = prefix.rpartition("/")
        async for page in self._walk(folder + slash, prefix):
            yield page

    # ── folders ──────────────────────────────────────────────────────────────────────────────────

    async def _make(self, folder: str) -> None:
        """Makes a folder, and those that it lies in, unless it is known to be there; once, whoever else waits."""
        if folder in self._folders or folder == self._volume:
            return
        async with self._making.setdefault(folder, asyncio.Lock()):
            if folder in self._folders:
                return
            await self._run(FilesExt.create_directory, folder)
            if len(self._folders) >= _MOST_FOLDERS:
                del self._folders[next(iter(self._folders))]
            self._folders[folder] = None

    async def _walk(self, folder: str, prefix: str) -> AsyncIterator[Sequence[StoredBlob]]:
        """What is in a folder and below it. The platform promises no order, so a folder is read whole before anything
        of it is told; an empty page after each call keeps the time limit one call's."""
        entries: list[DirectoryEntry] = []
        async for page in self._entries(folder):
            entries += page
            yield ()
        found: list[StoredBlob] = []
        for entry in sorted(entries, key=_in_path_order):
            key = folder + _in_path_order(entry)
            if entry.is_directory and (key.startswith(prefix) or prefix.startswith(key)):
                yield found
                found = []
                async for blobs in self._walk(key, prefix):
                    yield blobs
            elif key.startswith(prefix) and not entry.is_directory:
                found.append(_blob(key, entry))
        yield found

    async def _entries(self, folder: str) -> AsyncIterator[Sequence[DirectoryEntry]]:
        try:
            entries = await self._run(FilesExt.list_directory_contents, self._path(folder).rstrip("/"))
            while page := await self._run(_next, entries):
                yield page
        except platform.NotFound as error:
            await self._demand_volume(error)

    # ── one call ─────────────────────────────────────────────────────────────────────────────────

    def _path(self, key: str) -> str:
        return f"{self._volume}/{key}"

    async def _of_file(self, work: Callable[[FilesExt, str], T], path: str) -> T:
        """What a file gives. BlobNotFound where it is the file that is not there."""
        try:
            return await self._run(work, path)
        except platform.NotFound as error:
            await self._demand_volume(error)
            raise self.missing() from error

    async def _demand_volume(self, error: platform.NotFound) -> None:
        """Returns where nothing more than a file or a folder was not found; raises the volume's own error where that
        is not there, either."""
        said = error.get_error_details().error_info
        if said is not None and said.reason == _NO_FILE:
            return
        try:
            await self._run(FilesExt.get_directory_metadata, self._volume)
        except platform.NotFound:
            # Nor is a volume with nothing in it. But what there is can be made once more, and nothing else can.
            await self._run(FilesExt.create_directory, self._volume)

    async def _run(self, work: Callable[..., T], *args: object) -> T:
        """One call, with the credentials of whoever's turn it is."""
        token = forwarded_token.get()
        if token is not None and not can_be_sent(token):
            raise self._refused("cannot be asked with what the caller forwarded", "It is no token: forward another.")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._called, token, work, args)

    def _called(self, token: str | None, work: Callable[..., T], args: tuple[object, ...]) -> T:
        return work(self._clients.of(token).files, *args)

    # ── what its errors mean ─────────────────────────────────────────────────────────────────────

    def _meaning(self, error: Exception) -> StorageError | None:
        whose = "the service's credentials" if forwarded_token.get() is None else "what the caller forwarded"
        match error:
            case platform.NotFound():
                return self._refused(f"is not there for {whose}", f"Create the volume, or grant {_GRANTS}.")
            case PrivateLinkValidationError():
                return self.misconfigured("cannot be reached from this network", "Come by its Private Link.")
            case platform.PermissionDenied():
                remedy = f"Grant {_GRANTS}; or renew the token, should it have expired."
                return self._refused(f"is not open to {whose}", remedy)
            case platform.Unauthenticated():
                return self._refused(f"does not accept {whose}", "Renew the token, or mend the profile.")
            case platform.BadRequest() | platform.NotImplemented():
                said = f"refuses the request ({type(error).__name__})"
                return self.misconfigured(said, "See that it is a Unity Catalog volume whose cloud storage is open.")
            case platform.AlreadyExists() | platform.ResourceAlreadyExists():
                return self.misconfigured("has something else at that path", "Move it away, or set another prefix.")
            case requests.exceptions.InvalidJSONError():
                return self._not_databricks()
            case DatabricksError() | requests.RequestException():
                return self.unavailable(f"has failed ({type(error).__name__})")
            case NoCredentials() | ValueError():
                return self._without_credentials(error)
        # What may pass at a signed address has an error that the SDK keeps to itself.
        status = getattr(error, "http_status_code", None)
        return None if status is None else self.unavailable(f"has failed ({status})")

    def _without_credentials(self, error: Exception) -> StorageError:
        """Why the SDK has found none: the end of its causes, which may be trouble that passes."""
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, DatabricksError | requests.RequestException):
            meaning = self._meaning(cause)
            if meaning is not None and meaning.retryable:
                return meaning
        remedy = "Set DATABRICKS_HOST and DATABRICKS_TOKEN, or a service principal's id and secret, or a profile."
        return self.misconfigured("cannot be asked: no credentials of the service's are found or accepted", remedy)

    def _refused(self, what: str, remedy: str) -> StorageMisconfigured:
        if forwarded_token.get() is None:
            return self.misconfigured(what, remedy)
        return CallerRefused(f"{self.reach.place} {what}.", backend=self.backend, remedy=remedy)

    def _not_databricks(self) -> StorageMisconfigured:
        return self.misconfigured("is answered for by a web page", "Set DATABRICKS_HOST to the workspace's address.")


# ── in a thread ──────────────────────────────────────────────────────────────────────────────────


def _upload(files: FilesExt, path: str, data: bytes) -> None:
    files.upload(path, BytesIO(data), overwrite=True, use_parallel=False)


def _download(files: FilesExt, path: str) -> tuple[str, bytes]:
    """A file's type, and its bytes."""
    answer = files.download(path)
    assert answer.contents is not None
    with answer.contents as stream:
        return answer.content_type or "", stream.read()


def _next(_: FilesExt, entries: Iterator[DirectoryEntry]) -> list[DirectoryEntry]:
    return list(islice(entries, _LISTED_AT_ONCE))


# ── small ────────────────────────────────────────────────────────────────────────────────────────


def _in_path_order(entry: DirectoryEntry) -> str:
    return (entry.name or "") + ("/" if entry.is_directory else "")


def _blob(key: str, entry: DirectoryEntry) -> StoredBlob:
    return StoredBlob(key, entry.file_size or 0, datetime.fromtimestamp((entry.last_modified or 0) / 1_000, UTC))


def _invalid(name: str, field: str, what: str, remedy: str) -> InvalidSettings:
    return InvalidSettings(f"The setting '{field}' of the storage '{name}' {what}.", remedy=remedy)
