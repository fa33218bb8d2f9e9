"""A process that speaks with espeak-ng, one text after another, and knows nothing of sayonce.

It is run as a file of its own, so that the GPL'd library never enters the gateway's process, and its crash is only
its own. It reads requests from standard input and writes frames to standard output; a frame is its length in four
big-endian bytes, its kind in one, and its payload. Kinds: `a` PCM, `m` words as JSON, `d` done, `e` error.
"""

from __future__ import annotations

import bisect
import ctypes
import json
import os
import queue
import signal
import sys
import threading
import unicodedata
from typing import Any

import espeakng_loader

_SYNCHRONOUS_RETRIEVAL = 2  # AUDIO_OUTPUT_SYNCHRONOUS
_UTF8 = 1  # espeakCHARS_UTF8, and no SSML, no phoneme input: text is only ever text
_WORD, _SENTENCE, _END = 1, 2, 5
_RATE, _VOLUME, _PITCH, _RANGE, _GAP = 1, 2, 3, 4, 7
_FIRST_FRAME_MS = 60
# Later audio goes in larger frames: each costs its reader a wake-up.
_FRAME = 22_050
# Phonemes, as the functions below count them: generously.
_LONGEST_WORD, _LONGEST_CLAUSE = 150, 800


class _Event(ctypes.Structure):
    # espeak_EVENT of speak_lib.h, espeak-ng 1.52.
    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_int64),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Speaker:
    """The library, with its callback, and the output that frames go to."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        rate = self._library.espeak_Initialize(
            _SYNCHRONOUS_RETRIEVAL, _FIRST_FRAME_MS, os.fsencode(espeakng_loader.get_data_path()), 0
        )
        self._callback = _Callback(self._came)  # kept: the library does not
        self._library.espeak_SetSynthCallback(self._callback)
        self._pcm = bytearray()
        self._words: list[tuple[str, int, int, int]] = []
        self._text = Paced("")
        self._begun = False
        self.rate = rate

    def speak(self, request: dict[str, Any]) -> None:
        self._pcm.clear()
        self._words.clear()
        self._begun = False
        if self._library.espeak_SetVoiceByName(request["voice"].encode()) != 0:
            write(b"e", json.dumps("no such voice").encode())
            return
        for parameter, value in (
            (_RATE, request["rate"]),
            (_VOLUME, request["volume"]),
            (_PITCH, request["pitch"]),
            (_RANGE, request["range"]),
            (_GAP, request["gap"]),
        ):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._text = Paced(request["text"])
        text = self._text.given.encode()
        self._library.espeak_Synth(text, len(text) + 1, 0, 1, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        self._pass_on(0)
        write(b"d", b"")

    def _came(self, samples: Any, count: int, events: Any) -> int:
        at = 0
        while events[at].type:
            event = events[at]
            if event.type in (_WORD, _SENTENCE, _END):
                kind = {_WORD: "word", _SENTENCE: "sentence"}.get(event.type, "end")
                first = self._text.place(event.text_position - 1)
                length = self._text.place(event.text_position - 1 + event.length) - first
                self._words.append((kind, event.audio_position, first, length))
            at += 1
        if count:
            self._pcm += ctypes.string_at(samples, count * 2)
        self._pass_on(_FRAME if self._begun else 1)
        return 0

    def _pass_on(self, least: int) -> None:
        if len(self._pcm) < least:
            return
        if self._words:
            write(b"m", json.dumps(self._words).encode())
            self._words.clear()
        if self._pcm:
            write(b"a", bytes(self._pcm))
            self._pcm.clear()
            self._begun = True


class Paced:
    """A text as espeak is given it: with breaks wherever it would leave words out, and the way back from a place in
    it to the place in the text.

    espeak-ng 1.52 keeps 200 phonemes of a word and 1,000 of a clause, and silently leaves out the rest (measured).
    """

    def __init__(self, text: str) -> None:
        self._breaks: list[int] = []  # places of what is not the text's own
        self._given: list[str] = []
        self._word = self._clause = 0
        for place, character in enumerate(text):
            if character.isspace():
                self._word = 0
            self._break_before(character, text[place - 1] if place else "")
            self._given.append(character)
            self._word += 0 if character.isspace() else _in_word(character)
            self._clause = 0 if _ends_clause(text, place) else self._clause + _in_clause(character)
        self.given = "".join(self._given)

    def _break_before(self, character: str, before: str) -> None:
        apart = character.isspace()
        if self._clause >= _LONGEST_CLAUSE and (apart or self._must_break(character, before)):
            self._insert(" 、" if apart else " 、 ")
            self._word = self._clause = 0
        elif self._must_break(character, before):
            self._insert(" 、 " if before == "." else " ")  # letters with dots stay one word across a space
            self._word = 0

    def _must_break(self, character: str, before: str) -> bool:
        return self._word >= _LONGEST_WORD * (2 if _belongs(character, before) else 1)

    def _insert(self, characters: str) -> None:
        self._breaks += range(len(self._given), len(self._given) + len(characters))
        self._given += characters

    def place(self, place: int) -> int:
        """The text's own place, of a place in what espeak is given."""
        return place - bisect.bisect_left(self._breaks, place)


def _in_word(character: str) -> int:
    """As many phonemes as a character may be in a word: one said by its name is up to nine."""
    if unicodedata.combining(character):
        return 2
    return 4 if character.islower() else 5 if character.isalnum() and not character.isupper() else 9


def _in_clause(character: str) -> int:
    """As many phonemes as it may be in a clause, where "Chinese letter" and an emoji's name are words."""
    return 8 if character < "\u1000" else 12 if character.isalpha() else 40


def _ends_clause(text: str, place: int) -> bool:
    """Whether espeak takes a breath here: a mark before a space, or one that needs none."""
    return text[place] in "\n、。！？；：" or (text[place] in ".,;:!?…" and text[place + 1 : place + 2].isspace())


def _belongs(character: str, before: str) -> bool:
    """Whether a character and the one before it are one: an accent, the parts of an emoji."""
    return before == "\u200d" or unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf", "Sk")


def write(kind: bytes, payload: bytes) -> None:
    """A frame to standard output. The reader's end being closed ends this process."""
    frame = memoryview(len(payload).to_bytes(4, "big") + kind + payload)
    try:
        while frame:
            frame = frame[os.write(1, frame) :]
    except BrokenPipeError:
        os._exit(0)


def _requests(incoming: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Reads requests while the main thread speaks, so that the gateway's death is noticed at once."""
    source = sys.stdin.buffer
    try:
        while len(size := source.read(4)) == 4:
            incoming.put(json.loads(source.read(int.from_bytes(size, "big"))))
    finally:
        os._exit(0)  # Also in the middle of a request, which is no JSON then.


def main() -> None:
    """Speaks until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the gateway's to handle
    incoming: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    speaker = _Speaker()
    threading.Thread(target=_requests, args=(incoming,), daemon=True).start()
    write(b"r", str(speaker.rate).encode())
    while True:
        speaker.speak(incoming.get())


if __name__ == "__main__":
    main()
