"""What a recording that is brought along is: which request it answers, and what would be kept of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sayonce.audio.check import recognise
from sayonce.audio.encode import finalise
from sayonce.audio.formats import any_format_of, coding, of_extension
from sayonce.audio.probe import Undecodable, probe
from sayonce.cache.archive import RECORDED
from sayonce.cache.cast import Cast
from sayonce.cache.checking import flagged, is_plausible
from sayonce.cache.metadata import asset_of
from sayonce.cache.orders import Clip, Order, Steering
from sayonce.catalog.records import Asset
from sayonce.errors import InvalidRequest, SayonceError, UnsupportedFormat
from sayonce.speech.formats import AudioFormat
from sayonce.speech.recipes import content_hash_of
from sayonce.speech.requests import Owner, Scope, SpeechRequest

#: What may be told of a recording: what a request may say, and where the recording is.
SAID = frozenset(
    (
        *("text", "upstream", "model", "voice", "language", "speed", "pitch", "style", "instructions", "options"),
        *("variation", "cleaner", "tenant", "scope", "user", "session", "format"),
    )
)
#: Where it is: a file of a folder, bytes in a table, an address, a path in a storage, a key in Redis.
WHERE = frozenset(("file", "data", "url", "path", "key"))
#: What only an export tells: the asset as it was kept.
_EXPORTED = "content_hash"
_TEXTS = ("text", "model", "voice", "language", "style", "instructions", "cleaner")
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Told:
    """What a recording is, before its bytes are looked at. `order` is the request that it answers; of what was
    exported there is none, but the `asset` as it was."""

    format: AudioFormat
    order: Order | None = None
    asset: Asset | None = None


class Reading:
    """Tells what recordings are. `usual` holds what their source does not tell. With `doubtful`, what is too long or
    too short for its text is kept, and flagged."""

    def __init__(self, cast: Cast, usual: Mapping[str, object], *, doubtful: bool = False) -> None:
        self._cast = cast
        self._usual = usual
        self._doubtful = doubtful
        #: Who speaks for tenants that have a chain of their own; to be filled before their recordings are told.
        self.chains: dict[str, tuple[str, ...]] = {}

    def tenant(self, fields: Mapping[str, object]) -> str:
        """Whose a recording is, by its fields."""
        return str(fields.get("tenant") or self._usual.get("tenant") or "default")

    def told(self, fields: Mapping[str, object]) -> Told:
        """What a recording is by its fields. InvalidRequest and its kin where that cannot be told."""
        if _EXPORTED in fields:
            return _exported(fields)
        unknown = fields.keys() - SAID - WHERE
        if unknown:
            raise InvalidRequest(
                f"there is no field '{min(unknown)}'",
                param=min(unknown),
                remedy="Say with --column which fields to take, such as --column text=content.",
            )
        fields = {**self._usual, **{name: value for name, value in fields.items() if value not in (None, "")}}
        request = _request(fields)
        return Told(request.format, self._order(request))

    def clip(self, told: Told, data: bytes, *, keep_text: bool, now: float) -> Clip:
        """The recording as it would be kept. InvalidRequest where it is no whole audio of its format, or cannot be
        what is said of it. Takes its time: it decodes everything."""
        coding(told.format)
        if not data:
            raise InvalidRequest("it has no audio: it is empty")
        if recognise(data[:64].ljust(64, b"\0"), told.format) is not True:
            raise InvalidRequest(f"it is no {told.format.codec} audio in {told.format.container}")
        try:
            if told.order is None:
                return _as_exported(told, data, keep_text=keep_text)
            whole = finalise(data, told.format)
            measured = probe(whole, told.format)
        except Undecodable as error:
            raise InvalidRequest(f"it is no whole {told.format.codec} audio: {error}") from error
        if told.format.rate not in (None, measured.sample_rate):
            raise InvalidRequest(f"it has {measured.sample_rate} samples a second, and not {told.format.rate}")
        asset = _asset(told.order, whole, keep_text=keep_text, now=now)
        clip = Clip(replace(asset, duration=measured.duration, sample_rate=measured.sample_rate), whole)
        if is_plausible(told.order.recipe, clip):
            return clip
        if self._doubtful:
            return flagged(clip, "implausible")
        raise InvalidRequest(
            f"its {measured.duration:.1f} seconds are too {_much(told.order, clip)} for its text",
            remedy="Is it that text's? If so: --doubtful.",
        )

    def _order(self, request: SpeechRequest) -> Order:
        names = self.chains.get(request.owner.tenant) or (self._cast.default,)
        upstream = request.upstream or names[0]
        order = self._cast.chain(request, Steering(), (upstream,)).first
        given = self._cast.addressed(request, upstream)
        if given.model is None and order.recipe.model is not None:
            raise InvalidRequest("nothing tells its model", param="model", remedy="Give it with --model.")
        if given.voice is None:
            raise InvalidRequest("nothing tells its voice", param="voice", remedy="Give it with --voice.")
        return order


def _request(fields: Mapping[str, Any]) -> SpeechRequest:
    texts = {name: _text(fields, name) for name in _TEXTS}
    if not texts["text"]:
        raise InvalidRequest("nothing tells its text", param="text")
    speed, pitch = _number(fields, "speed", 1.0), _number(fields, "pitch", 0.0)
    variation = _number(fields, "variation", 0.0)
    if variation != int(variation) or not 0 <= variation < 1e7:
        raise InvalidRequest("its variation is no whole number", param="variation")
    return SpeechRequest(
        **texts,
        upstream=_text(fields, "upstream"),
        speed=speed,
        pitch=pitch,
        options=_options(fields.get("options")),
        variation=int(variation),
        owner=_owner(fields),
        format=_format(fields),
    )


def _text(fields: Mapping[str, object], name: str) -> Any:
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and name != "text":
        return str(value)  # a voice may be called 7
    raise InvalidRequest(f"its {name} is not text", param=name, remedy="Put it in quotes.")


def _number(fields: Mapping[str, object], name: str, usual: float) -> float:
    value = fields.get(name, usual)
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(name)
        return float(value)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"its {name} is no number", param=name) from error


def _options(told: object) -> dict[str, Any]:
    try:
        found = json.loads(told) if isinstance(told, str) else told
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("its options are no JSON", param="options") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidRequest("its options are no set of named values", param="options")
    return found


def _owner(fields: Mapping[str, object]) -> Owner:
    user, session = _name(fields, "user"), _name(fields, "session")
    scope = _text(fields, "scope") or (Scope.SESSION if session else Scope.USER if user else Scope.TENANT)
    if scope not in set(Scope):
        raise InvalidRequest("there is no such scope", param="scope", remedy=f"Use one of: {', '.join(Scope)}.")
    return Owner(_name(fields, "tenant") or "default", Scope(scope), user, session)


def _name(fields: Mapping[str, object], name: str) -> str | None:
    value: str | None = _text(fields, name)
    if value is not None and (len(value) > _LONGEST_NAME or not value.isprintable()):
        raise InvalidRequest(f"its {name} is no usable name", param=name)
    return value


def _format(fields: Mapping[str, object]) -> AudioFormat:
    told = _text(fields, "format")
    if told:
        return _format_of(told)
    for where in ("file", "path", "url"):
        name = str(fields.get(where) or "").partition("?")[0]
        found = of_extension(name.rpartition(".")[2].lower()) if "." in name else None
        if found is not None and found.container != "raw":
            return found
    raise InvalidRequest("nothing tells its format", param="format", remedy="Give it with --format, such as mp3.")


def _format_of(told: str) -> AudioFormat:
    try:
        found = AudioFormat.parse(told) if told.count("/") == 3 else any_format_of(told)
        coding(found)
    except (ValueError, UnsupportedFormat) as error:
        raise InvalidRequest("there is no such format", param="format", remedy="Use mp3, opus, wav, …") from error
    return found


def _asset(order: Order, data: bytes, *, keep_text: bool, now: float) -> Asset:
    recipe = order.recipe
    return Asset(
        content_hash=order.content_hash,
        recipe_hash=recipe.hash,
        format=order.format,
        owner=recipe.owner,
        upstream=order.provider.upstream.name,
        model=recipe.model,
        voice=recipe.voice,
        language=recipe.language,
        text=recipe.text if keep_text else None,
        characters=len(recipe.text),
        size=len(data),
        digest=hashlib.sha256(data).digest(),
        duration=0.0,
        sample_rate=0,
        marks=(),
        cost=order.price(recipe),
        transcoded=False,
        flags=frozenset(),
        made_at=now,
        until=None,
        blobs=(),
    )


def _much(order: Order, clip: Clip) -> str:
    longer = Clip(replace(clip.asset, duration=clip.asset.duration * 1_000), clip.data)
    return "short" if clip.asset.duration < 1 or is_plausible(order.recipe, longer) else "long"


def usual(head: Mapping[str, object], options: Mapping[str, object]) -> Mapping[str, object]:
    """What holds where a row says nothing: what its source says of all, else the options."""
    unknown = head.keys() - SAID
    if unknown:
        raise InvalidRequest(
            f"There is no field '{min(unknown)}' to tell of all.",
            param=min(unknown),
            remedy=f"There are: {', '.join(sorted(SAID))}.",
        )
    return {**{name: value for name, value in options.items() if value is not None}, **head}


# ── what was exported ────────────────────────────────────────────────────────────────────────────


def _exported(fields: Mapping[str, object]) -> Told:
    told = {name: value for name, value in fields.items() if isinstance(value, str)}
    try:
        asset = asset_of(told, ("", ""), int(told.get("size", "0")))
        if asset.content_hash != content_hash_of(asset.recipe_hash, asset.format):
            raise ValueError("its name is not that of its recipe and format")
        until = float(told["until"]) if "until" in told else None
    except ValueError as error:
        raise InvalidRequest(f"it is no row of an export: {error}") from error
    if len(asset.recipe_hash) != 32 or len(asset.digest) != 32:
        raise InvalidRequest("it is no row of an export: its hashes are too short or too long")
    return Told(asset.format, asset=replace(asset, text=told.get("text"), until=until, blobs=()))


def _as_exported(told: Told, data: bytes, *, keep_text: bool) -> Clip:
    assert told.asset is not None
    asset = told.asset
    if hashlib.sha256(data).digest() != asset.digest:
        raise Undecodable("its bytes are others than those that were exported")
    measured = probe(data, asset.format)
    text = asset.text if keep_text else None
    return Clip(
        replace(asset, text=text, size=len(data), duration=measured.duration, sample_rate=measured.sample_rate), data
    )


def is_recorded(asset: Asset) -> bool:
    """Whether nobody could speak it anew."""
    return asset.upstream == RECORDED


def reason(error: SayonceError) -> str:
    """Why a recording is refused, in one line."""
    return f"{error.message.rstrip('.')}. {error.remedy}".rstrip(" .") + ("" if error.remedy.endswith("…") else ".")
