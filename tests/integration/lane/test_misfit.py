"""Where uvicorn is not inside as the lane expects, there is no lane, and that is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sayonce.api.lane_check import misfit
from tests.conftest import MakeHouse


async def test_the_uvicorn_that_is_locked_fits() -> None:
    assert await misfit() is None


def swallowed(self: Any, *_: Any) -> None:
    """Forgets what the parser told."""


def differently(complete: Callable[[Any], None]) -> Callable[[Any], None]:
    def of_another_kind(self: Any) -> None:
        self.scope["type"] = "http" if type(self) is HttpToolsProtocol else "other"
        complete(self)

    return of_another_kind


@pytest.mark.parametrize(
    ("what", "instead"),
    [
        ("on_message_begin", swallowed),
        ("on_headers_complete", differently(HttpToolsProtocol.on_headers_complete)),
    ],
)
async def test_another_uvicorn_does_not(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch, what: str, instead: Callable[..., None]
) -> None:
    house = await make_house()  # its own server has the uvicorn that there is
    monkeypatch.setattr(HttpToolsProtocol, what, instead)
    told = await misfit()
    assert told is not None
    assert told.startswith("uvicorn 0.")
    monkeypatch.undo()
    assert (await house.http.get("/api/health")).json()["hot_lane"] == "on"


async def test_it_is_said(make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    async def does_not_fit() -> str:
        return "uvicorn 9.9 answers otherwise with it."

    monkeypatch.setattr("sayonce.api.server.misfit", does_not_fit)
    house = await make_house()
    assert (await house.http.get("/api/health")).json()["hot_lane"] == "uvicorn 9.9 answers otherwise with it."
    assert "lane.off" in caplog.text
    for outcome in ("miss", "hit", "hit"):
        assert (await house.speak()).outcome == outcome
