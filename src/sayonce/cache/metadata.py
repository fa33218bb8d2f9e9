"""What is written with a blob, where, and how it is read back: enough to adopt it into a new catalog.

All of an asset is there but its text, which only a catalog holds (law 8), and for how long it is kept, which is its
uses' to say.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime

from sayonce.audio.formats import content_type, extension
from sayonce.catalog.records import Asset, Blob, owner_of
from sayonce.speech.chunks import Mark
from sayonce.speech.formats import AudioFormat
from sayonce.speech.requests import Owner, Scope
from sayonce.storage.contract import Serving

#: Up to so many bytes are copied, or hashed, in less time than the way to a thread takes.
LIGHT = 256 * 1024


def blob_metadata(asset: Asset, catalog_id: str) -> dict[str, str]:
    """What is written beside a blob of an asset's, in a catalog of that id."""
    owner = asset.owner
    name = {Scope.USER: owner.user, Scope.SESSION: owner.session}.get(owner.scope)
    given = {
        "content_hash": asset.content_hash.hex(),
        "recipe_hash": asset.recipe_hash.hex(),
        "catalog": catalog_id,
        "tenant": owner.tenant,
        "scope": str(owner.scope),
        "owner": name,
        "format": str(asset.format),
        "digest": asset.digest.hex(),
        "upstream": asset.upstream,
        "model": asset.model,
        "voice": asset.voice,
        "language": asset.language,
        "characters": str(asset.characters),
        "duration": repr(asset.duration),
        "sample_rate": str(asset.sample_rate),
        "cost": None if asset.cost is None else str(asset.cost),
        "transcoded": "yes" if asset.transcoded else None,
        "flags": ",".join(sorted(asset.flags)),
        "made_at": repr(asset.made_at),
        "marks": ";".join(f"{m.start},{m.end},{m.first},{m.length},{m.kind}" for m in asset.marks),
    }
    return {key: value for key, value in given.items() if value}


def serving(asset: Asset, path: str) -> Serving:
    """What the storage says of an asset's blob: other bytes have another path only where that names them."""
    immutable = asset.digest.hex() in path
    caching = "private, max-age=31536000, immutable" if immutable else "private, no-cache"
    return Serving(content_type(asset.format), caching)


def asset_of(told: Mapping[str, str], blob: tuple[str, str], size: int) -> Asset:
    """The asset that a blob's metadata tells of; `blob` is its storage's name and its path, `size` is in bytes.
    ValueError where it does not tell of one."""
    if not all(isinstance(value, str) for value in told.values()):
        raise ValueError("its metadata cannot be read")
    try:
        digest = bytes.fromhex(told["digest"])
        return Asset(
            content_hash=bytes.fromhex(told["content_hash"]),
            recipe_hash=bytes.fromhex(told["recipe_hash"]),
            format=AudioFormat.parse(told["format"]),
            owner=_owner(told),
            upstream=told["upstream"],
            model=told.get("model"),
            voice=told.get("voice"),
            language=told.get("language"),
            text=None,
            characters=int(told["characters"]),
            size=size,
            digest=digest,
            duration=float(told["duration"]),
            sample_rate=int(told["sample_rate"]),
            marks=_marks(told.get("marks", "")),
            cost=int(told["cost"]) if "cost" in told else None,
            transcoded="transcoded" in told,
            flags=frozenset(told.get("flags", "").split(",")) - {""},
            made_at=float(told["made_at"]),
            until=None,
            blobs=(Blob(*blob, digest),),
        )
    except KeyError as error:
        raise ValueError(f"its metadata lacks '{error.args[0]}'") from error
    except (ValueError, TypeError) as error:
        raise ValueError("its metadata cannot be read") from error


def _owner(told: Mapping[str, str]) -> Owner:
    """Whose it is. What is one user's or one session's, and does not say whose, is nobody's."""
    everyones = told["scope"] in (Scope.SHARED, Scope.TENANT)
    return owner_of(told["tenant"], told["scope"], None if everyones else told["owner"])


def _marks(told: str) -> tuple[Mark, ...]:
    return tuple(_mark(*mark.split(",")) for mark in told.split(";") if mark)


def _mark(start: str, end: str, first: str, length: str, kind: str) -> Mark:
    return Mark(float(start), float(end), int(first), int(length), kind)


async def digest_of(data: bytes) -> bytes:
    """SHA-256, off the event loop where it is long."""
    if len(data) < LIGHT:
        return hashlib.sha256(data).digest()
    return (await asyncio.to_thread(hashlib.sha256, data)).digest()


def path_fields(asset: Asset) -> dict[str, str]:
    """The fields of a path template that an asset gives; a field it has not is absent."""
    made = datetime.fromtimestamp(asset.made_at, UTC)
    owner = asset.owner
    given = {
        "tenant": owner.tenant,
        "scope": str(owner.scope),
        "user": owner.user,
        "session": owner.session,
        "provider": asset.upstream,
        "model": asset.model,
        "voice": asset.voice,
        "language": asset.language,
        "hash": asset.content_hash.hex(),
        "recipe": asset.recipe_hash.hex(),
        "digest": asset.digest.hex(),
        "codec": asset.format.codec,
        "ext": extension(asset.format),
        "yyyy": f"{made:%Y}",
        "mm": f"{made:%m}",
        "dd": f"{made:%d}",
    }
    return {name: value for name, value in given.items() if value}
