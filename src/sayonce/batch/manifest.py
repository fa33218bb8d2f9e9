"""Manifests: a collection as people write it down. What a row leaves open, its head says; else the settings do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Protocol

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationError,
)

from sayonce.audio.formats import any_format_of
from sayonce.cache.cast import Cast, Cleaning
from sayonce.cache.orders import Order, Retention, Steering
from sayonce.errors import InvalidRequest, MissingExtra, ProviderError
from sayonce.speech.requests import Owner, Scope, SpeechRequest
from sayonce.units import listed, retention


def _named(told: str) -> str:
    """A name that a path can end in."""
    if told in (".", ".."):
        raise ValueError("is no name that an address can end in")
    return told


Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Title = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f/]+$"),
    AfterValidator(_named),
]
Names = Annotated[tuple[Name, ...], BeforeValidator(listed), Field(min_length=1, max_length=200)]
Words = Annotated[str, StringConstraints(max_length=4096)]

# What a manifest may call what the command line gives by another word.
_ALSO = {"voices": "voice", "formats": "format", "name": "collection"}

# What pydantic says in words of Python's.
_OUR_WORDS = {"Value error, ": "it ", "Input should be": "it should be", "a valid dictionary": "an object"}

# How many texts of a manifest are held in memory, rather than made anew: a few KB each.
_REMEMBERED = 10_000

# How many rows are told of that are wrong.
_MOST_WRONG = 20


class Row(Protocol):
    """A row, and where it stands, for people: `line 7`."""

    @property
    def place(self) -> str: ...
    @property
    def fields(self) -> Mapping[str, object]: ...


class Rows(Protocol):
    """What a manifest says of itself, and its rows, which may be read again."""

    @property
    def head(self) -> Mapping[str, object]: ...
    def __iter__(self) -> Iterator[Row]: ...


def _options(told: object) -> object:
    """A table's cell holds them as JSON."""
    try:
        return json.loads(told) if isinstance(told, str) else told
    except (ValueError, RecursionError):
        return told


def _retention(told: object) -> object:
    return Retention(*retention(told)) if isinstance(told, str) else told


@dataclass(frozen=True, slots=True)
class Item:
    """A row that came without a file."""

    place: str
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Items:
    """Rows that came without a file."""

    head: Mapping[str, object]
    items: Sequence[Mapping[str, object]]

    def __iter__(self) -> Iterator[Item]:
        for number, fields in enumerate(self.items, 1):
            yield Item(f"item {number}", fields)


class Manner(BaseModel):
    """How texts are to be spoken, and for whom; `voices` and `formats` are each of them."""

    model_config = ConfigDict(extra="forbid")

    role: Name | None = None
    voices: Names | None = Field(None, validation_alias=AliasChoices("voices", "voice"))
    formats: Names | None = Field(None, validation_alias=AliasChoices("formats", "format"))
    provider: Name | None = Field(None, validation_alias=AliasChoices("provider", "upstream"))
    model: Name | None = None
    language: Name | None = None
    speed: Annotated[float, Field(allow_inf_nan=False)] | None = None
    pitch: Annotated[float, Field(allow_inf_nan=False)] | None = None
    style: Words | None = None
    instructions: Words | None = None
    options: Annotated[dict[str, Any] | None, BeforeValidator(_options)] = None
    variation: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    cleaning: Cleaning | None = None
    scope: Scope | None = None
    user: Name | None = None
    session: Name | None = None


class Head(Manner):
    """What a manifest says of itself, and of every row that does not say otherwise; but what was given beside the
    manifest goes above what rows say, too."""

    _above: frozenset[str] = PrivateAttr(frozenset())

    name: Title | None = Field(None, validation_alias=AliasChoices("name", "collection"))
    keep: Annotated[Retention, BeforeValidator(_retention)] | None = None
    description: Words | None = None


class Line(Manner):
    """One row: a text, and what is particular to it."""

    text: Annotated[str, StringConstraints(min_length=1)]


@dataclass(frozen=True, slots=True)
class Text:
    """One thing to say: of a row, in one voice and one format. `sequence` counts them."""

    sequence: int
    place: str
    role: str | None
    order: Order


@dataclass(frozen=True, slots=True)
class Bounds:
    """Whose texts they are, how many characters one may have, and whether they may be shared with other tenants."""

    tenant: str
    longest: int
    share: bool = True


class Manifest:
    """A tenant's collection: its head, and its texts, which may be gone through again."""

    def __init__(self, head: Head, rows: Rows, cast: Cast, bounds: Bounds) -> None:
        self.head = head
        self._rows = rows
        self._cast = cast
        self._bounds = bounds
        self._made: list[Text] | None = None

    def texts(self, wrong: Callable[[str, str], None]) -> Iterator[Text]:
        """All that is to be said, in order. `wrong` is told where each row stands that cannot be said, and why. What
        was gone through once, without anything wrong, and is not too much, is what it was then."""
        if self._made is None:
            yield from self._gone_through(wrong)
        else:
            yield from self._made

    def _gone_through(self, wrong: Callable[[str, str], None]) -> Iterator[Text]:
        sequence, right = 0, True
        made: list[Text] = []
        for row in self._rows:
            try:
                line = _read(Line, row.fields)
                orders = [(line.role or self.head.role, order) for order in self._orders(line)]
            except (InvalidRequest, ProviderError, MissingExtra) as error:
                wrong(row.place, told(error))
                right = False
                continue
            for role, order in orders:
                text = Text(sequence, row.place, role, order)
                yield text
                sequence += 1
                if sequence <= _REMEMBERED:
                    made.append(text)
        if right and sequence <= _REMEMBERED:
            self._made = made

    def _orders(self, line: Line) -> Iterable[Order]:
        if len(line.text) > (longest := self._bounds.longest):
            raise InvalidRequest(f"The text has {len(line.text):,} characters, of {longest:,} at most.")
        request = self._request(line)
        voices: Sequence[str | None] = self._several(line, "voices") or (None,)
        for voice in voices:
            for name in self._several(line, "formats") or ("mp3",):
                asked = replace(in_voice(self._cast, request, voice), format=any_format_of(name))
                yield self._cast.chain(asked, Steering(keep=self.head.keep)).first

    def _several(self, line: Line, name: str) -> Sequence[str] | None:
        own = None if name in self.head._above else getattr(line, name)
        found: Sequence[str] | None = own or getattr(self.head, name)
        return found

    def _request(self, line: Line) -> SpeechRequest:
        def chosen(name: str, otherwise: Any = None) -> Any:
            own = getattr(line, name)
            found = getattr(self.head, name) if own is None else own
            return otherwise if found is None else found

        request = SpeechRequest(
            text=line.text,
            upstream=chosen("provider"),
            model=chosen("model"),
            language=chosen("language"),
            speed=chosen("speed", 1.0),
            pitch=chosen("pitch", 0.0),
            style=chosen("style"),
            instructions=chosen("instructions"),
            options=chosen("options", {}),
            variation=chosen("variation", 0),
            owner=Owner(self._bounds.tenant, chosen("scope", Scope.TENANT), chosen("user"), chosen("session")),
        )
        if request.owner.scope is Scope.SHARED and not self._bounds.share:
            raise InvalidRequest("What this key has spoken may not be shared with other tenants.", param="scope")
        return self._cast.cleaned(request, chosen("cleaning", Cleaning.OFF))


def in_voice(cast: Cast, request: SpeechRequest, voice: str | None) -> SpeechRequest:
    """The request in that voice, which may name another upstream: that one has models and options of its own."""
    name = (voice or "").partition("/")[0]
    if name in cast.upstreams and request.upstream not in (None, name):
        return replace(request, voice=voice, upstream=None, model=None, options={})
    return replace(request, voice=voice)


def head_of(rows: Rows, **given: object) -> Head:
    """What a manifest says of itself, but for what is `given` otherwise, of every row. InvalidRequest where that is
    wrong."""
    given = {name: value for name, value in given.items() if value}
    replaced = {word for name in given for word in (name, _ALSO.get(name))}
    own = {name: value for name, value in rows.head.items() if name not in replaced}
    try:
        head: Head = _read(Head, {**own, **given})
        head._above = frozenset(given)
        return head
    except InvalidRequest as error:
        raise InvalidRequest(f"The manifest's head is wrong: {error.message}", param=error.param) from error


def refused(wrong: Sequence[tuple[str, str]], more: int) -> InvalidRequest:
    """Why a manifest is not spoken: its wrong rows, each with where it stands, and how many `more` there are."""
    lines = [f"{place}: {why}" for place, why in wrong[:_MOST_WRONG]]
    more += len(wrong) - len(lines)
    lines += [f"… and {more:,} more"] if more else []
    return InvalidRequest(
        "The manifest is not spoken, and nothing was paid, since this is wrong:\n  " + "\n  ".join(lines),
        param="items",
    )


def told(error: InvalidRequest | ProviderError | MissingExtra) -> str:
    """An error in one line."""
    return f"{error.message} {error.remedy}".strip() if error.remedy else error.message


def _read(model: type[Any], fields: Mapping[str, object]) -> Any:
    """The fields as a model has them; an empty cell is none."""
    given = {name: value for name, value in fields.items() if value not in (None, "")}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)[0]
        refusal = _invalid(wrong["type"], ".".join(str(part) for part in wrong["loc"][:1]), wrong["msg"])
        if len(fields) == 1 and wrong["type"] == "missing" and set(";\t") & set(next(iter(fields))):
            refusal.remedy = "The cells of a CSV are separated by commas."
        raise refusal from None


def _invalid(kind: str, field: str, message: str) -> InvalidRequest:
    if kind == "missing":
        return InvalidRequest(f"The field '{field}' is missing.", param=field)
    if kind == "extra_forbidden":
        return InvalidRequest(f"There is no field '{field[:100]}'.", param=field[:100])
    if kind == "string_pattern_mismatch":
        message = "it holds characters that no name has"
    for theirs, ours in _OUR_WORDS.items():
        message = message.replace(theirs, ours)
    return InvalidRequest(f"The field '{field}' is wrong: {message}.", param=field)
