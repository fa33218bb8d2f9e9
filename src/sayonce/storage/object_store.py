"""What the object storages over obstore have in common: their settings' base, one object a blob, its metadata in one
header, and addresses that others can reach.

obstore's own retries are off, since `RemoteStorage` tries again; and nothing that decides where a request goes or who
it is from is left to the variables that obstore would read by itself.
"""

from __future__ import annotations

import base64
import ipaddress
import json
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from math import ceil
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sayonce.errors import InvalidSettings, MissingExtra, StorageError, StorageFull
from sayonce.storage.contract import Serving, StoredBlob
from sayonce.storage.object_errors import LASTING, Meaning, Refused, told_by
from sayonce.storage.remote import Reach, RemoteStorage, prefix_of

try:
    from obstore.exceptions import BaseError
except ImportError as error:
    raise MissingExtra("An object storage", extra="obstore") from error

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig
    from obstore.store import ObjectStore as Store

#: The driver's own tries: none but the first.
ONE_TRY: RetryConfig = {"max_retries": 0}

# The one header that metadata goes in, and what it may hold: S3 keeps 2 KB for all headers of an object together.
_HEADER, _ROOM = "sayonce", 2_000
_LISTED_AT_ONCE = 1_000
# What paths are made of, as storages order it.
_IN_ORDER = "-.0123456789=ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
# No vendor signs for longer: seven days, in seconds.
_LONGEST = 604_800


class ObjectSettings(BaseModel):
    """One storage's table. `public_url` is where the bucket itself is reached from outside: what is in it follows,
    key by key. `timeout` is in seconds, of one try."""

    scheme: ClassVar[str]

    # An error's own text would show what was given, and so a key.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: str
    public_url: str | None = None
    urls: Literal["signed", "public", "none"] = "signed"
    timeout: float = Field(default=10.0, gt=0, le=3_600)

    @field_validator("url")
    @classmethod
    def _names_a_bucket(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme != cls.scheme or not parts.netloc or set("@?#:") & set(url.partition("://")[2]):
            raise ValueError(f"must be {cls.scheme}://bucket or {cls.scheme}://bucket/prefix")
        prefix_of(parts.path)
        return url.rstrip("/")

    @field_validator("public_url")
    @classmethod
    def _is_an_address(cls, url: str | None) -> str | None:
        return None if url is None else http_url(url)

    @field_validator("urls")
    @classmethod
    def _has_what_it_needs(cls, urls: str, told: Any) -> str:
        if urls == "public" and told.data.get("public_url") is None:
            raise ValueError("is 'public', which needs public_url: where the bucket is reached from outside")
        return urls

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return urlsplit(self.url).netloc

    @property
    def prefix(self) -> str:
        """What its keys begin with: empty, or ending in a slash."""
        return prefix_of(urlsplit(self.url).path)

    @property
    def address(self) -> str:
        """Where this machine reaches the bucket."""
        raise NotImplementedError

    @property
    def outside(self) -> str | None:
        """Where others reach the bucket; None where they cannot."""
        return self.public_url or (self.address if reachable(self.address) else None)

    def amiss(self) -> tuple[str, str] | None:
        """A field that is wrong beside the others, and why."""
        return None


S = TypeVar("S", bound=ObjectSettings)


class ObjectStore(RemoteStorage, Generic[S]):
    """One prefix of one bucket."""

    #: The model of its table in the settings.
    settings_model: ClassVar[type[ObjectSettings]]

    def __init__(self, name: str, settings: S) -> None:
        super().__init__(name, Reach(settings.url, settings.prefix, settings.timeout))
        self.settings = settings
        try:
            self._store: Store = self._opened()
        except (BaseError, ValueError):
            raise InvalidSettings(
                f"The storage '{name}' cannot be opened as it is set.",
                remedy=f'Mend [storages."{name}"], and unset variables that are obstore\'s own.',
            ) from None  # the driver's error quotes what was given, and so a key

    @classmethod
    def from_settings(cls, name: str, table: Mapping[str, object]) -> Self:
        try:
            settings = cls.settings_model.model_validate(dict(table))
        except ValidationError as error:
            wrong = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in wrong["loc"])
            raise cls._wrong(name, where, wrong["msg"].removeprefix("Value error, ")) from error
        if amiss := settings.amiss():
            raise cls._wrong(name, *amiss)
        return cls(name, settings)  # type: ignore[arg-type]

    @classmethod
    def _wrong(cls, name: str, field: str, why: str) -> InvalidSettings:
        return InvalidSettings(
            f"The setting '{field}' of the storage '{name}' is wrong: {why}.",
            remedy=f'Mend it in [storages."{name}"]; docs/how-to/storage-{cls.backend}.md has them all.',
        )

    @abstractmethod
    def _opened(self) -> Store:
        """The driver's store, of the whole bucket."""

    @abstractmethod
    async def _signed(self, key: str, lasting: timedelta) -> str | None:
        """An address of this object's for whoever has it, for so long; None where others cannot reach it."""

    def _client(self, address: str) -> ClientConfig:
        """The driver's client: plain HTTP only where the address is such. Its patience ends after that of one try."""
        return {
            "allow_http": address.startswith("http://"),
            "timeout": timedelta(seconds=self.reach.timeout + 1),
            "connect_timeout": timedelta(seconds=min(self.reach.timeout, 5)),
        }

    # ── one try each ─────────────────────────────────────────────────────────────────────────────

    async def _put(self, key: str, data: bytes, serving: Serving, metadata: Mapping[str, str]) -> None:
        told = {"Content-Type": serving.content_type, "Cache-Control": serving.cache_control}
        if metadata:
            told[_HEADER] = _packed(metadata)
        # In parts, it would leave some behind where it is broken off, and cost more requests.
        await self._store.put_async(key, data, attributes=told, use_multipart=False)

    async def _get(self, key: str) -> bytes:
        found = await self._store.get_async(key)
        return bytes(await found.bytes_async())

    def _fits(self, metadata: Mapping[str, str]) -> bool:
        return bool(metadata) and len(_packed(metadata)) <= _ROOM

    async def _told(self, key: str) -> Mapping[str, str]:
        try:
            found = await self._store.get_async(key, options={"head": True})
        except FileNotFoundError as error:
            # The answer to a HEAD has no body and so does not say what is missing: the object, or the bucket.
            await self._get(key)
            raise self.unavailable("says of one blob that it is there, and that it is not") from error
        packed = found.attributes.get(_HEADER)
        try:
            return {} if packed is None else _unpacked(packed)
        except ValueError as error:
            raise StorageError(
                f"A blob in {self.reach.place} has metadata that cannot be read.",
                backend=self.backend,
                remedy="Something else than sayonce wrote it: give it a prefix of its own.",
            ) from error

    async def _remove(self, keys: Sequence[str]) -> None:
        for key in keys:  # where the first is not there, the driver leaves the others
            await self._remove_at_once([key])

    async def _remove_at_once(self, keys: Sequence[str]) -> None:
        try:
            await self._store.delete_async(keys)
        except (BaseError, FileNotFoundError) as error:
            if told_by(str(error)).meaning is not Meaning.MISSING:
                raise

    async def _list(self, prefix: str) -> AsyncIterator[Sequence[StoredBlob]]:
        folder, _, rest = prefix.rpartition("/")
        # The driver's own prefixes are whole segments; most of what comes before the rest of one is skipped.
        after = f"{folder}/{_before(rest)}".strip("/") if rest else ""
        async for page in self._store.list(folder or None, offset=after or None, chunk_size=_LISTED_AT_ONCE):
            blobs = [StoredBlob(each["path"], each["size"], each["last_modified"]) for each in page]
            yield [blob for blob in blobs if blob.path.startswith(prefix)]
            if blobs and blobs[-1].path > prefix and not blobs[-1].path.startswith(prefix):
                return

    async def _address(self, key: str, seconds: float) -> str | None:
        if self.settings.urls == "none" or seconds > _LONGEST:
            return None
        if self.settings.urls == "public":
            return self._public(key)
        return await self._signed(key, timedelta(seconds=max(1, ceil(seconds))))

    def _public(self, key: str) -> str:
        """Where an object is under the bucket's public address."""
        return f"{self.settings.public_url}/{quote(key)}"

    # ── what errors mean ─────────────────────────────────────────────────────────────────────────

    def _meaning(self, error: Exception) -> StorageError | None:
        if isinstance(error, httpx.TransportError):
            return self.unavailable("cannot be reached")
        if not isinstance(error, BaseError | FileNotFoundError | Refused):
            return None
        told = told_by(str(error))
        word = f" ({told.word})" if told.word else ""
        match told.meaning:
            case Meaning.MISSING:
                return self.missing()
            case Meaning.PASSES:
                return self.unavailable(f"does not do it now{word}" if word else "cannot be reached")
            case Meaning.FULL:
                return StorageFull(
                    f"{self.reach.place} takes no more{word}.",
                    backend=self.backend,
                    remedy="Free some space, or raise its limits.",
                )
        what, remedy = LASTING[told.meaning]
        return self.misconfigured(what + word, remedy)


def http_url(url: str) -> str:
    """An address without the slash at its end; ValueError where it is none of HTTP's."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or set("@?# ") & set(url) or parts.port == 0:
        raise ValueError("must be an http or https URL without a user, a query or a fragment")
    return url.rstrip("/")


def reachable(address: str) -> bool:
    """Whether others may reach an address: its host is not loopback, and no name that only this network knows."""
    host = (urlsplit(address).hostname or "").rstrip(".")
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return "." in host and not host.endswith((".localhost", ".local", ".internal"))
    return not (ip.is_loopback or ip.is_unspecified or ip.is_link_local)


def _packed(metadata: Mapping[str, str]) -> str:
    told = json.dumps(dict(metadata), ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(told.encode()).decode()


def _unpacked(packed: str) -> Mapping[str, str]:
    told: dict[str, str] = json.loads(base64.urlsafe_b64decode(packed))
    return told


def _before(rest: str) -> str:
    """A name that comes shortly before all those that begin so."""
    place = _IN_ORDER.find(rest[-1])
    return rest[:-1] + (_IN_ORDER[place - 1] + "zzz" if place > 0 else "")
