"""The lifecycle rules of a bucket in S3, which obstore knows nothing of: plain requests, signed by botocore.

Ours begin with `sayonce-` and have our prefix as their filter; all others are put back as they were read. S3 replaces
a bucket's rules as a whole: whoever else changes them at the same moment may undo this, or be undone.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import httpx

from sayonce.errors import MissingExtra
from sayonce.storage.contract import LifecycleRule
from sayonce.storage.object_errors import Refused

try:
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
    from botocore.session import Session
except ImportError as error:
    raise MissingExtra("Lifecycle rules", extra="lifecycle") from error

_OURS = "sayonce-"
# The bucket's own word for what is too small to be moved; to put its rules without it would alter everybody's.
_LEAST = "x-amz-transition-default-minimum-object-size"
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


@dataclass(frozen=True)
class BucketRules:
    """The rules of the bucket at `address` for what begins with `prefix`. Without `keys` (id, secret, session token)
    the credentials are those of the machine's own role. `timeout` is in seconds."""

    address: str
    prefix: str
    region: str
    keys: tuple[str, str, str | None] | None = field(repr=False)
    timeout: float

    async def read(self) -> list[LifecycleRule] | None:
        """Those that are ours, fewest days first; None where buckets there have none."""
        told = await self._all()
        if told is None:
            return None
        found = [_understood(rule) for rule in self._ours(told[0]) if rule.findtext("Status") == "Enabled"]
        return sorted((rule for rule in found if rule is not None), key=lambda rule: rule.days)

    async def replace(self, rules: Sequence[LifecycleRule]) -> bool:
        """Puts these in place of ours; False where buckets there have none."""
        told = await self._all()
        if told is None:
            return False
        everything, least = told
        for rule in self._ours(everything):
            everything.remove(rule)
        everything.extend(self._written(rule, number) for number, rule in enumerate(rules))
        if len(everything):
            await self._asked("PUT", ElementTree.tostring(everything), {_LEAST: least} if least else {})
        else:
            await self._asked("DELETE")
        return True

    async def _all(self) -> tuple[Element, str | None] | None:
        """All rules of the bucket, and from which size on objects are moved."""
        try:
            answer = await self._asked("GET")
        except Refused as error:
            if "NoSuchLifecycleConfiguration" in str(error):
                return Element("LifecycleConfiguration", xmlns=_NAMESPACE), None
            if "NotImplemented" in str(error):
                return None
            raise
        return _parsed(answer.content), answer.headers.get(_LEAST)

    def _ours(self, everything: Element) -> list[Element]:
        return [
            rule
            for rule in everything.findall("Rule")
            if (rule.findtext("ID") or "").startswith(_OURS) and (rule.findtext("Filter/Prefix") or "") == self.prefix
        ]

    def _written(self, rule: LifecycleRule, number: int) -> Element:
        written = Element("Rule")
        # No two rules of a bucket have one id.
        SubElement(written, "ID").text = f"{_OURS}{hashlib.sha256(self.prefix.encode()).hexdigest()[:16]}-{number}"
        SubElement(SubElement(written, "Filter"), "Prefix").text = self.prefix
        SubElement(written, "Status").text = "Enabled"
        action = SubElement(written, "Expiration" if rule.to is None else "Transition")
        SubElement(action, "Days").text = str(rule.days)
        if rule.to is not None:
            SubElement(action, "StorageClass").text = rule.to
        return written

    async def _asked(
        self, method: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        url = self.address + ("?lifecycle" if urlsplit(self.address).path else "/?lifecycle")
        signed = AWSRequest(method, url, {**(headers or {})}, body)
        if body:
            digest = hashlib.md5(body, usedforsecurity=False).digest()
            signed.headers["Content-MD5"] = base64.b64encode(digest).decode()
        credentials = await self._credentials()
        S3SigV4Auth(credentials, "s3", self.region).add_auth(signed)
        # It reads certificates, which takes a while.
        async with await asyncio.to_thread(httpx.AsyncClient, timeout=self.timeout, trust_env=False) as http:
            answer = await http.request(method, url, content=body, headers=dict(signed.headers))
        if not answer.is_success:
            raise Refused(answer.status_code, answer.text)
        return answer

    async def _credentials(self) -> Credentials:
        if self.keys is not None:
            return Credentials(*self.keys)
        return await asyncio.to_thread(_own_credentials)  # it waits for an answer


def _own_credentials() -> Credentials:
    """Those of the machine's own role."""
    found = Session().get_credentials()
    if found is None:
        raise Refused(401, "<Code>NoRole</Code>")
    return found.get_frozen_credentials()


def _parsed(raw: bytes) -> Element:
    """The rules, without the namespace that some write and others do not, but for the one that is wanted."""
    try:
        everything = ElementTree.fromstring(raw)
    except ElementTree.ParseError as error:
        raise Refused(404, "no XML") from error
    for part in everything.iter():
        part.tag = part.tag.rpartition("}")[2]
    if everything.tag != "LifecycleConfiguration":
        raise Refused(404, "no rules")
    everything.set("xmlns", _NAMESPACE)
    return everything


def _understood(rule: Element) -> LifecycleRule | None:
    for action, to in (("Expiration", None), ("Transition", rule.findtext("Transition/StorageClass"))):
        days = rule.findtext(f"{action}/Days")
        if days is not None:
            return LifecycleRule(int(days), to)
    return None
