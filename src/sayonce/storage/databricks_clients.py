"""Which volume of which workspace, and the SDK's clients for it: one of the service, and one each of the callers who
forward credentials of their own."""

from __future__ import annotations

import hashlib
import logging
import re
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from sayonce.errors import MissingExtra
from sayonce.storage.remote import prefix_of

try:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.clock import Clock
    from databricks.sdk.config import Config, ConfigAttribute
    from databricks.sdk.credentials_provider import CredentialsProvider, DefaultCredentials
except ImportError as error:
    raise MissingExtra("The storage 'databricks'", extra="databricks") from error

# How many callers' clients are kept; each has connections of its own.
_MOST_CALLERS = 64
# Uploads from here on would go in parts; a file may have so many bytes in one.
_MOST_AT_ONCE = 5 * 1024**3
# At DEBUG the one tells what is sent and answered, the other the signed addresses.
_TALKATIVE = {"databricks.sdk": logging.WARNING, "urllib3.connectionpool": logging.INFO}
_VOLUME = re.compile(r"(/Volumes(?:/[^/.\s\x00-\x1f\x7f]+){3})(/.*)?")
#: What a volume looks like.
LIKE = "/Volumes/catalog/schema/volume"


class DatabricksSettings(BaseModel):
    """A storage's table. Its volume is the URL's (`databricks:///Volumes/…`), or else `volume`, with a prefix behind
    it. Where the workspace is, and a token for it, may be left to what the SDK itself finds."""

    # An error's own text would show what was given, and so a token.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: str = ""
    volume: str = ""
    host: str | None = None
    token: SecretStr | None = None
    timeout: float = Field(default=10.0, gt=0)  # seconds, of one try

    @field_validator("url")
    @classmethod
    def _names_a_volume_or_none(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.netloc or parts.query or parts.fragment:
            raise ValueError(f"must be databricks://{LIKE}, with three slashes")
        return url if parts.path.strip("/") and _split(unquote(parts.path)) else ""

    @field_validator("volume")
    @classmethod
    def _is_a_volume(cls, volume: str) -> str:
        return volume if volume and _split(volume) else ""

    @field_validator("host")
    @classmethod
    def _is_an_address(cls, host: str | None) -> str | None:
        if not host:
            return None
        parts = urlsplit(host if "://" in host else f"https://{host}")
        if parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc:
            raise ValueError("must be the workspace's address, such as https://dbc-1234.cloud.databricks.com")
        return f"{parts.scheme}://{parts.netloc}"

    @field_validator("token")
    @classmethod
    def _can_be_sent(cls, token: SecretStr | None) -> SecretStr | None:
        plain = "" if token is None else token.get_secret_value().strip()
        if plain and not can_be_sent(plain):
            raise ValueError("must be of printable ASCII characters")
        return SecretStr(plain) if plain else None

    @property
    def place(self) -> tuple[str, str]:
        """The volume, and the prefix in it; both empty where none is named."""
        named = unquote(urlsplit(self.url).path) or self.volume
        return _split(named) if named else ("", "")


class NoCredentials(Exception):
    """The service has none; the cause tells why."""


class Clients:
    """Safe in threads. Nobody is asked for anything before a client is. NoCredentials where the service has none,
    TimeoutError where another thread has looked for them for too long."""

    def __init__(self, settings: DatabricksSettings) -> None:
        self._host = settings.host
        self._token = settings.token
        self._timeout = settings.timeout
        self._service: WorkspaceClient | None = None
        self._looking = threading.Lock()
        self._callers: OrderedDict[bytes, WorkspaceClient] = OrderedDict()
        self._changing = threading.Lock()
        for name, level in _TALKATIVE.items():
            logger = logging.getLogger(name)
            logger.setLevel(max(logger.level, level))

    def of(self, token: str | None) -> WorkspaceClient:
        """The client of who has forwarded that token; the service's where nobody has."""
        return self._of_service() if token is None else self._of_caller(token)

    def _of_service(self) -> WorkspaceClient:
        if self._service is None:
            if not self._looking.acquire(timeout=self._timeout):
                raise TimeoutError
            try:
                self._service = self._service or self._looked_for()
            finally:
                self._looking.release()
        return self._service

    def _of_caller(self, token: str) -> WorkspaceClient:
        name = hashlib.sha256(token.encode()).digest()
        with self._changing:
            if name in self._callers:
                self._callers.move_to_end(name)
                return self._callers[name]
        made = self._made(self._config(self._host or self._of_service().config.host, token))
        with self._changing:
            self._callers[name] = made
            if len(self._callers) > _MOST_CALLERS:
                self._callers.popitem(last=False)
        return made

    def _looked_for(self) -> WorkspaceClient:
        try:
            if self._token is not None:
                return self._made(self._config(self._host, self._token.get_secret_value()))
            # Of the SDK's own types, its default strategy is none either.
            found = Config(host=self._host, credentials_strategy=_Unattended(), **self._usual())  # type: ignore[arg-type]
            return self._made(found)
        except Exception as error:
            raise NoCredentials from error

    def _config(self, host: str | None, token: str) -> Config:
        # With the type told, a service principal in the environment is no second way to authenticate.
        return _WithToken(host=host, token=token, auth_type="pat", **self._usual())

    def _usual(self) -> dict[str, Any]:
        # The last is for what the SDK asks before there is a client: one try, and not five minutes of them.
        timeout = self._timeout
        return {"clock": _OneTry(), "http_timeout_seconds": timeout, "retry_timeout_seconds": 1}

    def _made(self, config: Config) -> WorkspaceClient:
        config.files_ext_network_transfer_inactivity_timeout_seconds = self._timeout
        config.files_ext_client_download_max_total_recovers = 0
        config.files_ext_multipart_upload_min_stream_size = _MOST_AT_ONCE
        return WorkspaceClient(config=config)


class _WithToken(Config):
    """Who has a token needs nothing of what the workspace tells about itself."""

    @classmethod
    def attributes(cls) -> Iterable[ConfigAttribute]:
        """The SDK's own: it would look for them in this class."""
        return Config.attributes()

    def _resolve_host_metadata(self) -> None:
        """Asks nobody. Should the SDK call this otherwise one day, that is one request more a client."""


class _Unattended(DefaultCredentials):
    """The SDK's own search for credentials, but for that which asks a person at a browser."""

    def __call__(self, cfg: Config) -> CredentialsProvider:
        if cfg.auth_type == "external-browser":
            raise ValueError("a gateway has nobody at a browser")
        return super().__call__(cfg)


class _OneTry(Clock):
    """What the SDK's loops of tries go by: instead of a pause before the next one, the last one's error."""

    def time(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        failed = sys.exception()
        if failed is not None:
            raise failed


def can_be_sent(token: str) -> bool:
    """Whether a header can carry a token. The driver's own error would tell it."""
    return token != "" and token.isascii() and token.isprintable() and " " not in token


def _split(path: str) -> tuple[str, str]:
    """A volume and the prefix in it; ValueError where that is no path of one."""
    found = _VOLUME.fullmatch(path.rstrip("/"))
    if found is None:
        raise ValueError(f"must be like {LIKE}")
    return found[1], prefix_of(found[2] or "")
