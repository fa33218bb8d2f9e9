"""Bodies as callers send them, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from sayonce.cache.cast import Cleaning
from sayonce.errors import InvalidRequest

Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Words = Annotated[str, StringConstraints(max_length=4096)]
Names = Annotated[tuple[Name, ...], Field(max_length=20)]
B = TypeVar("B", bound=BaseModel)


class VoiceId(BaseModel):
    """A voice of one's own, as OpenAI's clients name it."""

    id: Name


class SpeechBody(BaseModel):
    """OpenAI's `POST /v1/audio/speech`, and our own fields. Further ones are the upstream's to know."""

    model_config = ConfigDict(extra="allow")

    model: Name
    input: str
    voice: Name | VoiceId
    response_format: str = "mp3"
    speed: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    instructions: Words | None = None
    stream_format: str | None = None
    language: Name | None = None
    variation: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    scope: str | None = None
    user: str | None = None
    session: str | None = None
    chain: Names | None = None
    cleaning: Cleaning | None = None


class VoiceBody(BaseModel):
    """Our own `POST /api/voice`."""

    model_config = ConfigDict(extra="forbid")

    text: str
    voice: Name | None = Field(default=None, validation_alias=AliasChoices("voice", "voiceId", "voice_id"))
    provider: Name | None = None
    model: Name | None = Field(default=None, validation_alias=AliasChoices("model", "modelId", "model_id"))
    language: Name | None = Field(default=None, validation_alias=AliasChoices("language", "languageCode"))
    format: str = Field(default="mp3", validation_alias=AliasChoices("format", "outputFormat", "response_format"))
    speed: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    pitch: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    style: Words | None = None
    instructions: Words | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    variation: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    scope: str | None = None
    user: str | None = Field(default=None, validation_alias=AliasChoices("user", "userId", "user_id"))
    session: str | None = Field(default=None, validation_alias=AliasChoices("session", "sessionId", "session_id"))
    chain: Names | None = None
    cleaning: Cleaning | None = None


def parse(model: type[B], raw: bytes) -> B:
    """The body of those bytes; InvalidRequest, naming the field, where they are none."""
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise _first_wrong(error) from error


def parse_query(model: type[B], query: Mapping[str, str]) -> B:
    """The same of a query's parameters."""
    try:
        return model.model_validate(query)
    except ValidationError as error:
        raise _first_wrong(error) from error


def _first_wrong(error: ValidationError) -> InvalidRequest:
    wrong = error.errors(include_input=False, include_url=False)[0]
    return _invalid(wrong["type"], tuple(str(part) for part in wrong["loc"]), wrong["msg"])


def _invalid(kind: str, location: tuple[str, ...], message: str) -> InvalidRequest:
    if kind in ("json_invalid", "json_type") or not location:
        return InvalidRequest("The body is no valid JSON object.", remedy="Send JSON in UTF-8, not nested too deep.")
    field = location[0]
    if kind == "missing":
        return InvalidRequest(f"The field '{field}' is missing.", param=field, remedy="Send it.")
    if kind == "extra_forbidden":
        return InvalidRequest("There is no such field.", param=field[:100], remedy="Leave it out.")
    if kind == "string_pattern_mismatch":
        message = "it holds characters that no name has"
    return InvalidRequest(f"The field '{field}' is wrong: {message}.", param=field, remedy="Mend it.")
