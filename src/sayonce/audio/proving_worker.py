"""A process that proves audio, one file after another, until its pipe ends."""

from __future__ import annotations

import json
import os
import signal
import sys

from sayonce.audio.probe import Undecodable, probe
from sayonce.speech.formats import AudioFormat


def main() -> None:
    """Reads requests, a format's name and a line's end before the bytes; answers with the kinds `p` and a Probe's
    fields, or `u` and why it is Undecodable."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the gateway's to handle
    source = sys.stdin.buffer
    _write(b"r", b"")
    while len(size := source.read(4)) == 4:
        name, _, data = source.read(int.from_bytes(size, "big")).partition(b"\n")
        try:
            found = probe(data, AudioFormat.parse(name.decode()))
        except Undecodable as error:
            _write(b"u", str(error).encode())
        else:
            _write(b"p", json.dumps([found.duration, found.sample_rate, found.channels, found.samples]).encode())


def _write(kind: bytes, payload: bytes) -> None:
    frame = memoryview(len(payload).to_bytes(4, "big") + kind + payload)
    while frame:
        frame = frame[os.write(1, frame) :]
