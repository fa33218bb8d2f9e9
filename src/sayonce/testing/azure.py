"""A small Azure Blob Storage: one container, and as much of its REST API as obstore asks for.

What is asked and answered was seen between obstore 0.12 and Azurite 3.37, Microsoft's own emulator, on which the
storages' contract was tested once. Requests that the account's key signed, and addresses signed for a while, are
verified.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from urllib.parse import unquote
from xml.sax.saxutils import escape

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

ACCOUNT, KEY = "speech", base64.b64encode(b"the key of a made-up account").decode()
_METADATA, _MOST = "x-ms-meta-", 8_192
# What of a request is signed beside its own headers, in order; some of it is never sent.
_SIGNED = (
    *("content-encoding", "content-language", "content-length", "content-md5", "content-type", "date"),
    *("if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"),
)


class _Wrong(Exception):
    """A status, and a code of Azure's."""


@dataclass
class _Blob:
    data: bytes
    headers: dict[str, str]
    modified: datetime


@dataclass
class FakeAzure:
    """Its paths begin with the account, as those of the emulator do; `page` blobs are listed at a time."""

    container: str
    page: int = 5_000
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    blobs: dict[str, _Blob] = field(default_factory=dict)

    def fill(self, keys: Sequence[str]) -> None:
        """Puts an empty blob at each key."""
        self.blobs |= {key: _Blob(b"", {}, datetime.now(UTC)) for key in keys}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        try:
            answer = self._called(request, body)
        except _Wrong as wrong:
            status, code = wrong.args
            answer = Response(f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>", status)
        await answer(scope, receive, send)

    def _called(self, request: Request, body: bytes) -> Response:
        path, query = request.scope["raw_path"].decode(), dict(request.query_params)
        if "sig" in query:
            self._refuse_unsigned(unquote(path), query)
        else:
            _refuse_strangers(request.method, path, query, request.headers)
        account, container, key = unquote(path).removeprefix("/").split("/", 2) + [""] * (2 - path.count("/", 1))
        if (account, container) != (ACCOUNT, self.container):
            raise _Wrong(404, "ContainerNotFound")
        match query.get("comp"):
            case "list":
                return self._listed(query)
            case "batch":
                return self._batch(request.headers["content-type"].partition("boundary=")[2], body)
        return self._put(key, body, request.headers) if request.method == "PUT" else self._got(key)

    def _refuse_unsigned(self, path: str, query: Mapping[str, str]) -> None:
        told = [
            query["sp"],
            query["st"],
            query["se"],
            f"/blob{path}",
            "",
            "",
            "",
            query["sv"],
            query["sr"],
            *[""] * 7,
        ]
        if query["sig"] != _signature("\n".join(told)):
            raise _Wrong(403, "AuthenticationFailed")
        if self.now() > datetime.fromisoformat(query["se"]):
            raise _Wrong(403, "AuthenticationFailed")

    def _put(self, key: str, data: bytes, headers: Mapping[str, str]) -> Response:
        kept = {name: value for name, value in headers.items() if name.startswith(_METADATA)}
        if sum(len(name) - len(_METADATA) + len(value) for name, value in kept.items()) > _MOST:
            raise _Wrong(400, "MetadataTooLarge")
        for name in ("content-type", "cache-control"):
            kept[name] = headers.get(f"x-ms-blob-{name}", "")
        assert headers["x-ms-blob-type"] == "BlockBlob"
        made = datetime.now(UTC)
        self.blobs[key] = _Blob(data, kept, made)
        return Response(
            status_code=201, headers={"etag": _etag(data), "last-modified": format_datetime(made, usegmt=True)}
        )

    def _got(self, key: str) -> Response:
        found = self.blobs.get(key)
        if found is None:
            raise _Wrong(404, "BlobNotFound")
        told = {"etag": _etag(found.data), "last-modified": format_datetime(found.modified, usegmt=True)}
        return Response(found.data, headers=found.headers | told)

    def _listed(self, query: Mapping[str, str]) -> Response:
        beginning = max(query.get("marker", ""), query.get("startFrom", ""))
        keys = sorted(key for key in self.blobs if key.startswith(query.get("prefix", "")) and key >= beginning)
        told = "".join(
            f"<Blob><Name>{escape(key)}</Name><Properties>"
            f"<Last-Modified>{format_datetime(blob.modified, usegmt=True)}</Last-Modified>"
            f"<Etag>{_etag(blob.data)}</Etag><Content-Length>{len(blob.data)}</Content-Length>"
            "<Content-Type>x</Content-Type><BlobType>BlockBlob</BlobType></Properties></Blob>"
            for key, blob in ((key, self.blobs[key]) for key in keys[: self.page])
        )
        following = escape(keys[self.page]) if len(keys) > self.page else ""
        return Response(
            f"<?xml version='1.0' encoding='UTF-8'?><EnumerationResults><Blobs>{told}</Blobs>"
            f"<NextMarker>{following}</NextMarker></EnumerationResults>",
            media_type="application/xml",
        )

    def _batch(self, boundary: str, body: bytes) -> Response:
        parts = body.decode().split(f"--{boundary}")[1:-1]
        told = "".join(
            f"--{boundary}\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\n"
            f"HTTP/1.1 {self._deleted(part)}\r\nx-ms-version: 2023-11-03\r\n\r\n"
            for number, part in enumerate(parts)
        )
        return Response(f"{told}--{boundary}--\r\n", 202, media_type=f"multipart/mixed; boundary={boundary}")

    def _deleted(self, part: str) -> str:
        first, *lines = part.partition("\r\n\r\n")[2].strip().split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        _refuse_strangers(method, path, {}, headers)
        found = self.blobs.pop(unquote(path).split("/", 3)[3], None)
        return "202 Accepted" if found else "404 The specified blob does not exist."


def _refuse_strangers(method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> None:
    told = {**headers, "content-length": headers.get("content-length", "").removeprefix("0")}
    own = "".join(f"{name}:{told[name]}\n" for name in sorted(told) if name.startswith("x-ms-"))
    asked = "".join(f"\n{name.lower()}:{query[name]}" for name in sorted(query))
    signed = "\n".join([method, *(told.get(name, "") for name in _SIGNED), f"{own}/{ACCOUNT}{path}{asked}"])
    if told.get("authorization") != f"SharedKey {ACCOUNT}:{_signature(signed)}":
        raise _Wrong(403, "AuthenticationFailed")
    if abs((datetime.now(UTC) - parsedate_to_datetime(told["date"])).total_seconds()) > 900:
        raise _Wrong(403, "AuthenticationFailed")


def _signature(signed: str) -> str:
    return base64.b64encode(hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256).digest()).decode()


def _etag(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:16]}"'
