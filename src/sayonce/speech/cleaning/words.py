"""Rules on the words of a line: what no voice should read out."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

# Pictures among the letters (Unicode 16's emoji and the signs beside them): pictographs, dingbats, flags, the marks
# that join and colour them, boxes, blocks and bullets.
_PICTURES = re.compile(
    "[\U0001f000-\U0001faff\u2300-\u23ff\u2500-\u27bf\u2b00-\u2bff\ufe0e\ufe0f\u200d\u20e3\u2022\u2023\u2043\u3030"
    "\U000e0020-\U000e007f]+"
)
_ARROWS = re.compile("\\s*[\u2190-\u21ff]+\\s*")
_SHORTCODE = re.compile(r"(?<![\w:]):[a-z][a-z0-9_+-]{1,40}:(?![\w:])")
# [1], [1, 2], [1-3], [^note], 【3†source】, [citation needed]
_NUMBERS = r"[1-9]\d{0,2}(?:\s?[,\u2013-]\s?[1-9]\d{0,2}){0,20}"
_CITATION = re.compile(rf"\s?(?:\[(?:{_NUMBERS}|\^[^\]\s]{{1,40}}|citation needed)\]|【[^】]{{0,200}}】)")
_ADDRESS = re.compile(r"(?:https?://|www\.)[^\s<>\"'\u201c\u201d]+", re.IGNORECASE)
_TRAILING = ".,;:!?)]}*_'\""
_FORMULA = re.compile(r"\$(?!\s)([^$\n]{1,400}?[\\^_={}][^$\n]{0,400}?)(?<!\s)\$(?!\d)")
_SPACE_BEFORE = re.compile(r" +([,.;!?])(?=\s|$)")


def speakable(line: str) -> str:
    """A line without what is only there for the eye."""
    line = _ADDRESS.sub(lambda found: _host(found[0]), line)
    line = _FORMULA.sub(r"\1", line.replace("$$", ""))
    line = _CITATION.sub("", line)
    line = _SHORTCODE.sub("", _ARROWS.sub(" ", _PICTURES.sub("", line)))
    return _SPACE_BEFORE.sub(r"\1", " ".join(line.split()))


def ended(sentence: str) -> str:
    """The sentence with a full stop, if it has no end."""
    open_end = sentence[-1:].isalnum() or sentence[-1:] in (")", "]", '"', "'", "%")
    return f"{sentence}." if open_end else sentence


def _host(address: str) -> str:
    plain = address.rstrip(_TRAILING)
    try:
        host = urlsplit(plain if "://" in plain else f"http://{plain}").hostname or ""
    except ValueError:
        host = ""
    return host.removeprefix("www.") + address[len(plain) :]
