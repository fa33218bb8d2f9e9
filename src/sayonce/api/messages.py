"""The chat message's door: `POST /api/tts/speak`.

A message's audio is kept for its user alone, and only where saving is asked for, the user is known and both ids are
there; else it is spoken, and nothing is asked or kept.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import ClassVar

from fastapi import FastAPI
from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Receive, Scope

from sayonce.api import answers
from sayonce.api.bodies import Name, Names, parse
from sayonce.api.desk import Desk, Visit, cleaned, named, read_body
from sayonce.api.door import Door, hang
from sayonce.app import Gateway
from sayonce.cache.answers import Answer, Whole
from sayonce.cache.cast import Cleaning
from sayonce.cache.orders import Chain, Outcome, Placement, Steering
from sayonce.catalog.records import Use
from sayonce.errors import InvalidText, TextTooLong
from sayonce.speech.requests import Owner, SpeechRequest
from sayonce.speech.requests import Scope as Sharing
from sayonce.storage.paths import PathTemplate

_MOST_BYTES_A_CHARACTER = 12  # a surrogate pair, escaped
# Spoken anew, and nothing of it kept.
_APART = Steering(no_store=True, no_cache=True)


class MessageBody(BaseModel):
    """The door's body. What else a chat sends along is not looked at."""

    model_config = ConfigDict(extra="ignore")

    text: str | None = None
    voice: Name | None = Field(default=None, validation_alias=AliasChoices("voice", "voiceId", "voice_id"))
    provider: Name | None = None
    model: Name | None = None
    language: Name | None = None
    speed: float = Field(default=1.0, allow_inf_nan=False)
    message_id: Name | None = Field(default=None, validation_alias=AliasChoices("message_id", "messageId"))
    thread_id: Name | None = Field(default=None, validation_alias=AliasChoices("thread_id", "threadId"))
    save_to_volume: bool = Field(default=False, validation_alias=AliasChoices("save_to_volume", "saveToVolume"))
    chain: Names | None = None
    cleaning: Cleaning | None = None


class MessageDoor(Door):
    """`POST /api/tts/speak`: MP3 of a message, cleaned before it is spoken."""

    words: ClassVar[Mapping[str, str]] = {"input": "text", "upstream": "provider"}

    def __init__(self, gateway: Gateway, desk: Desk) -> None:
        super().__init__(gateway)
        self._desk = desk
        settings = gateway.settings
        self._longest = settings.max_text
        self._own = PathTemplate(settings.message_path)
        self._others = PathTemplate("tenants/{tenant}/" + settings.message_path)

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        began = time.perf_counter()
        visit = await self._desk.receive(scope)
        most = self._longest * _MOST_BYTES_A_CHARACTER + 65_536
        body = parse(MessageBody, await read_body(receive, visit.headers, most))
        user = self._user(visit)
        saved = body.save_to_volume and bool(user and body.thread_id and body.message_id)
        chain = await self._chain(body, visit, user if saved else None)
        engine = self.gateway.engine
        answer = engine.recall(chain.first) or await engine.say(chain)
        await engine.file(answer)
        repeat = answers.repeat_of(answer, chain, visit.caller) if saved and self._is_filed(answer) else None
        spoken = answers.audio(answer, began, repeat)
        if not saved:
            spoken.headers[1] = (b"x-tts-cache", Outcome.DISABLED.encode())
        return spoken

    def _is_filed(self, answer: Answer) -> bool:
        """Whether it lies at its message's place, so that nothing is left to do for who asks again."""
        placement = answer.order.placement
        if placement is None or not isinstance(answer, Whole):
            return False
        return self.gateway.shelf.holds(answer.clip.asset, placement.path_of(answer.clip.asset))

    async def _chain(self, body: MessageBody, visit: Visit, user: str | None) -> Chain:
        cast, settings = self.gateway.cast, self.gateway.settings
        how = visit.cleaning(body.cleaning, Cleaning(settings.message_cleaning))
        tenant = visit.caller.tenant.id
        owner = Owner(tenant) if user is None else Owner(tenant, Sharing.USER, user)
        request = await cleaned(cast, self._request(body, owner), how)
        if user is None:
            return cast.chain(request, _APART, visit.chain(body.chain))
        return cast.chain(request, visit.steering, visit.chain(body.chain)).at(self._placement(body, tenant, user))

    def _request(self, body: MessageBody, owner: Owner) -> SpeechRequest:
        text = body.text or ""
        if not text.strip():
            raise InvalidText("Text is required", param="text")
        if len(text) > self._longest:
            raise TextTooLong(
                f"The text has {len(text)} characters.", param="text", remedy=f"Send at most {self._longest}."
            )
        return SpeechRequest(
            text=text,
            upstream=body.provider,
            model=body.model,
            voice=body.voice,
            language=body.language,
            speed=body.speed,
            owner=owner,
        )

    def _user(self, visit: Visit) -> str | None:
        """The user, as a key's holder tells it."""
        header = self.gateway.settings.user_header.lower()
        return named("user", visit.header(header)) if header else None

    def _placement(self, body: MessageBody, tenant: str, user: str) -> Placement:
        thread, message = body.thread_id or "", body.message_id or ""
        fields = {"tenant": tenant, "user": user, "thread": thread, "message": message, "ext": "mp3"}
        template = self._own if tenant == "default" else self._others
        path = template.render(fields)
        return Placement(lambda _: path, Use("message", json.dumps([tenant, user, thread, message])))


def speak_message(body: MessageBody) -> None:
    """MP3 of a chat message. With `save_to_volume`, a known user, a thread and a message, it is kept for that user;
    else X-TTS-Cache says `disabled`."""


def hang_doors(app: FastAPI, gateway: Gateway, desk: Desk) -> None:
    """Hangs this door."""
    hang(app, "/api/tts/speak", "POST", MessageDoor(gateway, desk), speak_message)
