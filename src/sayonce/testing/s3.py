"""Stands before a server of S3 that believes everybody, as moto is, and checks what Amazon's would.

Signatures are computed anew by botocore, from what came over the wire; ages, keys, the region, the body's digest and
the metadata's size are checked as Amazon's documents say (2026-11), with its codes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

import httpx
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_METADATA, _MOST = "x-amz-meta-", 2_048
_CLOCKS_APART = timedelta(minutes=15)
_HOPS = {"connection", "transfer-encoding", "content-length", "server", "date"}


class _Wrong(Exception):
    """A status, and a code of S3's."""


@dataclass
class S3Front:
    """`behind` is the other server's base URL. Its own paths begin with `path`, as Supabase's do. `keys` are those it
    knows, each with its secret; with a `token`, they are lent, and good with it alone."""

    behind: str
    keys: Mapping[str, str]
    region: str = "us-east-1"
    token: str | None = None
    path: str = ""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _http: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        self._http = httpx.AsyncClient(timeout=60, trust_env=False)

    async def aclose(self) -> None:
        """Lets go of the server behind it."""
        await self._http.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        try:
            answer = await self._checked(request, body)
        except _Wrong as wrong:
            status, code = wrong.args
            answer = Response(
                f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>", status, media_type="application/xml"
            )
        await answer(scope, receive, send)

    async def _checked(self, request: Request, body: bytes) -> Response:
        signature = _Signature.of(request)
        self._refuse_strangers(signature, request)
        if signature.computed(request, self.keys[signature.key], self.token) != signature.given:
            raise _Wrong(403, "SignatureDoesNotMatch")
        digest = request.headers.get("x-amz-content-sha256")
        if digest not in (None, "UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()):
            raise _Wrong(400, "XAmzContentSHA256Mismatch")
        told = [(name, value) for name, value in request.headers.items() if name.startswith(_METADATA)]
        if sum(len(name) - len(_METADATA) + len(value) for name, value in told) > _MOST:
            raise _Wrong(400, "MetadataTooLarge")
        return await self._forwarded(request, body)

    def _refuse_strangers(self, signature: _Signature, request: Request) -> None:
        if signature.key not in self.keys:
            raise _Wrong(403, "InvalidAccessKeyId")
        if signature.region != self.region:
            raise _Wrong(400, "AuthorizationHeaderMalformed")
        given = request.query_params.get("X-Amz-Security-Token", request.headers.get("x-amz-security-token"))
        if given != self.token:
            raise _Wrong(400, "InvalidToken")
        age = self.now() - signature.made
        if signature.lasting is None and abs(age) > _CLOCKS_APART:
            raise _Wrong(403, "RequestTimeTooSkewed")
        if signature.lasting is not None and age > signature.lasting:
            raise _Wrong(403, "AccessDenied")

    async def _forwarded(self, request: Request, body: bytes) -> Response:
        path = request.scope["raw_path"].decode().removeprefix(self.path)
        query = request.scope["query_string"].decode()
        # What was signed is of no interest behind, and of a host that is another's.
        headers = {name: value for name, value in request.headers.items() if name not in {*_HOPS, "host"}}
        url = httpx.URL(self.behind).copy_with(raw_path=f"{path}?{query}".rstrip("?").encode())
        answer = await self._http.request(request.method, url, content=body, headers=headers)
        found = Response(answer.content, answer.status_code)
        if request.method == "HEAD":
            found.headers["content-length"] = answer.headers.get("content-length", "0")
        for name, value in answer.headers.items():
            if name not in _HOPS and name != "content-encoding":
                found.headers[name] = value
        return found


@dataclass(frozen=True)
class _Signature:
    """What a request says of who it is from. `lasting` is how long an address is good; None where the request itself
    is signed."""

    key: str
    region: str
    made: datetime
    signed: frozenset[str]
    given: str
    lasting: timedelta | None

    @classmethod
    def of(cls, request: Request) -> _Signature:
        lasting: timedelta | None
        query, header = request.query_params, request.headers.get("authorization", "")
        if "X-Amz-Signature" in query:
            told = {name.removeprefix("X-Amz-"): value for name, value in query.items()}
            made, lasting = told["Date"], timedelta(seconds=int(told["Expires"]))
        elif header.startswith("AWS4-HMAC-SHA256 "):
            told = dict(part.strip().split("=", 1) for part in header.removeprefix("AWS4-HMAC-SHA256 ").split(","))
            made, lasting = request.headers["x-amz-date"], None
        else:
            raise _Wrong(403, "AccessDenied")
        signed = frozenset(told["SignedHeaders"].split(";"))
        return cls(*_scoped(told["Credential"]), _time(made), signed, told["Signature"], lasting)

    def computed(self, request: Request, secret: str, token: str | None) -> str:
        """The signature that it should bear."""
        headers = {name: value for name, value in request.headers.items() if name in self.signed}
        query = "&".join(
            pair
            for pair in request.scope["query_string"].decode().split("&")
            if not pair.startswith("X-Amz-Signature=")
        )
        url = f"{request.url.scheme}://{request.headers['host']}{request.scope['raw_path'].decode()}?{query}"
        anew = AWSRequest(request.method, url, headers)
        anew.context["timestamp"] = f"{self.made:%Y%m%dT%H%M%SZ}"
        kind = S3SigV4Auth if self.lasting is None else S3SigV4QueryAuth
        signer = kind(Credentials(self.key, secret, token), "s3", self.region)
        signature: str = signer.signature(signer.string_to_sign(anew, signer.canonical_request(anew)), anew)
        return signature


def _scoped(credential: str) -> tuple[str, str]:
    """The key and the region."""
    key, _, region, _, _ = unquote(credential).split("/")
    return key, region


def _time(told: str) -> datetime:
    return datetime.strptime(told, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
