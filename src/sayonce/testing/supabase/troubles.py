"""What the server refuses, and what befalls requests that it would have answered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from sayonce.testing.servers import RESET


class Refusal(NamedTuple):
    """One of the server's errors: its true status, its name, its older name, and what it says."""

    status: int
    code: str
    error: str
    message: str

    def answer(self) -> Response:
        """Whatever is no failure of the server itself is a 400."""
        told = {"statusCode": str(self.status), "error": self.error, "message": self.message, "code": self.code}
        return JSONResponse(told, self.status if self.status >= 500 else 400)


class Refused(Exception):
    """A request is answered so."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


NO_KEY = Refusal(404, "NoSuchKey", "not_found", "Object not found")
NO_BUCKET = Refusal(404, "NoSuchBucket", "Bucket not found", "Bucket not found")
KEY_EXISTS = Refusal(409, "KeyAlreadyExists", "Duplicate", "The resource already exists")
BUCKET_EXISTS = Refusal(409, "BucketAlreadyExists", "Duplicate", "The resource already exists")
BUCKET_FULL = Refusal(409, "InvalidRequest", "InvalidRequest", "The bucket you tried to delete is not empty")
TOO_LARGE = Refusal(413, "EntityTooLarge", "Payload too large", "The object exceeded the maximum allowed size")
POLICY = Refusal(403, "AccessDenied", "Unauthorized", "new row violates row-level security policy")
OTHER_PATH = Refusal(400, "InvalidSignature", "InvalidSignature", "Invalid signature")
TOO_LONG = Refusal(500, "InternalError", "InternalError", "Internal server error")


def invalid_key(key: str) -> Refusal:
    return Refusal(400, "InvalidKey", "InvalidKey", f"Invalid key: {key}")


def invalid_type(kind: str) -> Refusal:
    return Refusal(415, "InvalidMimeType", "invalid_mime_type", f"mime type {kind} is not supported")


def denied(why: str) -> Refusal:
    return Refusal(403, "AccessDenied", "Unauthorized", why)


@dataclass
class Trouble:
    """`error` (as `refused` has it, or a gateway's of that `status`), `html` (in place of an answer), `slow` (by so
    many `seconds`), `never`, `reset`, `cut` (the body ends early) or `wrong` (other bytes). It lasts for `times`
    answers, and concerns only requests of that `operation` and about that `key`, where they are told."""

    kind: str
    operation: str | None = None
    key: str | None = None
    times: int = 1_000_000
    status: int = 500
    seconds: float = 0.0
    refused: Refusal | None = None

    def concerns(self, operation: str, key: str | None) -> bool:
        """Whether it befalls such a request."""
        return self.times > 0 and self.operation in (None, operation) and self.key in (None, key)

    async def before(self, request: Request) -> Response | None:
        """What is answered in place of what was asked for, if anything."""
        await request.body()
        match self.kind:
            case "error" if self.refused is not None:
                return self.refused.answer()
            case "error":
                return JSONResponse({"message": "As it was told to."}, self.status)
            case "html":
                return HTMLResponse("<html><body>Welcome</body></html>")
            case "slow":
                await asyncio.sleep(self.seconds)
            case "reset":
                request.scope["extensions"][RESET]()
                await _gone(request)
            case "never":
                await _gone(request)
        return None

    def after(self, answer: Response) -> None:
        """Spoils an answer."""
        if self.kind == "wrong":
            answer.body = bytes(byte ^ 0xFF for byte in bytes(answer.body))
        if self.kind == "cut":
            answer.body = answer.body[: len(answer.body) // 2]  # its length has been told already


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
