"""Cleaning: what a chat answer needs before it is spoken.

Rules are deterministic, so what they give is the text that is keyed; a cleaner that answers differently each time (a
language model) keys the raw text. Either one's name, with its version, is part of the recipe.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from sayonce.speech.cleaning.markdown import spoken

__all__ = ["RULES", "Cleaner", "clean"]

#: The rules' name and version, as recipes have it. Another version may clean otherwise.
RULES = "rules/1"


def clean(text: str) -> str:
    """Markdown, code, tables, links, emoji, citations and HTML as text that can be spoken; paragraphs have a blank
    line between them. Plain prose stays as it is. Empty where nothing speakable is left."""
    return spoken(text)


class Cleaner(ABC):
    """Cleans otherwise than by rules. Many texts at once."""

    #: Its name and version, as recipes have it: `chat/gpt-4o-mini/1`.
    name: str

    @abstractmethod
    async def clean(self, text: str) -> str:
        """The text as it is to be spoken. CleaningFailed where it could not be had in time, or is none."""

    async def aclose(self) -> None:  # noqa: B027 - most hold nothing
        """Frees what it holds. Called once, last."""
