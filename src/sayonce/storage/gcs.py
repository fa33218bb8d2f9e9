"""Blobs in Google Cloud Storage (obstore 0.12, 2026-11)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import quote

from pydantic import field_validator

from sayonce.errors import MissingExtra
from sayonce.storage.contract import LifecycleRule

try:
    from obstore import sign_async
    from obstore.store import GCSStore
except ImportError as error:
    raise MissingExtra("A storage in Google Cloud Storage", extra="gcs") from error

from sayonce.storage.object_store import ONE_TRY, ObjectSettings, ObjectStore, http_url

if TYPE_CHECKING:
    from obstore.store import GCSConfig

    from sayonce.storage.gcs_lifecycle import BucketRules
    from sayonce.storage.gcs_signing import Signer

_GOOGLE = "https://storage.googleapis.com"
# The driver's own variables, which it heeds in place of what it is given.
_INSTEAD = ("GOOGLE_BEARER_TOKEN", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH")
# What is told of a service account in its file; the driver needs these.
_NEEDED = frozenset({"client_email", "private_key", "private_key_id"})


class GcsSettings(ObjectSettings):
    """`credentials` is the path of a service account's JSON file, or `metadata`: the machine's own account, which
    only machines of Google's have. `base_url` is another server's that speaks the same."""

    scheme: ClassVar[str] = "gs"

    credentials: str | None = None
    base_url: str = _GOOGLE

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        return http_url(url)

    @property
    def address(self) -> str:
        return f"{self.base_url}/{self.bucket}"

    @property
    def account(self) -> Mapping[str, Any] | None:
        """What the file tells of the service account; None for the machine's own. ValueError, which quotes nothing,
        where it tells of none."""
        if self.credentials == "metadata":
            return None
        try:
            with open(self.credentials or "", encoding="utf-8") as file:
                told = json.load(file)
        except OSError as error:
            raise ValueError(f"names a file that cannot be read ({error.strerror})") from error
        except ValueError:
            raise ValueError("names a file that is no JSON") from None
        if not isinstance(told, dict) or told.get("type") != "service_account" or _NEEDED - told.keys():
            raise ValueError("names a file that is no service account's key")
        return told

    def amiss(self) -> tuple[str, str] | None:
        if not self.credentials:
            own = 'or credentials = "metadata" for the machine\'s own account'
            return "credentials", f"is missing: set GOOGLE_APPLICATION_CREDENTIALS to a service account's file, {own}"
        for name in filter(os.environ.get, _INSTEAD):
            return "credentials", f"would not be heeded: unset {name}"
        if self.credentials == "metadata" and self.urls == "signed" and self.outside and not is_google(self.outside):
            return "public_url", "is at another host than Google's, which the machine's own account cannot sign for"
        try:
            self.account  # noqa: B018 - it is read for what is wrong with it
        except ValueError as error:
            return "credentials", str(error)
        return None


class GcsStorage(ObjectStore[GcsSettings]):
    """One prefix of one bucket in Google Cloud Storage."""

    backend = "gcs"
    settings_model = GcsSettings

    def __init__(self, name: str, settings: GcsSettings) -> None:
        self._account = settings.account
        super().__init__(name, settings)
        self._signer = self._own_signer()

    def _opened(self) -> GCSStore:
        settings = self.settings
        config: GCSConfig = {"base_url": settings.base_url, "skip_signature": False}
        if self._account is not None:
            config["service_account_key"] = json.dumps(self._account)
        return GCSStore(
            settings.bucket, config=config, client_options=self._client(settings.base_url), retry_config=ONE_TRY
        )

    def _own_signer(self) -> Signer | None:
        """Who signs where the driver cannot: it signs for Google's host alone, whatever host the address has."""
        outside = self.settings.outside
        if self._account is None or outside is None or self.settings.urls != "signed" or is_google(outside):
            return None
        from sayonce.storage.gcs_signing import Signer  # an extra of its own, and few need it

        return Signer(self._account)

    async def _signed(self, key: str, lasting: timedelta) -> str | None:
        if self.settings.outside is None:
            return None
        if self._signer is not None:
            return self._signer.signed(f"{self.settings.outside}/{quote(key)}", lasting)
        # The driver signs a path as it is given; Google takes it as it is escaped.
        return await sign_async(cast(GCSStore, self._store), "GET", quote(key), lasting)

    async def lifecycle(self) -> Sequence[LifecycleRule] | None:
        return await self._try(self._rules().read)

    async def set_lifecycle(self, rules: Sequence[LifecycleRule]) -> None:
        those = self._rules()
        await self._try(lambda: those.replace(rules))

    def _rules(self) -> BucketRules:
        from sayonce.storage.gcs_lifecycle import BucketRules  # an extra of its own, and few need it

        settings = self.settings
        return BucketRules(settings.base_url, settings.bucket, settings.prefix, self._account, settings.timeout)


def is_google(address: str) -> bool:
    """Whether an address is Google's own."""
    return address.startswith(f"{_GOOGLE}/")
