"""Every setting as a row, for people: what `sayonce settings` shows and the docs' page is made of."""

from __future__ import annotations

from dataclasses import dataclass

from sayonce.redaction import shown
from sayonce.settings import Settings, environment

_NONE = {"keep": "forever"}


@dataclass(frozen=True, slots=True)
class Row:
    """One setting, for people: secrets are struck out."""

    name: str
    environment: str
    default: str
    value: str
    description: str


def table(settings: Settings) -> list[Row]:
    """Every setting, in the model's order."""
    return [
        Row(
            name=name,
            environment=environment(name),
            default=_default(name, field.default),
            value=shown(getattr(settings, name), none=_NONE.get(name, "")),
            description=field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


def _default(name: str, value: object) -> str:
    return "the platform's data folder" if name == "data_dir" else shown(value, none=_NONE.get(name, ""))
