"""An audio format's name: codec, container, rate and bit rate, in the one spelling that enters hashes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How audio is coded: `codec/container/rate/bitrate`, with `-` for what is left to the encoder.

    `rate` is in Hz, `bitrate` in bits a second. `pcm_s16le/raw/24000/-` is OpenAI's `pcm`.
    """

    codec: str
    container: str
    rate: int | None = None
    bitrate: int | None = None

    def __str__(self) -> str:
        return f"{self.codec}/{self.container}/{self.rate or '-'}/{self.bitrate or '-'}"

    def satisfies(self, wanted: AudioFormat) -> bool:
        """Whether audio of this format is what `wanted` asks for, which leaves open what it does not name."""
        return (
            (self.codec, self.container) == (wanted.codec, wanted.container)
            and wanted.rate in (None, self.rate)
            and wanted.bitrate in (None, self.bitrate)
        )

    @classmethod
    @lru_cache(256)  # each row of the catalog names one of a few
    def parse(cls, name: str) -> AudioFormat:
        """The format of its canonical name; ValueError where it is not one."""
        codec, container, rate, bitrate = name.split("/")
        return cls(codec, container, _count(rate), _count(bitrate))


def _count(value: str) -> int | None:
    return None if value == "-" else int(value)


MP3 = AudioFormat("mp3", "mp3")
OPUS = AudioFormat("opus", "ogg")
AAC = AudioFormat("aac", "adts")
FLAC = AudioFormat("flac", "flac")
WAV = AudioFormat("pcm_s16le", "wav")
PCM = AudioFormat("pcm_s16le", "raw", 24_000)

#: The telephone's: a byte a sample, 8,000 a second.
TELEPHONE = {"ulaw": AudioFormat("pcm_mulaw", "raw", 8_000), "alaw": AudioFormat("pcm_alaw", "raw", 8_000)}

#: The formats by the names that OpenAI's dialect gives them.
BY_NAME = {"mp3": MP3, "opus": OPUS, "aac": AAC, "flac": FLAC, "wav": WAV, "pcm": PCM}
