"""What is left of kept audio, for who has heard its beginning while it was streamed."""

from __future__ import annotations

from sayonce.audio import framing, wav
from sayonce.speech.formats import AudioFormat

# Where a FLAC file's first block ends, which tells its length.
_FLAC_HEADER = 42


def rest_of(kept: bytes, heard: bytes, audio_format: AudioFormat) -> bytes | None:
    """What follows in `kept` on what was `heard`; None where the two are not of one piece. What is kept may tell its
    length in its header, or in a frame before all others, where what was streamed could not (decision 0005)."""
    before, header = _before(kept, audio_format), min(_header(kept, audio_format), len(heard))
    for shift in (0, before):
        if kept[shift + header : shift + len(heard)] == heard[header:]:
            return kept[shift + len(heard) :]
    return None


def _before(kept: bytes, audio_format: AudioFormat) -> int:
    """The length of a frame without sound that only kept audio has."""
    tells = audio_format.codec == "mp3" and b"Info" in kept[:64]
    return framing.mp3_frame(kept, 0) if tells and framing.is_mp3_frame(kept) else 0


def _header(kept: bytes, audio_format: AudioFormat) -> int:
    """The length of what may differ."""
    if audio_format.container == "wav":
        return wav.read_header(kept).start
    return _FLAC_HEADER if audio_format.codec == "flac" else 0
