"""One spelling for texts that sound the same, so that they are paid for once.

Unicode's NFC; trimmed; each run of white space one space, or one blank line where it broke a paragraph; quotes,
dashes and ellipses in one form. Case is kept: "US" and "us" are two words. Applying it twice changes nothing.
"""

from __future__ import annotations

import re
import unicodedata

from sayonce.errors import InvalidText

#: Enters every recipe hash; raised whenever the rules below change what any text becomes.
VERSION = "1"

# Unicode's Stream-Safe Text Format (UAX #15, section 13) ends a run after 30 marks. Longer ones are no
# language's, and normalising them takes time that grows with their square.
_LONGEST_MARK_RUN = 30

_ONE_FORM = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛‹›", "'"),
        **dict.fromkeys("“”„‟«»", '"'),
        # The en dash, because between digits it is a range in either form, and elsewhere a pause in either form.
        **dict.fromkeys("‒–—―", "–"),
        **dict.fromkeys("‐‑", "-"),
        "\u2028": "\n",
        "\u2029": "\n\n",
        "\x85": "\n",
    }
)
_WHITE_SPACE = re.compile(r"\s+")


def normalise(text: str) -> str:
    """`text` in its one spelling; InvalidText where it cannot be spoken at all."""
    if _is_plain(text):
        return text
    _refuse_unspeakable(text)
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_ONE_FORM)
    text = _WHITE_SPACE.sub(_one_gap, text).strip().replace("...", "…")
    text = unicodedata.normalize("NFC", text)
    if not text:
        raise InvalidText("The text is empty.", param="input", remedy="Send at least one word to speak.")
    return text


def _is_plain(text: str) -> bool:
    """Printable ASCII with single spaces: what most texts are, found so without touching a character in Python."""
    return (
        text.isascii()
        and text.isprintable()
        and "  " not in text
        and "..." not in text
        and text != ""
        and text[0] != " "
        and text[-1] != " "
    )


def _one_gap(run: re.Match[str]) -> str:
    return "\n\n" if run.group().count("\n") > 1 else " "


def _refuse_unspeakable(text: str) -> None:
    marks = 0
    for place, char in enumerate(text):
        if char < " " or char == "\x7f":
            if not char.isspace():
                raise _unspeakable(f"the control character U+{ord(char):04X}", place)
        elif char > "\x7f":
            if "\ud800" <= char <= "\udfff":
                raise _unspeakable(f"a lone surrogate, U+{ord(char):04X}, which is no character", place)
            marks = marks + 1 if unicodedata.combining(char) else 0
            if marks > _LONGEST_MARK_RUN:
                raise _unspeakable(f"more than {_LONGEST_MARK_RUN} combining marks in a row", place)
        else:
            marks = 0


def _unspeakable(what: str, place: int) -> InvalidText:
    return InvalidText(f"The text holds {what} at character {place + 1}.", param="input", remedy="Remove it.")
