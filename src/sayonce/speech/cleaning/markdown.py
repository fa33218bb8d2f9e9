"""From Markdown to paragraphs that can be spoken."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

from sayonce.speech.cleaning.words import ended, speakable

# A footnote's text stands apart from what it belongs to, and a task's box is no word of it.
_FOOTNOTE = re.compile(r"^\[\^[^\]\n]{1,40}\]:.*$", re.MULTILINE)
_BOX = re.compile(r"^\[[ xX]\]\s+")
_SILENT = re.compile(r"<!--.*?(?:-->|\Z)|<(script|style)\b[^>]*>.*?(?:</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_SILENT_TAG = re.compile(r"<(/?)(script|style)\b", re.IGNORECASE)
# A link whose label is a number is a citation.
_REFERENCE = re.compile(r"\^?\d{1,3}")
# Deeper nesting than this is read as plain text.
_DEEPEST = 20


def spoken(text: str) -> str:
    """The text of a Markdown document, as a voice would read it."""
    tokens = _parser().parse(_FOOTNOTE.sub("", text))
    return "\n\n".join(_Reading(tokens).paragraphs())


@cache
def _parser() -> MarkdownIt:
    # An indented paragraph is prose here: nobody indents code in a chat without fences.
    options = {"maxNesting": _DEEPEST}
    return MarkdownIt("commonmark", options).enable(["table", "strikethrough"]).disable("code")


class _Reading:
    """One pass over a document's tokens."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._number = ""  # of an ordered item, before its first words
        self._item = False  # whether what comes stands alone, as headings and items do, and so ends as a sentence
        self._cell = False
        self._cells: list[str] = []
        self._header: list[str] = []

    def paragraphs(self) -> Iterator[str]:
        """What is said, one paragraph, item or row after another."""
        for token in self._tokens:
            if token.type in ("th_open", "td_open"):
                self._cell = True
            elif token.type in ("th_close", "td_close"):
                self._cell = False
            elif token.type == "tr_open":
                self._cells = []
            elif token.type == "thead_close":
                self._header = self._cells
            elif said := self._said(token):
                yield said

    def _said(self, token: Token) -> str:
        match token.type:
            case "heading_open":
                self._item, self._number = True, ""
            case "list_item_open":
                self._item, self._number = True, f"{token.info}. " if token.info else ""
            case "heading_close" | "list_item_close":
                self._item = False
            case "inline" if self._cell:
                self._cells.append(speakable(_inline(token)))
            case "inline":
                return self._paragraph(_inline(token))
            case "html_block":
                return self._paragraph(_TAG.sub(" ", _SILENT.sub(" ", token.content)))
            case "tr_close" if self._header:
                return self._row()
        return ""

    def _paragraph(self, text: str) -> str:
        said = speakable(_BOX.sub("", text))
        if not said:
            return ""
        said, self._number = self._number + said, ""
        return ended(said) if self._item else said

    def _row(self) -> str:
        named = zip(self._header, self._cells, strict=False)
        told = [f"{header}: {cell}" if header else cell for header, cell in named if cell]
        return ended(", ".join(told))


def _inline(token: Token) -> str:
    """The words of a line: labels of links, what images show, code as it is written; no tags."""
    said: list[str] = []
    silent = label = 0
    for child in token.children or ():
        match child.type:
            case "html_inline":
                found = _SILENT_TAG.match(child.content)
                silent = max(silent + (0 if found is None else -1 if found[1] else 1), 0)
                said.append(" " if child.content.lower().startswith("<br") else "")
            case "softbreak" | "hardbreak":
                said.append("\n")
            case "link_open":
                label = len(said)
            case "link_close" if _REFERENCE.fullmatch("".join(said[label:])):
                del said[label:]
            case "image" | "text" | "code_inline" if not silent:
                said.append(child.content)
    return "".join(said)
