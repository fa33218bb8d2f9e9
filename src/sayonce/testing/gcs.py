"""A small Google Cloud Storage: one bucket, and as much of the XML and JSON APIs as obstore and we ask for.

What is asked was seen from obstore 0.12 and google-auth 2.62; what is answered, its codes, and how signed addresses
are made are known from Google's documents alone (2026-11). Every credential is verified: the tokens that obstore
signs for itself with the account's key, those that are exchanged at `token_uri`, the machine's own, and signed
addresses.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import parse_qs, quote, unquote
from xml.sax.saxutils import escape

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

EMAIL = "speech@made-up.iam.gserviceaccount.com"
_METADATA, _MOST = "x-goog-meta-", 8_192
_KEPT = ("content-type", "cache-control")


@cache
def private_key() -> rsa.RSAPrivateKey:
    """The made-up account's key, made once a process."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


def account(url: str) -> dict[str, str]:
    """What the account's file tells; tokens are made at `url`."""
    key = private_key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": "made-up",
        "private_key_id": "the-only-one",
        "private_key": key.decode(),
        "client_email": EMAIL,
        "client_id": "1",
        "token_uri": f"{url}/token",
    }


class _Wrong(Exception):
    """A status, and a code of the XML API's."""


@dataclass
class _Object:
    data: bytes
    headers: dict[str, str]
    modified: datetime


@dataclass
class FakeGcs:
    """`lifecycle` is the bucket's, as its owner wrote it; `page` objects are listed at a time."""

    bucket: str
    page: int = 1_000
    lifecycle: dict[str, Any] = field(default_factory=dict)
    metageneration: int = 1
    exchanges: int = 0
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    objects: dict[str, _Object] = field(default_factory=dict)
    _tokens: set[str] = field(default_factory=set)

    def fill(self, keys: Sequence[str]) -> None:
        """Puts an empty object at each key."""
        self.objects |= {key: _Object(b"", {}, datetime.now(UTC)) for key in keys}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            await request.body()
        except ClientDisconnect:
            return
        try:
            answer = await self._called(request)
        except _Wrong as wrong:
            status, code = wrong.args
            text = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code></Error>"
            answer = Response(text, status, media_type="application/xml")
        await answer(scope, receive, send)

    async def _called(self, request: Request) -> Response:
        first, _, rest = request.scope["raw_path"].decode().removeprefix("/").partition("/")
        match first:
            case "token":
                return await self._exchanged(request)
            case "computeMetadata":
                return self._own_token(request, rest)
            case "storage":
                return await self._in_json(request, unquote(rest))
        self._refuse_strangers(request)
        if unquote(first) != self.bucket:
            raise _Wrong(404, "NoSuchBucket")
        return self._listed(request) if not rest else await self._of_object(request, unquote(rest))

    # ── who it is ────────────────────────────────────────────────────────────────────────────────

    def _refuse_strangers(self, request: Request) -> None:
        if "X-Goog-Signature" in request.query_params:
            self._refuse_unsigned(request)
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer":
            raise _Wrong(401, "AuthenticationRequired")
        if token not in self._tokens:
            claims = _claims(token)
            if claims.get("iss") != EMAIL or claims.get("sub") != EMAIL or "auth/" not in claims.get("scope", ""):
                raise _Wrong(401, "AuthenticationRequired")

    def _refuse_unsigned(self, request: Request) -> None:
        told = dict(request.query_params)
        signature = bytes.fromhex(told.pop("X-Goog-Signature"))
        made, scope = told["X-Goog-Date"], told["X-Goog-Credential"].partition("/")[2]
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in sorted(told.items()))
        path = quote(unquote(request.scope["raw_path"].decode()), safe="/")
        canonical = f"GET\n{path}\n{query}\nhost:{request.headers['host']}\n\nhost\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        if not _is_signed(f"GOOG4-RSA-SHA256\n{made}\n{scope}\n{digest}".encode(), signature):
            raise _Wrong(403, "SignatureDoesNotMatch")
        age = self.now() - datetime.strptime(made, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if age.total_seconds() > int(told["X-Goog-Expires"]):
            raise _Wrong(400, "ExpiredToken")

    async def _exchanged(self, request: Request) -> Response:
        told = parse_qs((await request.body()).decode())
        try:
            claims = _claims(told["assertion"][0])
        except _Wrong:
            return JSONResponse({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, 400)
        assert claims["aud"] == "https://oauth2.googleapis.com/token"  # google-auth says so wherever it asks
        assert told["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        self.exchanges += 1
        return self._token()

    def _own_token(self, request: Request, path: str) -> Response:
        assert request.headers["metadata-flavor"] == "Google"
        assert path == "v1/instance/service-accounts/default/token"
        return self._token()

    def _token(self) -> Response:
        token = secrets.token_urlsafe()
        self._tokens.add(token)
        return JSONResponse({"access_token": token, "expires_in": 3_600, "token_type": "Bearer"})

    # ── objects, in XML ──────────────────────────────────────────────────────────────────────────

    async def _of_object(self, request: Request, key: str) -> Response:
        if request.method == "PUT":
            return await self._put(request, key)
        found = self.objects.get(key)
        if found is None:
            raise _Wrong(404, "NoSuchKey")
        if request.method == "DELETE":
            del self.objects[key]
            return Response(status_code=204)
        headers = {**found.headers, "etag": _etag(found.data), "x-goog-generation": "1"}
        headers["last-modified"] = f"{found.modified:%a, %d %b %Y %H:%M:%S GMT}"
        return Response(found.data, headers=headers)

    async def _put(self, request: Request, key: str) -> Response:
        told = {name: value for name, value in request.headers.items() if name.startswith(_METADATA)}
        if sum(len(name) - len(_METADATA) + len(value) for name, value in told.items()) > _MOST:
            raise _Wrong(400, "MetadataTooLarge")
        kept = told | {name: request.headers[name] for name in _KEPT if name in request.headers}
        data = await request.body()
        self.objects[key] = _Object(data, kept, datetime.now(UTC))
        return Response(headers={"etag": _etag(data), "x-goog-generation": "1"})

    def _listed(self, request: Request) -> Response:
        query = request.query_params
        assert query["list-type"] == "2"
        after = max(query.get("start-after", ""), query.get("continuation-token", ""))
        keys = sorted(key for key in self.objects if key.startswith(query.get("prefix", "")) and key > after)
        page, more = keys[: self.page], len(keys) > self.page
        told = "".join(
            f"<Contents><Key>{escape(key)}</Key><Generation>1</Generation><MetaGeneration>1</MetaGeneration>"
            f"<LastModified>{found.modified:%Y-%m-%dT%H:%M:%S.%fZ}</LastModified>"
            f"<ETag>{_etag(found.data)}</ETag><Size>{len(found.data)}</Size></Contents>"
            for key, found in ((key, self.objects[key]) for key in page)
        )
        following = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        return Response(
            "<?xml version='1.0' encoding='UTF-8'?>"
            "<ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{following}{told}</ListBucketResult>",
            media_type="application/xml",
        )

    # ── the bucket, in JSON ──────────────────────────────────────────────────────────────────────

    async def _in_json(self, request: Request, path: str) -> Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self._tokens:
            return JSONResponse({"error": {"code": 401, "message": "Invalid Credentials"}}, 401)
        if path != f"v1/b/{self.bucket}":
            return JSONResponse({"error": {"code": 404, "message": "The specified bucket does not exist."}}, 404)
        if request.method == "PATCH":
            if request.query_params.get("ifMetagenerationMatch", str(self.metageneration)) != str(
                self.metageneration
            ):
                return JSONResponse({"error": {"code": 412, "message": "Precondition Failed"}}, 412)
            self.lifecycle = (await request.json())["lifecycle"]
            self.metageneration += 1
        return JSONResponse({"metageneration": str(self.metageneration), "lifecycle": self.lifecycle})


def _claims(token: str) -> Mapping[str, Any]:
    """What a token says, if the account signed it and it is good now."""
    try:
        head, claims, signature = (_decoded(part) for part in token.split("."))
    except ValueError as error:
        raise _Wrong(401, "AuthenticationRequired") from error
    signed = token.rpartition(".")[0].encode()
    if json.loads(head)["alg"] != "RS256" or not _is_signed(signed, signature):
        raise _Wrong(401, "AuthenticationRequired")
    told: dict[str, Any] = json.loads(claims)
    if not told["iat"] - 10 <= time.time() < told["exp"] <= told["iat"] + 3_600:
        raise _Wrong(401, "AuthenticationRequired")
    return told


def _is_signed(message: bytes, signature: bytes) -> bool:
    try:
        private_key().public_key().verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
