"""A process that speaks with espeak-ng, one text after another, and knows nothing of sayonce.

It is run as a file of its own, so that the GPL'd library never enters the gateway's process, and its crash is only
its own. It reads requests from standard input and writes frames to standard output; a frame is its length in four
big-endian bytes, its kind in one, and its payload. Kinds: `a` PCM, `m` words as JSON, `d` done, `e` error.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import signal
import sys
import threading
from typing import Any

import espeakng_loader

_SYNCHRONOUS_RETRIEVAL = 2  # AUDIO_OUTPUT_SYNCHRONOUS
_UTF8 = 1  # espeakCHARS_UTF8, and no SSML, no phoneme input: text is only ever text
_WORD, _SENTENCE, _END = 1, 2, 5
_RATE, _VOLUME, _PITCH, _RANGE, _GAP = 1, 2, 3, 4, 7
_FIRST_FRAME_MS = 60
# Later audio goes in larger frames: each costs its reader a wake-up.
_FRAME = 22_050
_LONGEST_CLAUSE = 100
_PAUSES = ".,;:!?…\n、。"


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
        text = with_pauses(request["text"]).encode()
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
                self._words.append((kind, event.audio_position, event.text_position - 1, event.length))
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


def with_pauses(text: str) -> str:
    """The text with a pause in the place of a space wherever a hundred characters would go without one.

    espeak-ng 1.52 keeps 1,000 phonemes of a clause and silently leaves out the rest. The ideographic comma needs no
    space beside it, so no character changes its place.
    """
    characters, since = list(text), 0
    for place, character in enumerate(characters):
        since = 0 if character in _PAUSES else since + 1
        if since >= _LONGEST_CLAUSE and character == " ":
            characters[place], since = "、", 0
    return "".join(characters)


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
