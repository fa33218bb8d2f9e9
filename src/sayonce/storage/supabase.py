"""Supabase Storage, over its official client (storage3 2.34, 2026-11).

Its errors are HTTP 400 with the true status inside. Signing takes a request, and gives a relative address. Metadata
lies in the sidecar: what Supabase itself keeps with an object cannot hold every text, and older servers drop it
without a word. Every path that a blob may have is a key that it takes as it is.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
import math
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Literal, NamedTuple, Self
from urllib.parse import quote, unquote, urlsplit

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from sayonce.errors import (
    BlobNotFound,
    InvalidSettings,
    MissingExtra,
    StorageError,
    StorageFull,
    StorageMisconfigured,
    StorageUnavailable,
)
from sayonce.storage.contract import Serving, StoredBlob
from sayonce.storage.remote import Reach, RemoteStorage, prefix_of

try:
    from storage3 import AsyncStorageClient
    from storage3.exceptions import StorageApiError

    from sayonce.storage.supabase_listing import pages
except ImportError as error:
    raise MissingExtra("A storage at Supabase", extra="supabase") from error

_ROOT = "/storage/v1"
_SIGNED = "/object/sign/"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
# Of a bucket's name and a key: its S3 takes 1,024 characters, and the project's name and a version are among them.
_LONGEST = 960
_CONNECTIONS = 64

# Which setting of the environment is meant, where one is wrong.
_VARIABLES = {"project_url": "SUPABASE_URL", "service_key": "SUPABASE_SERVICE_KEY", "url": "SAYONCE_STORAGE"}


class SupabaseSettings(BaseModel):
    """One storage's table in the settings."""

    # An error's own text would show what was given, and so a key.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: str  # supabase://bucket/prefix
    project_url: str
    service_key: SecretStr
    public: bool = False  # whether the bucket is made public, when it is made
    public_url: str | None = None  # where the project is reached from outside, if not at `project_url`
    urls: Literal["signed", "public", "none"] = "signed"
    timeout: float = Field(default=10.0, gt=0)  # seconds, of one try

    @field_validator("url")
    @classmethod
    def _names_a_bucket(cls, url: str) -> str:
        place = urlsplit(url)
        if place.scheme != "supabase" or not _BUCKET.fullmatch(place.netloc) or place.query or place.fragment:
            raise ValueError("must be supabase://bucket/prefix, the bucket of letters, digits, '.', '_' and '-'")
        prefix_of(unquote(place.path))
        return url

    @field_validator("project_url", "public_url")
    @classmethod
    def _leads_to_the_storage(cls, url: str | None) -> str | None:
        if url is None:
            return None
        place = urlsplit(url.strip())
        if place.scheme not in ("http", "https") or not place.hostname or place.port == 0:
            raise ValueError("must be an http or https URL")
        if set("?#@ ") & set(url.strip()):
            raise ValueError("must be a URL without a user, a query or a fragment")
        return url.strip().rstrip("/").removesuffix(_ROOT) + _ROOT

    @field_validator("service_key")
    @classmethod
    def _may_do_all(cls, key: SecretStr) -> SecretStr:
        plain = key.get_secret_value().strip()
        if not plain or not (plain.isascii() and plain.isprintable()):
            raise ValueError("must be of printable ASCII characters")
        if plain.startswith("sb_publishable_") or _role_of(plain) == "anon":
            raise ValueError("is the key for browsers, to which objects seem not to be there; give the secret one")
        return SecretStr(plain)

    @property
    def bucket(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def prefix(self) -> str:
        """Empty, or with a slash at its end."""
        return prefix_of(unquote(urlsplit(self.url).path))

    @property
    def outside(self) -> str | None:
        """The storage's address for everybody; None where there is none."""
        return self.public_url or (None if _is_inside(self.project_url) else self.project_url)


class SupabaseStorage(RemoteStorage):
    """One bucket, or what lies under a prefix of it. The first write makes the bucket where it is missing; reading
    never does, since then every blob would seem to be gone for good."""

    backend = "supabase"

    def __init__(self, name: str, settings: SupabaseSettings) -> None:
        place = f"supabase://{settings.bucket}/{settings.prefix}".rstrip("/")
        super().__init__(name, Reach(place, settings.prefix, settings.timeout))
        self.settings = settings
        key = settings.service_key.get_secret_value()
        # No proxy that the environment names, and no redirect: the key goes where the settings say.
        self._http = httpx.AsyncClient(
            timeout=None,  # each try has its own
            trust_env=False,
            limits=httpx.Limits(
                max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS, keepalive_expiry=60.0
            ),
        )
        headers = {"apikey": key, "authorization": f"Bearer {key}"}
        self._client = AsyncStorageClient(settings.project_url + "/", headers, http_client=self._http)
        self._bucket = self._client.from_(settings.bucket)
        self._making = asyncio.Lock()
        self._made = False

    @classmethod
    def from_settings(cls, name: str, table: Mapping[str, object]) -> Self:
        try:
            return cls(name, SupabaseSettings.model_validate(dict(table)))
        except ValidationError as error:
            wrong = error.errors(include_input=False, include_url=False)[0]
            field = ".".join(str(part) for part in wrong["loc"])
            why = wrong["msg"].removeprefix("Value error, ")
            where = f"[storages.{name}]" if "://" not in name else f'[storages."{name}"]'
            variable = f"{_VARIABLES[field]}, or '{field}'" if field in _VARIABLES else f"'{field}'"
            raise InvalidSettings(
                f"The setting '{field}' of the storage '{name}' is wrong: {why}.",
                remedy=f"Set {variable} in {where}; docs/how-to/storage-supabase.md tells of them all.",
            ) from error

    async def aclose(self) -> None:
        await self._http.aclose()

    # ── what it does ─────────────────────────────────────────────────────────────────────────────

    async def _put(self, key: str, data: bytes, serving: Serving, metadata: Mapping[str, str]) -> None:
        if len(self.settings.bucket) + len(key) > _LONGEST:
            raise self._refusal(_TOO_LONG, 400)
        try:
            await self._upload(key, data, serving)
        except StorageApiError as error:
            if _row(error) is not _NO_BUCKET:
                raise
            await self._make_bucket()
            await self._upload(key, data, serving)

    async def _upload(self, key: str, data: bytes, serving: Serving) -> None:
        caching = _behind_max_age(serving.cache_control)
        await self._bucket.upload(
            key, data, {"content-type": serving.content_type, "cache-control": caching, "x-upsert": "true"}
        )

    async def _make_bucket(self) -> None:
        async with self._making:
            if self._made:
                return
            try:
                await self._client.create_bucket(self.settings.bucket, options={"public": self.settings.public})
            except StorageApiError as error:
                if _status(error) != 409:  # another gateway was faster
                    raise
            self._made = True

    async def _get(self, key: str) -> bytes:
        try:
            return await self._bucket.download(key)
        except StorageApiError as error:
            if _row(error) is _NO_KEY:
                await self._see_bucket()
            raise

    async def _remove(self, keys: Sequence[str]) -> None:
        await self._bucket.remove(list(keys))

    async def _list(self, prefix: str) -> AsyncIterator[Sequence[StoredBlob]]:
        empty = True
        async for page in pages(self._bucket, prefix):
            empty = empty and not page
            yield page
        if empty:
            await self._see_bucket()

    async def _see_bucket(self) -> None:
        """Fails where the bucket is not there, or not for this key: then nothing seems to be in it, which is no
        definite answer."""
        await self._client.get_bucket(self.settings.bucket)

    async def _address(self, key: str, seconds: float) -> str | None:
        outside, kind = self.settings.outside, self.settings.urls
        if outside is None or kind == "none":
            return None
        if kind == "public":
            return f"{outside}/object/public/{self.settings.bucket}/{quote(key)}"
        try:
            signed = await self._bucket.create_signed_url(key, max(1, math.ceil(seconds)))
        except StorageApiError as error:
            if _row(error) is _NO_KEY:
                return None  # it signs only what is there
            raise
        address = str(signed["signedURL"])
        return outside + address[address.index(_SIGNED) :]

    # ── what its errors mean ─────────────────────────────────────────────────────────────────────

    def _meaning(self, error: Exception) -> StorageError | None:
        match error:
            case StorageApiError():
                return self._refusal(_row(error), _status(error))
            case httpx.RequestError():
                return self.unavailable(f"cannot be reached ({type(error).__name__})")
            case ValueError() | KeyError():  # an answer that storage3 cannot read
                return self._refusal(_ELSEWHERE, 200)
        return None

    def _refusal(self, row: _Row, status: int) -> StorageError:
        if row is _NO_KEY:
            return self.missing()
        if row is _PASSING:
            return self.unavailable(f"answered {status}")
        what = row.what.format(status=status)
        return row.kind(f"{self.reach.place} {what}.", backend=self.backend, remedy=row.remedy)


# ── the table: what each refusal means ───────────────────────────────────────────────────────────


class _Row(NamedTuple):
    """`what` completes a sentence that begins with the place."""

    kind: type[StorageError]
    what: str = ""
    remedy: str = ""


_NO_KEY = _Row(BlobNotFound)
_PASSING = _Row(StorageUnavailable)
_NO_BUCKET = _Row(
    StorageMisconfigured,
    "has no such bucket, or does not accept the service key",
    "See that SUPABASE_URL and SUPABASE_SERVICE_KEY are of one project; the first write makes the bucket.",
)
_KEY_REFUSED = _Row(
    StorageMisconfigured,
    "does not accept the service key ({status})",
    "Set SUPABASE_SERVICE_KEY to the project's secret key, or its service_role key; it may have expired.",
)
_EXISTS = _Row(
    StorageError,
    "does not replace an object that is there",
    "Let the key do it: policies on storage.objects must allow INSERT, SELECT and UPDATE.",
)
_INVALID_KEY = _Row(StorageError, "does not take that path as a key", "Change path_template, or the prefix.")
_TOO_LONG = _Row(StorageError, "takes no key of so many characters", "Shorten path_template, or the prefix.")
_TOO_LARGE = _Row(
    StorageFull, "takes no object so large", "Raise the file size limit of the bucket, and that of the project."
)
_OVER_QUOTA = _Row(StorageFull, "is in a project that is over its quota", "Free some space, or raise its plan.")
_WRONG_TYPE = _Row(
    StorageMisconfigured,
    "does not take that type of file",
    "Let the bucket allow any MIME type, or audio/* and application/json.",
)
_PAUSED = _Row(StorageMisconfigured, "is in a project that is paused", "Restore it in Supabase's dashboard.")
_ELSEWHERE = _Row(
    StorageMisconfigured,
    "is looked for where no Supabase Storage answers ({status})",
    "Set SUPABASE_URL to the project's address, https://….supabase.co.",
)
_REFUSED = _Row(StorageMisconfigured, "refuses the request ({status})", "The project's Storage logs tell why.")

# By the names of its errors, the newer and the older ones; else by the true status.
_BY_NAME = {
    **dict.fromkeys(("NoSuchKey", "not_found", "Not found"), _NO_KEY),
    **dict.fromkeys(("NoSuchBucket", "Bucket not found"), _NO_BUCKET),
    **dict.fromkeys(("InvalidJWT", "ExpiredToken"), _KEY_REFUSED),
    "InvalidKey": _INVALID_KEY,
}
_BY_STATUS = {
    **dict.fromkeys((200, 301, 302, 307, 308, 404, 405), _ELSEWHERE),
    **dict.fromkeys((401, 403), _KEY_REFUSED),
    402: _OVER_QUOTA,
    409: _EXISTS,
    413: _TOO_LARGE,
    415: _WRONG_TYPE,
    **dict.fromkeys((423, 429), _PASSING),  # locked by another write, or too many at once
    540: _PAUSED,
}


def _row(error: StorageApiError) -> _Row:
    status = _status(error)
    named = _BY_NAME.get(_name(error)) or _BY_NAME.get(error.code) or _BY_STATUS.get(status)
    return named or (_PASSING if status >= 500 else _REFUSED)


def _name(error: StorageApiError) -> str:
    """The server's name for an error, which its answer has; storage3 keeps an older one alone."""
    if not isinstance(error.__cause__, httpx.HTTPStatusError):
        return ""
    return str(error.__cause__.response.json().get("code"))


def _status(error: StorageApiError) -> int:
    """The true status, which is inside."""
    return int(error.status) if str(error.status).isdecimal() else 400


# ── small things ─────────────────────────────────────────────────────────────────────────────────


def _behind_max_age(cache_control: str) -> str:
    """Cache-Control as the server wants it told: it puts `max-age=` before it, and keeps all that follows the
    seconds."""
    directives = [directive.strip() for directive in cache_control.split(",")]
    ages = [directive for directive in directives if directive.startswith("max-age=")]
    seconds = ages[0].removeprefix("max-age=") if ages else "0"
    return ", ".join([seconds, *(directive for directive in directives if directive not in ages)])


def _role_of(key: str) -> object:
    """The role that a key claims, where it is a token (JWT) that tells one."""
    try:
        claims = key.split(".")[1]
        return json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))).get("role")
    except (IndexError, ValueError, AttributeError):
        return None


def _is_inside(url: str) -> bool:
    """Whether a URL leads to this machine, or to a host that only its neighbours know by that name."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".internal"))
    return address.is_loopback or address.is_unspecified or address.is_link_local
