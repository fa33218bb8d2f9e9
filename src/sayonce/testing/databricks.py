"""A workspace of Databricks with Unity Catalog volumes, as far as the Files API goes.

What is sent was read in databricks-sdk 0.156, which works against it. Known from documents and others' bug reports
alone (2026-11): the words of errors, that a volume with nothing in it is not found when its directory is looked at,
that writing needs READ VOLUME, too. Stricter than some of the clouds behind a volume: a file needs its directory, and
a listing is in no order.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from posixpath import dirname
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from sayonce.testing.servers import RESET, resettable

READ, WRITE = "READ VOLUME", "WRITE VOLUME"
BOTH = frozenset((READ, WRITE))
VOLUME = "/Volumes/main/default/audio"
#: What the service's principal has, and gets a token for.
CLIENT_ID, CLIENT_SECRET = "sp-client", "sp-secret"

_FILES, _DIRECTORIES = "/api/2.0/fs/files", "/api/2.0/fs/directories"
_MOST_ENTRIES = 1_000


@dataclass(frozen=True, slots=True)
class Call:
    """A request: whose token came with it (of a signed address: for whom it was made; None for nobody's)."""

    who: str | None
    method: str
    path: str


@dataclass
class Trouble:
    """What becomes of requests whose `METHOD /path` contains `on`, so many `times`, once `after` of them have gone
    well: an error (`status` with the platform's `code`, or with a `text` of that `kind` instead of its JSON), an
    answer that is late by so many `seconds`, comes `never`, or breaks off before it begins (`reset`) or ends (`cut`).
    """

    on: str = ""
    status: int | None = None
    code: str = ""
    text: str | None = None
    kind: str = "text/plain"
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    never: bool = False
    reset: bool = False
    cut: bool = False
    times: int = 1_000_000
    after: int = 0

    def befalls(self, asked: str) -> bool:
        """Whether it is this request's turn."""
        if self.on not in asked or self.times <= 0:
            return False
        self.after -= 1
        self.times -= self.after < 0
        return self.after < 0


@dataclass
class _File:
    data: bytes
    modified: float


@dataclass
class _Refusal(Exception):
    status: int
    code: str
    message: str
    reason: str = ""


class FakeDatabricks:
    """The application. `people` tells whose a token is; `grants` what they may, by volume; `calls` is what came."""

    def __init__(self) -> None:
        self.people: dict[str, str] = {"dapi-service": "service"}
        self.grants: dict[tuple[str, str], frozenset[str]] = {}
        self.volumes: set[str] = set()
        self.files: dict[str, _File] = {}
        self.folders: set[str] = set()
        self.troubles: list[Trouble] = []
        self.calls: list[Call] = []
        self.signing = True  # whether the workspace makes addresses to download from
        self._signed: dict[str, tuple[str, str, float]] = {}
        self.volume()
        self._app = resettable(Starlette(routes=[*self._routes()]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def volume(self, path: str = VOLUME, **grants: Sequence[str]) -> str:
        """Makes a volume. The service may all there; `grants` tell by name who else may what."""
        self.volumes.add(path)
        for who, may in ({"service": tuple(BOTH)} | grants).items():
            self.grants[who, path] = frozenset(may)
        return path

    def befall(self, **how: Any) -> Trouble:
        """One more trouble, until it is over, or `calm`."""
        self.troubles.append(Trouble(**how))
        return self.troubles[-1]

    def calm(self) -> None:
        """No trouble any more, and no calls so far."""
        self.troubles.clear()
        self.calls.clear()

    def called(self, method: str = "", path: str = "", who: str | None = None) -> list[Call]:
        """The calls of that method, whose path holds that, by that person."""
        return [
            call
            for call in self.calls
            if call.method.startswith(method) and path in call.path and who in (None, call.who)
        ]

    # ── the doors ────────────────────────────────────────────────────────────────────────────────

    def _routes(self) -> Iterator[Route]:
        doors: Sequence[tuple[str, str, Callable[[Request, str], Awaitable[Response]]]] = (
            ("PUT", _FILES + "{path:path}", self._upload),
            ("GET", _FILES + "{path:path}", self._download),
            ("DELETE", _FILES + "{path:path}", self._delete),
            ("PUT", _DIRECTORIES + "{path:path}", self._make_folder),
            ("GET", _DIRECTORIES + "{path:path}", self._list),
            ("DELETE", _DIRECTORIES + "{path:path}", self._remove_folder),
            ("POST", "/api/2.0/fs/create-download-url", self._sign),
            ("GET", "/cloud/{name}", self._fetch),
            ("GET", "/.well-known/databricks-config", self._metadata),
            ("GET", "/oidc/.well-known/oauth-authorization-server", self._oidc),
            ("POST", "/oidc/v1/token", self._token),
        )
        for method, path, door in doors:
            yield Route(path, self._door(door), methods=[method])

    def _door(self, door: Callable[[Request, str], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            who = self._who(request)
            self.calls.append(Call(who, request.method, request.url.path))
            trouble = self._trouble(f"{request.method} {request.url.path}")
            try:
                refused = await self._suffer(request, trouble)
                told = refused or await door(request, who or "")
            except _Refusal as refusal:
                told = _error(refusal)
            return _Cut(told) if trouble is not None and trouble.cut else told

        return answer

    def _trouble(self, asked: str) -> Trouble | None:
        return next((trouble for trouble in self.troubles if trouble.befalls(asked)), None)

    async def _suffer(self, request: Request, trouble: Trouble | None) -> Response | None:
        if trouble is None:
            return None
        await asyncio.sleep(trouble.seconds)
        while trouble.never and (await request.receive())["type"] != "http.disconnect":
            pass
        if trouble.reset:
            request.scope["extensions"][RESET]()
        if trouble.status is None:
            return None
        await request.body()
        if trouble.text is not None:
            return Response(trouble.text, trouble.status, trouble.headers, media_type=trouble.kind)
        told = _error(_Refusal(trouble.status, trouble.code, "As it was told to."))
        told.headers.update(trouble.headers)
        return told

    # ── files ────────────────────────────────────────────────────────────────────────────────────

    async def _upload(self, request: Request, who: str) -> Response:
        path = self._place(request.path_params["path"], who, WRITE)
        data = await request.body()
        if path in self.files and request.query_params.get("overwrite") == "false":
            raise _Refusal(409, "ALREADY_EXISTS", "The file being created already exists.")
        if path in self.folders:
            raise _Refusal(409, "ALREADY_EXISTS", "A directory is there.")
        if not self._is_folder(dirname(path)) and dirname(path) not in self.volumes:
            raise _no_folder()
        self.files[path] = _File(data, time.time())
        return Response(status_code=204)

    async def _download(self, request: Request, who: str) -> Response:
        return _content(self._file(self._place(request.path_params["path"], who, READ)))

    async def _delete(self, request: Request, who: str) -> Response:
        path = self._place(request.path_params["path"], who, WRITE)
        self._file(path)
        del self.files[path]
        return Response(status_code=204)

    async def _sign(self, request: Request, who: str) -> Response:
        if not self.signing:
            raise _Refusal(403, "PERMISSION_DENIED", "Not enabled.", "FILES_API_API_IS_NOT_ENABLED")
        path = self._place(request.query_params["path"], who, READ)
        self._file(path)
        assert request.query_params["expire_time"].endswith("Z")
        name = secrets.token_hex(16)
        self._signed[name] = path, who, time.time() + 3_600
        headers = [{"name": "x-cloud-owner", "value": "databricks"}]
        return JSONResponse({"url": f"{request.base_url}cloud/{name}", "headers": headers})

    async def _fetch(self, request: Request, who: str) -> Response:
        signed = self._signed.get(request.path_params["name"])
        if signed is None or request.headers.get("x-cloud-owner") != "databricks":
            return Response("<Error><Code>AccessDenied</Code></Error>", 403, media_type="application/xml")
        if "authorization" in request.headers:
            return Response("<Error><Code>InvalidArgument</Code></Error>", 400, media_type="application/xml")
        found = self.files.get(signed[0])
        return Response(status_code=404) if found is None else _content(found)

    # ── directories ──────────────────────────────────────────────────────────────────────────────

    async def _make_folder(self, request: Request, who: str) -> Response:
        path = self._place(request.path_params["path"], who, WRITE)
        above = [folder for folder in _above(path) if folder.startswith(self._volume_of(path))]
        if any(folder in self.files for folder in above):
            raise _Refusal(409, "ALREADY_EXISTS", "A file is there.")
        self.folders.update(above)
        return Response(status_code=204)

    async def _list(self, request: Request, who: str) -> Response:
        path = self._place(request.path_params["path"], who, READ)
        if not self._is_folder(path):
            raise _no_folder()
        if request.method == "HEAD":
            return Response()
        begin = int(request.query_params.get("page_token", 0))
        end = begin + min(int(request.query_params.get("page_size", _MOST_ENTRIES)), _MOST_ENTRIES)
        found = [*self._entries(path)]
        told: dict[str, Any] = {"contents": found[begin:end]} if found[begin:end] else {}
        return JSONResponse(told | ({"next_page_token": str(end)} if end < len(found) else {}))

    async def _remove_folder(self, request: Request, who: str) -> Response:
        path = self._place(request.path_params["path"], who, WRITE)
        if not self._is_folder(path):
            raise _no_folder()
        if any(self._entries(path)):
            raise _Refusal(400, "BAD_REQUEST", "The directory is not empty.", "FILES_API_DIRECTORY_IS_NOT_EMPTY")
        self.folders.discard(path)
        return Response(status_code=204)

    def _entries(self, path: str) -> Iterator[dict[str, Any]]:
        for folder in self.folders:
            if dirname(folder) == path:
                yield {"path": folder, "name": folder[len(path) + 1 :], "is_directory": True}
        for name, file in self.files.items():
            if dirname(name) == path:
                told = {"path": name, "name": name[len(path) + 1 :], "is_directory": False}
                yield told | {"file_size": len(file.data), "last_modified": int(file.modified * 1_000)}

    def _is_folder(self, path: str) -> bool:
        return path in self.folders or any(name.startswith(path + "/") for name in self.files)

    # ── who may what ─────────────────────────────────────────────────────────────────────────────

    def _who(self, request: Request) -> str | None:
        if (name := request.path_params.get("name")) in self._signed:
            return self._signed[name][1]
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return self.people.get(token) if scheme == "Bearer" else None

    def _volume_of(self, path: str) -> str:
        return "/".join(path.split("/")[:5])

    def _place(self, path: str, who: str, need: str) -> str:
        """The path, if whoever asks may there what is needed."""
        if not who:
            raise _Refusal(401, "UNAUTHENTICATED", "Request to this API needs a valid token.")
        volume = self._volume_of(path)
        named = volume.removeprefix("/Volumes/").replace("/", ".")
        if volume not in self.volumes:
            raise _Refusal(404, "NOT_FOUND", f"Volume '{named}' does not exist.")
        has = self.grants.get((who, volume), frozenset())
        for grant in (READ, need):
            if grant not in has:
                raise _Refusal(403, "PERMISSION_DENIED", f"User does not have {grant} on Volume '{named}'.")
        return path

    def _file(self, path: str) -> _File:
        if path not in self.files:
            raise _Refusal(404, "NOT_FOUND", "The file being accessed is not found.", "FILES_API_FILE_NOT_FOUND")
        return self.files[path]

    # ── what the client asks before it asks anything ─────────────────────────────────────────────

    async def _metadata(self, request: Request, who: str) -> Response:
        base = str(request.base_url).rstrip("/")
        return JSONResponse({"oidc_endpoint": f"{base}/oidc", "workspace_id": "1234567890"})

    async def _oidc(self, request: Request, who: str) -> Response:
        base = str(request.base_url).rstrip("/")
        return JSONResponse({"authorization_endpoint": f"{base}/no", "token_endpoint": f"{base}/oidc/v1/token"})

    async def _token(self, request: Request, who: str) -> Response:
        given = base64.b64decode(request.headers.get("authorization", "").removeprefix("Basic ")).decode()
        asked = parse_qs((await request.body()).decode())
        if given != f"{CLIENT_ID}:{CLIENT_SECRET}" or asked.get("grant_type") != ["client_credentials"]:
            return JSONResponse({"error": "invalid_client", "error_description": "Client authentication failed"}, 401)
        token = f"oauth-{secrets.token_hex(8)}"
        self.people[token] = "principal"
        return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": 3_600})


class _Cut(Response):
    """An answer whose body ends before its length."""

    def __init__(self, whole: Response) -> None:
        super().__init__(whole.body, whole.status_code)
        self.raw_headers = whole.raw_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        scope["extensions"][RESET]()


def _content(file: _File) -> Response:
    modified = {"last-modified": formatdate(file.modified, usegmt=True)}
    return Response(file.data, headers=modified, media_type="application/octet-stream")


def _error(refusal: _Refusal) -> Response:
    told: dict[str, Any] = {"error_code": refusal.code, "message": refusal.message}
    if refusal.reason:
        kind = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "domain": "filesystem.databricks.com"}
        told["details"] = [kind | {"reason": refusal.reason}]
    return JSONResponse(told, refusal.status)


def _no_folder() -> _Refusal:
    return _Refusal(
        404, "NOT_FOUND", "The directory being accessed is not found.", "FILES_API_DIRECTORY_IS_NOT_FOUND"
    )


def _above(path: str) -> Iterator[str]:
    """The directory and those that it lies in."""
    while path != "/":
        yield path
        path = dirname(path)
