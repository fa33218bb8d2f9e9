"""Blobs in S3: Amazon's, MinIO's, Cloudflare's R2, Supabase's and Google's S3 endpoints (obstore 0.12, 2026-11)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator

from sayonce.errors import MissingExtra
from sayonce.storage.contract import LifecycleRule

try:
    from obstore import sign_async
    from obstore.store import S3Store
except ImportError as error:
    raise MissingExtra("A storage in S3", extra="s3") from error

from sayonce.storage.object_store import ONE_TRY, ObjectSettings, ObjectStore, http_url

if TYPE_CHECKING:
    from obstore.store import S3Credential

    from sayonce.storage.s3_lifecycle import BucketRules

_R2 = "r2.cloudflarestorage.com"
_GOOGLE = "storage.googleapis.com"


class S3Settings(ObjectSettings):
    """Without `endpoint_url` it is Amazon's. `credentials = "metadata"` takes the machine's own role in place of
    keys: that of an instance, a container or a Kubernetes service account."""

    scheme: ClassVar[str] = "s3"

    endpoint_url: str | None = None
    access_key_id: str | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    region: str | None = None
    credentials: Literal["metadata"] | None = None

    @field_validator("endpoint_url")
    @classmethod
    def _is_http(cls, url: str | None) -> str | None:
        return None if url is None else http_url(url)

    @field_validator("access_key_id", "secret_access_key", "session_token", mode="before")
    @classmethod
    def _can_be_sent(cls, key: Any) -> Any:
        """Without the line's end that a file leaves. The driver would fail at what a header cannot carry."""
        plain = key.get_secret_value() if isinstance(key, SecretStr) else key
        if not isinstance(plain, str):
            return key
        if not (plain.strip().isascii() and plain.strip().isprintable()):
            raise ValueError("must be of printable ASCII characters")
        return plain.strip()

    @property
    def signing_region(self) -> str:
        """The region that requests are signed for."""
        host = urlsplit(self.endpoint_url or "").hostname or ""
        return self.region or ("auto" if host.endswith((_R2, _GOOGLE)) else "us-east-1")

    @property
    def address(self) -> str:
        """The bucket as a host of its own at Amazon's, as a path elsewhere; an endpoint that names it already stays
        as it is."""
        if self.endpoint_url is not None:
            host, path = urlsplit(self.endpoint_url)[1:3]
            named = host.startswith(f"{self.bucket}.") or (host.endswith(_R2) and path == f"/{self.bucket}")
            return self.endpoint_url if named else f"{self.endpoint_url}/{self.bucket}"
        host = f"s3.{self.signing_region}.amazonaws.com" + (".cn" if self.signing_region.startswith("cn-") else "")
        # The certificate is for one label before that.
        return f"https://{host}/{self.bucket}" if "." in self.bucket else f"https://{self.bucket}.{host}"

    def amiss(self) -> tuple[str, str] | None:
        if self.credentials is not None:
            return ("credentials", "goes without keys") if self.access_key_id else None
        if not self.access_key_id:
            role = 'or credentials = "metadata" for the machine\'s own role'
            return "access_key_id", f"is missing: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, {role}"
        return None if self.secret_access_key else ("secret_access_key", "is missing: set AWS_SECRET_ACCESS_KEY")


class S3Storage(ObjectStore[S3Settings]):
    """One prefix of one bucket in S3."""

    backend = "s3"
    settings_model = S3Settings

    def _opened(self) -> S3Store:
        return self._reached_at(self.settings.address)

    def _reached_at(self, address: str) -> S3Store:
        settings = self.settings
        return S3Store(
            settings.bucket,
            config={
                # "Virtual-hosted" is the driver's word for an endpoint that is the bucket's own.
                "aws_endpoint_url_s3": address,
                "virtual_hosted_style_request": True,
                "region": settings.signing_region,
                "skip_signature": False,
                # Google's has no such request.
                "disable_bulk_delete": (urlsplit(address).hostname or "").endswith(_GOOGLE),
            },
            client_options=self._client(address),
            retry_config=ONE_TRY,
            credential_provider=None if settings.credentials else self._keys,
        )

    @cached_property
    def _signer(self) -> S3Store:
        """The bucket as others reach it: the host is part of what is signed."""
        return self._reached_at(self.settings.outside or self.settings.address)

    async def _signed(self, key: str, lasting: timedelta) -> str | None:
        if self.settings.outside is None:
            return None
        return await sign_async(self._signer, "GET", key, lasting)

    def _keys(self) -> S3Credential:
        settings = self.settings
        secret, token = settings.secret_access_key, settings.session_token
        return {
            "access_key_id": settings.access_key_id or "",
            "secret_access_key": secret.get_secret_value() if secret else "",
            "token": token.get_secret_value() if token else None,
            "expires_at": None,
        }

    async def _remove(self, keys: Sequence[str]) -> None:
        await self._remove_at_once(keys)

    async def lifecycle(self) -> Sequence[LifecycleRule] | None:
        rules = self._rules()
        return await self._try(rules.read)

    async def set_lifecycle(self, rules: Sequence[LifecycleRule]) -> None:
        those = self._rules()
        if not await self._try(lambda: those.replace(rules)):
            await super().set_lifecycle(rules)

    def _rules(self) -> BucketRules:
        from sayonce.storage.s3_lifecycle import BucketRules  # an extra of its own, and few need it

        settings, keys = self.settings, self._keys()
        given = (
            None if settings.credentials else (keys["access_key_id"], keys["secret_access_key"], keys.get("token"))
        )
        reach = self.reach
        return BucketRules(settings.address, reach.prefix, settings.signing_region, given, reach.timeout)
