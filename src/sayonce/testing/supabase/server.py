"""The server."""

from __future__ import annotations

import base64
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from sayonce.testing.servers import resettable
from sayonce.testing.supabase.objects import Bucket, Stored, entry, sent, served
from sayonce.testing.supabase.tokens import claims_of, token
from sayonce.testing.supabase.troubles import (
    BUCKET_EXISTS,
    BUCKET_FULL,
    KEY_EXISTS,
    NO_BUCKET,
    NO_KEY,
    OTHER_PATH,
    POLICY,
    Refusal,
    Refused,
    Trouble,
    denied,
)

SERVICE, ANON = "service_role", "anon"

_MOST_LISTED, _MOST_WALKED = 1_000, 1_500

Handler = Callable[[Request], Awaitable[Response]]


class FakeSupabase:
    """The application; its storage is under `/storage/v1`. `service_key` is the key that may do all; `key_of` makes
    others. `counts` tells how often each operation was asked for, `bodies` what was asked in JSON; `clock` is in
    seconds. Older servers do not know the second form of listing (`knows_v2`), and in the first they have
    `folders_first`; `on_list` is called before each page of that."""

    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}
        self.counts: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.clock: Callable[[], float] = time.time
        self.knows_v2 = True
        self.folders_first = False
        self.on_list: Callable[[dict[str, Any]], None] = lambda asked: None
        self._secret = secrets.token_bytes(32)
        self._troubles: list[Trouble] = []
        self.service_key = self.key_of(SERVICE)
        self._app = resettable(Starlette(routes=[Mount("/storage/v1", routes=self._routes())]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def key_of(self, role: str, seconds: float = 3_600.0) -> str:
        """A key of the project's for that role, good for so long from now."""
        now = int(self.clock())
        return token({"role": role, "iss": "supabase", "iat": now, "exp": now + int(seconds)}, self._secret)

    def behave(self, *troubles: Trouble) -> None:
        """From now on so: of these, the first that concerns a request and is not used up befalls it."""
        self._troubles = list(troubles)

    # ── what it is asked ─────────────────────────────────────────────────────────────────────────

    def _routes(self) -> list[Route]:
        one, named = "/object/{bucket}/{key:path}", "/{bucket}/{key:path}"
        return [
            self._route("GET", "/bucket", "buckets", self._list_buckets),
            self._route("POST", "/bucket", "create bucket", self._create_bucket),
            self._route("GET", "/bucket/{bucket}", "bucket", self._get_bucket),
            self._route("DELETE", "/bucket/{bucket}", "delete bucket", self._delete_bucket),
            self._route("POST", "/object/list/{bucket}", "list", self._list),
            self._route("POST", "/object/list-v2/{bucket}", "list-v2", self._list_v2),
            self._route("POST", f"/object/sign{named}", "sign", self._sign),
            self._route("GET", f"/object/sign{named}", "signed", self._signed),
            self._route("GET", f"/object/public{named}", "public", self._public),
            self._route("GET", f"/object/info{named}", "info", self._info),
            self._route("POST", one, "upload", self._upload),
            self._route("PUT", one, "upload", self._upload),
            self._route("GET", one, "download", self._download),
            self._route("DELETE", "/object/{bucket}", "remove", self._remove),
        ]

    def _route(self, method: str, path: str, operation: str, handle: Handler) -> Route:
        async def endpoint(request: Request) -> Response:
            self.counts[operation] += 1
            trouble = self._next_trouble(operation, request.path_params.get("key"))
            try:
                answer = await trouble.before(request) or await handle(request)
            except Refused as refused:
                answer = refused.refusal.answer()
            trouble.after(answer)
            return Response(status_code=answer.status_code) if request.method == "HEAD" else answer

        return Route(path, endpoint, methods=[method])

    def _next_trouble(self, operation: str, key: str | None) -> Trouble:
        found = (trouble for trouble in self._troubles if trouble.concerns(operation, key))
        trouble = next(found, Trouble("none"))
        trouble.times -= 1
        return trouble

    # ── who asks ─────────────────────────────────────────────────────────────────────────────────

    def _role(self, request: Request) -> str:
        """The role of the key that was sent, in both its headers."""
        if not request.headers.get("apikey"):
            raise Refused(denied("No API key found in request"))
        for key in (request.headers["apikey"], request.headers.get("authorization", "").removeprefix("Bearer ")):
            try:
                role = str(claims_of(key, self._secret, self.clock())["role"])
            except ValueError as error:
                raise Refused(denied(str(error))) from error
        return role

    def _must_serve(self, request: Request) -> None:
        """Refuses all but the service: there is no policy that lets another role write."""
        if self._role(request) != SERVICE:
            raise Refused(POLICY)

    def _bucket(self, request: Request) -> Bucket:
        bucket = self.buckets.get(request.path_params["bucket"])
        if bucket is None:
            raise Refused(NO_BUCKET)
        return bucket

    # ── buckets ──────────────────────────────────────────────────────────────────────────────────

    async def _list_buckets(self, request: Request) -> Response:
        shown = self.buckets.values() if self._role(request) == SERVICE else ()
        return JSONResponse([bucket.told() for bucket in shown])

    async def _create_bucket(self, request: Request) -> Response:
        asked = await self._json(request)
        self._must_serve(request)
        name = str(asked.get("id") or asked["name"])
        if name in self.buckets:
            raise Refused(BUCKET_EXISTS)
        limits = (asked.get("file_size_limit"), asked.get("allowed_mime_types"))
        self.buckets[name] = Bucket(name, bool(asked.get("public")), *limits)
        return JSONResponse({"name": name})

    async def _get_bucket(self, request: Request) -> Response:
        if self._role(request) != SERVICE:
            raise Refused(NO_BUCKET)
        return JSONResponse(self._bucket(request).told())

    async def _delete_bucket(self, request: Request) -> Response:
        self._must_serve(request)
        bucket = self._bucket(request)
        if bucket.objects:
            raise Refused(BUCKET_FULL)
        del self.buckets[bucket.id]
        return JSONResponse({"message": "Successfully deleted"})

    # ── objects ──────────────────────────────────────────────────────────────────────────────────

    async def _upload(self, request: Request) -> Response:
        body = await request.body()
        self._must_serve(request)
        bucket, key = self._bucket(request), request.path_params["key"]
        if key in bucket.objects and request.method == "POST" and request.headers.get("x-upsert") != "true":
            raise Refused(KEY_EXISTS)
        stored = sent(body, request.headers["content-type"])
        bucket.put(key, stored)
        return JSONResponse({"Id": stored.id, "Key": f"{bucket.id}/{key}"})

    async def _download(self, request: Request) -> Response:
        """Whose key is wrong may still read what is public; of the rest they are told that there is no bucket."""
        try:
            role = self._role(request)
        except Refused as refused:
            if not self._bucket(request).public:
                raise Refused(NO_BUCKET) from refused
            role = SERVICE
        found = self._found(request)
        if role != SERVICE and not self._bucket(request).public:
            raise Refused(NO_KEY)  # rows that no policy shows are not there
        return served(found)

    async def _info(self, request: Request) -> Response:
        self._must_serve(request)
        found = self._found(request)
        told = {"id": found.id, "name": request.path_params["key"], "size": len(found.data)}
        return JSONResponse(told | {"content_type": found.content_type, "metadata": found.metadata})

    async def _remove(self, request: Request) -> Response:
        asked = await self._json(request)
        removed = []
        bucket = self.buckets.get(request.path_params["bucket"])
        if self._role(request) == SERVICE and bucket is not None:
            removed = [key for key in asked["prefixes"] if bucket.objects.pop(key, None) is not None]
        return JSONResponse([{"name": key} for key in removed])

    def _found(self, request: Request) -> Stored:
        found = self._bucket(request).objects.get(request.path_params["key"])
        if found is None:
            raise Refused(NO_KEY)
        return found

    # ── addresses ────────────────────────────────────────────────────────────────────────────────

    async def _sign(self, request: Request) -> Response:
        asked = await self._json(request)
        role = self._role(request)
        path = "{bucket}/{key}".format(**request.path_params)
        if int(asked["expiresIn"]) < 1:
            raise Refused(Refusal(400, "InvalidRequest", "Error", "body/expiresIn must be >= 1"))
        bucket = self.buckets.get(request.path_params["bucket"])
        if role != SERVICE or bucket is None or request.path_params["key"] not in bucket.objects:
            raise Refused(NO_KEY)
        claims = {"url": path, "iat": int(self.clock()), "exp": int(self.clock()) + int(asked["expiresIn"])}
        return JSONResponse({"signedURL": f"/object/sign/{path}?token={token(claims, self._secret)}"})

    async def _signed(self, request: Request) -> Response:
        try:
            claims = claims_of(request.query_params.get("token", ""), self._secret, self.clock())
        except ValueError as error:
            raise Refused(Refusal(400, "InvalidJWT", "InvalidJWT", str(error))) from error
        if claims.get("url") != "{bucket}/{key}".format(**request.path_params):
            raise Refused(OTHER_PATH)
        return served(self._found(request), {"expires": formatdate(claims["exp"], usegmt=True)})

    async def _public(self, request: Request) -> Response:
        if not self._bucket(request).public:
            raise Refused(NO_BUCKET)
        return served(self._found(request))

    # ── listings ─────────────────────────────────────────────────────────────────────────────────

    async def _list(self, request: Request) -> Response:
        """One folder, whose own name and whose entries' order take no account of case. A missing bucket is empty."""
        asked = await self._json(request)
        self.on_list(asked)
        folder = asked["prefix"] and asked["prefix"].rstrip("/") + "/"
        start = (folder + (asked.get("search") or "")).lower()
        entries: dict[str, dict[str, Any]] = {}
        for key, stored in self._visible(request).items():
            if key.lower().startswith(start):
                name, below, _ = key[len(folder) :].partition("/")
                entries.setdefault(name.lower() + below if below else name, entry(name, None if below else stored))
        order = sorted(entries, key=lambda name: (self.folders_first and name[-1] != "/", name.lower()))
        first, most = int(asked.get("offset") or 0), min(int(asked.get("limit") or 100), _MOST_WALKED)
        return JSONResponse([entries[name] for name in order[first : first + most]])

    async def _list_v2(self, request: Request) -> Response:
        """All keys with a prefix, in their order. Older servers take it for an upload into another bucket."""
        asked = await self._json(request)
        if not self.knows_v2:
            raise Refused(NO_BUCKET)
        after = base64.b64decode(asked.get("cursor") or "").decode().removeprefix("l:")
        prefix, most = asked.get("prefix") or "", min(int(asked.get("limit") or _MOST_LISTED), _MOST_LISTED)
        visible = self._visible(request)
        keys = sorted(key for key in visible if key.startswith(prefix) and key > after)
        told: dict[str, Any] = {"hasNext": len(keys) > most, "folders": []}
        if told["hasNext"]:
            told["nextCursor"] = base64.b64encode(f"l:{keys[most - 1]}".encode()).decode()
        return JSONResponse(told | {"objects": [entry(key, visible[key]) for key in keys[:most]]})

    def _visible(self, request: Request) -> Mapping[str, Stored]:
        bucket = self.buckets.get(request.path_params["bucket"])
        return {} if self._role(request) != SERVICE or bucket is None else bucket.objects

    async def _json(self, request: Request) -> dict[str, Any]:
        asked: dict[str, Any] = await request.json()
        self.bodies.append(asked)
        return asked
