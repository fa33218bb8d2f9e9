"""The lifecycle rules of a bucket in Google Cloud Storage, which obstore knows nothing of: its JSON API.

Rules have no names there. Ours are those whose condition is an age and our prefix, and nothing else; without a
prefix, those whose condition is an age alone. All others are put back as they were read, and whoever else changes
them at the same moment is noticed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from sayonce.errors import MissingExtra
from sayonce.storage.contract import LifecycleRule
from sayonce.storage.object_errors import Refused

try:
    from google.auth import transport
    from google.auth.exceptions import GoogleAuthError
    from google.oauth2.service_account import Credentials
except ImportError as error:
    raise MissingExtra("Lifecycle rules", extra="lifecycle") from error

_SCOPE = "https://www.googleapis.com/auth/devstorage.full_control"
_TOKENS = "https://oauth2.googleapis.com/token"
_OWN_TOKEN = "computeMetadata/v1/instance/service-accounts/default/token"


@dataclass(frozen=True)
class BucketRules:
    """The rules of `bucket` at `base_url` for what begins with `prefix`. Without an `account` (what its file tells),
    it is the machine's own. `timeout` is in seconds."""

    base_url: str
    bucket: str
    prefix: str
    account: Mapping[str, Any] | None = field(repr=False)
    timeout: float

    async def read(self) -> list[LifecycleRule]:
        """Those that are ours, fewest days first."""
        async with await self._client() as http:
            rules, _ = await self._all(http)
        found = [_understood(rule) for rule in rules if self._is_ours(rule)]
        return sorted(found, key=lambda rule: rule.days)

    async def replace(self, rules: Sequence[LifecycleRule]) -> None:
        """Puts these in place of ours."""
        async with await self._client() as http:
            everything, generation = await self._all(http)
            kept = [rule for rule in everything if not self._is_ours(rule)]
            await self._asked(
                http,
                "PATCH",
                params={"ifMetagenerationMatch": generation},
                json={"lifecycle": {"rule": [*kept, *map(self._written, rules)]}},
            )

    async def _all(self, http: httpx.AsyncClient) -> tuple[list[dict[str, Any]], str]:
        """All rules of the bucket, and the state of it that they are of."""
        answer = await self._asked(http, "GET", params={"fields": "lifecycle,metageneration"})
        try:
            told = answer.json()
            return told.get("lifecycle", {}).get("rule", []), str(told["metageneration"])
        except (ValueError, LookupError, AttributeError) as error:
            raise Refused(404, "no bucket's") from error

    def _is_ours(self, rule: Mapping[str, Any]) -> bool:
        condition, action = rule.get("condition", {}), rule.get("action", {})
        ours = self._condition(condition.get("age", 0))
        return condition == ours and action.get("type") in ("Delete", "SetStorageClass")

    def _condition(self, days: int) -> dict[str, Any]:
        return {"age": days, "matchesPrefix": [self.prefix]} if self.prefix else {"age": days}

    def _written(self, rule: LifecycleRule) -> dict[str, Any]:
        action = {"type": "Delete"} if rule.to is None else {"type": "SetStorageClass", "storageClass": rule.to}
        return {"action": action, "condition": self._condition(rule.days)}

    async def _asked(self, http: httpx.AsyncClient, method: str, **how: Any) -> httpx.Response:
        answer = await http.request(method, f"/storage/v1/b/{quote(self.bucket, safe='')}", **how)
        if answer.status_code == 404:
            raise Refused(404, "<Code>NoSuchBucket</Code>")
        if not answer.is_success:
            raise Refused(answer.status_code, answer.text)
        return answer

    async def _client(self) -> httpx.AsyncClient:
        return await asyncio.to_thread(self._opened)  # it waits for a token, and reads certificates

    def _opened(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.base_url,
            headers={"authorization": f"Bearer {self._token()}"},
            timeout=self.timeout,
            trust_env=False,
        )

    def _token(self) -> str:
        """A token of the account's, from where tokens are made."""
        with httpx.Client(timeout=self.timeout, trust_env=False) as http:
            try:
                return _own_token(http) if self.account is None else _exchanged(http, self.account)
            except (GoogleAuthError, ValueError, LookupError, TypeError) as error:
                raise Refused(404, "no token") from error


def _exchanged(http: httpx.Client, account: Mapping[str, Any]) -> str:
    told = {"token_uri": _TOKENS} | {**account}
    credentials = Credentials.from_service_account_info(told, scopes=[_SCOPE])  # type: ignore[no-untyped-call]
    credentials.refresh(_Transport(http))
    return str(credentials.token)


def _own_token(http: httpx.Client) -> str:
    """The machine's own. (Google's driver would need a second HTTP client for it.)"""
    host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
    try:
        answer = http.get(f"http://{host}/{_OWN_TOKEN}", headers={"metadata-flavor": "Google"})
    except httpx.TransportError as error:
        raise Refused(401, "<Code>NoRole</Code>") from error
    if not answer.is_success:
        raise Refused(answer.status_code, "<Code>NoRole</Code>" if answer.is_client_error else "")
    return str(answer.json()["access_token"])


class _Transport(transport.Request):
    """How Google's driver asks for tokens: through our client. An error leaves it at once, and so the driver does not
    try again by itself."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def __call__(
        self, url: str, method: str = "GET", body: Any = None, headers: Any = None, timeout: Any = None, **how: Any
    ) -> _Answer:
        answer = self._http.request(method, url, content=body, headers=headers)
        if not answer.is_success:
            raise Refused(answer.status_code, answer.text)
        return _Answer(answer.status_code, answer.headers, answer.content)


@dataclass(frozen=True)
class _Answer:
    """What Google's driver wants to know of an answer."""

    status: int
    headers: Mapping[str, str]
    data: bytes


def _understood(rule: Mapping[str, Any]) -> LifecycleRule:
    return LifecycleRule(rule["condition"]["age"], rule["action"].get("storageClass"))
