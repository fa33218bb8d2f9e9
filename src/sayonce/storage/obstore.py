"""Blobs in any other object storage that obstore knows, Azure's above all (obstore 0.12, 2026-11)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from sayonce.errors import MissingExtra

try:
    from obstore import sign_async
    from obstore.exceptions import BaseError
    from obstore.store import AzureStore, MemoryStore, from_url
except ImportError as error:
    raise MissingExtra("A storage over obstore", extra="obstore") from error

from sayonce.storage.object_store import ONE_TRY, ObjectSettings, ObjectStore, reachable

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Store

# What has an adapter of its own, by the URL's scheme.
_OWN = {"s3": "s3", "s3a": "s3", "gs": "gcs", "file": "local"}
# What obstore means by Microsoft's, and its memory.
_SCHEMES = ("az", "adl", "azure", "abfs", "abfss", "https", "http", "memory")
_KNOWN = "file, memory, s3, gs, az, abfss, supabase, databricks and database"


class ObstoreSettings(ObjectSettings):
    """`options` are obstore's own for that kind of storage; each counts as a secret."""

    options: Mapping[str, SecretStr] = Field(default_factory=dict)

    @field_validator("url")
    @classmethod
    def _names_a_bucket(cls, url: str) -> str:
        scheme = urlsplit(url).scheme
        if scheme in _OWN:
            raise ValueError(f"is for the backend '{_OWN[scheme]}'")
        if scheme and scheme not in _SCHEMES:
            raise ValueError(f"begins with '{scheme}', which no storage's does: there are {_KNOWN}")
        if not scheme or set("?#") & set(url):
            raise ValueError("must be a URL that obstore knows, such as az://container/prefix")
        return url if url.endswith("//") else url.rstrip("/")

    @field_validator("options", mode="before")
    @classmethod
    def _are_texts(cls, options: Any) -> Any:
        if not isinstance(options, Mapping):
            return options
        return {
            name: str(value).lower() if isinstance(value, bool | int) else value for name, value in options.items()
        }

    @property
    def prefix(self) -> str:
        return ""  # the driver's store begins at the whole URL


class ObstoreStorage(ObjectStore[ObstoreSettings]):
    """Whatever the URL means to obstore."""

    backend = "obstore"
    settings_model = ObstoreSettings

    def _opened(self) -> Store:
        if urlsplit(self.settings.url).scheme == "memory":
            return MemoryStore()
        given: Any = {name: value.get_secret_value() for name, value in self.settings.options.items()}
        plain = next((value for value in given.values() if value.startswith("http://")), "")
        how: Any = {"client_options": self._client(plain), "retry_config": ONE_TRY}
        try:
            opened = from_url(self.settings.url, config=given, **how)
        except BaseError as error:
            if "Account must be specified" not in str(error):
                raise
            why = "is missing: set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"
            raise self._wrong(self.name, "options.account_name", why) from None
        if not isinstance(opened, AzureStore):
            raise ValueError("neither what lists in no order nor what has an adapter of its own")
        return opened

    async def _signed(self, key: str, lasting: timedelta) -> str | None:
        if not isinstance(self._store, AzureStore):
            return None
        try:
            address, _, query = (await sign_async(self._store, "GET", key, lasting)).partition("?")
        except BaseError as error:
            if "SASforSASNotSupported" in str(error):
                return None  # who has but a signature cannot sign
            raise
        if self.settings.public_url is not None:  # the host is no part of what Azure signs
            return f"{self._public(key)}?{query}"
        return f"{address}?{query}" if reachable(address) else None

    def _public(self, key: str) -> str:
        prefix = self._store.prefix if isinstance(self._store, AzureStore) else None
        return super()._public(f"{prefix}/{key}" if prefix else key)
