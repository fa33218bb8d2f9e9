"""What is kept, and how it is sent in, told of and served."""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

from starlette.responses import Response

from sayonce.testing.supabase.troubles import TOO_LARGE, TOO_LONG, Refused, invalid_key, invalid_type

_KEY = re.compile(r"[\w/!\-.*'() &$@=;:+,?]+", re.ASCII)
_LONGEST_KEY = 1_024


@dataclass
class Stored:
    """An object."""

    data: bytes = field(repr=False)
    content_type: str
    cache_control: str
    metadata: object = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created: float = field(default_factory=time.time)
    updated: float = field(default_factory=time.time)


@dataclass
class Bucket:
    """`file_size_limit` is in bytes."""

    id: str
    public: bool = False
    file_size_limit: int | None = None
    allowed_mime_types: list[str] | None = None
    objects: dict[str, Stored] = field(default_factory=dict)

    def put(self, key: str, stored: Stored) -> None:
        """Makes or replaces an object. Refused where key, size or type are not to be."""
        if not _KEY.fullmatch(key):
            raise Refused(invalid_key(key))
        if len(key) > _LONGEST_KEY:
            raise Refused(TOO_LONG)
        if self.file_size_limit is not None and len(stored.data) > self.file_size_limit:
            raise Refused(TOO_LARGE)
        kind = stored.content_type
        if self.allowed_mime_types and not {kind, kind.partition("/")[0] + "/*"} & {*self.allowed_mime_types}:
            raise Refused(invalid_type(kind))
        old = self.objects.get(key)
        if old is not None:
            stored.id, stored.created = old.id, old.created
        self.objects[key] = stored

    def told(self) -> dict[str, Any]:
        """As it is listed."""
        times = dict.fromkeys(("created_at", "updated_at"), _time(0.0))
        limits = {"file_size_limit": self.file_size_limit, "allowed_mime_types": self.allowed_mime_types}
        return {"id": self.id, "name": self.id, "owner": "", "public": self.public} | times | limits


def sent(body: bytes, content_type: str) -> Stored:
    """An upload, which storage3 sends as a form: fields, then the file."""
    fields: dict[str, str] = {}
    file, kind = b"", ""
    boundary = b"--" + content_type.partition("boundary=")[2].encode()
    for part in body.split(boundary)[1:-1]:
        head, _, content = part.removesuffix(b"\r\n").partition(b"\r\n\r\n")
        if b"filename=" in head:
            file, kind = content, re.findall(r"(?i)content-type: (.*)", head.decode())[0].strip()
        else:
            fields[re.findall(r'name="(.*?)"', head.decode())[0]] = content.decode()
    lifetime = fields.get("cacheControl")
    metadata = json.loads(fields["metadata"]) if "metadata" in fields else None
    return Stored(file, kind, f"max-age={lifetime}" if lifetime else "no-cache", metadata)


def served(found: Stored, headers: Mapping[str, str] | None = None) -> Response:
    """An object, as whoever fetches it gets it."""
    told = {
        "cache-control": found.cache_control,
        "etag": f'"{hashlib.md5(found.data).hexdigest()}"',
        "last-modified": formatdate(found.updated, usegmt=True),
        "content-type": found.content_type,
    }
    return Response(found.data, headers=told | dict(headers or {}))


def entry(name: str, found: Stored | None) -> dict[str, Any]:
    """An object in a listing; a folder has its name alone."""
    if found is None:
        nothing = ("id", "updated_at", "created_at", "last_accessed_at", "metadata")
        return {"name": name} | dict.fromkeys(nothing)
    metadata = {"size": len(found.data), "mimetype": found.content_type, "cacheControl": found.cache_control}
    created, updated = _time(found.created), _time(found.updated)
    times = {"created_at": created, "updated_at": updated, "last_accessed_at": created}
    return {"name": name, "id": found.id, "metadata": metadata} | times


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
