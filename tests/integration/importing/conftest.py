"""What the tests of importing share: recordings, the folders and tables they lie in, and runs of an import."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import func, select
from typer.testing import CliRunner

from sayonce.batch.importing import Importing, Manner, Report
from sayonce.batch.pieces import Reading, usual
from sayonce.batch.sources.contract import Source
from sayonce.batch.sources.folder import Folder
from sayonce.cache.shelf import Place
from sayonce.catalog.tables import assets, leases
from sayonce.cli import app
from sayonce.speech.formats import MP3, AudioFormat
from sayonce.storage.paths import PathTemplate
from sayonce.testing.vendors.sound import audio, length_of
from tests.conftest import House, until

TEXT = "One sentence that somebody else has paid for."


def recording(text: str = TEXT, audio_format: AudioFormat = MP3, *, take: str = "") -> bytes:
    """Audio that may be that text's."""
    return audio(f"recorded {text} {take}", length_of(text), audio_format)


def folder_of(root: Path, rows: Sequence[Mapping[str, Any]], files: Mapping[str, bytes]) -> Path:
    """A folder with these files and a manifest of these rows."""
    root.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (root / name).write_bytes(data)
    (root / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


async def bring(
    house: House, source: Source | Path, *, doubtful: bool = False, template: str = "", **told: Any
) -> Report:
    """What an import into the house's catalog reports in the end."""
    gateway, settings = house.gateway, house.gateway.settings
    how = {name: told.pop(name) for name in ("keep", "dry", "life", "keep_text") if name in told}
    source = Folder(source, None, {}, settings.max_audio) if isinstance(source, Path) else source
    place = Place(gateway.storages[settings.storage], PathTemplate(template or settings.path_template))
    reading = Reading(gateway.cast, usual(source.head, {"model": "tts-1"} | told), doubtful=doubtful)
    importing = Importing(gateway.catalog, place, reading, Manner(**how), time.time)
    try:
        return [report async for report in importing.run(source)][-1]
    finally:
        await source.aclose()


async def rows_of(house: House) -> list[Any]:
    """The rows of what is kept."""
    database = house.gateway.catalog._database
    return list(await database.read(lambda link: link.execute(select(assets)).all()))


def counted(report: Report) -> dict[str, int]:
    return {str(name): many for name, many in report.count.items() if many}


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `sayonce …` with the settings of the test's house, before OpenAI's upstream."""

    def run(*arguments: str, **environment: str) -> Result:
        for name, value in {
            "SAYONCE_DATA_DIR": str(tmp_path / "data"),
            "OPENAI_API_KEY": "sk-x",
            "OPENAI_BASE_URL": os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:9/v1"),
            **environment,
        }.items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(app, list(arguments))

    return run


async def stopped_while_taking(
    house: House, catalog: Path, owner: type[Any], work: Coroutine[Any, Any, Any], patch: pytest.MonkeyPatch
) -> None:
    """Work of the house's, cancelled when its catalog is giving it its leases."""
    begun, take = asyncio.Event(), owner.take

    async def noted(self: Any, *which: Any) -> Any:
        begun.set()
        return await take(self, *which)

    patch.setattr(owner, "take", noted)
    another = sqlite3.connect(catalog, isolation_level=None)
    another.execute("BEGIN IMMEDIATE")
    running = asyncio.create_task(work)
    waiting = house.gateway.catalog._database._writer._waiting  # type: ignore[attr-defined]
    await until(lambda: begun.is_set() and not waiting)  # by then it is with the database
    running.cancel()
    await asyncio.sleep(0)  # it is told
    another.execute("COMMIT")
    another.close()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()


async def leases_of(house: House) -> int:
    """How many leases there are."""
    database = house.gateway.catalog._database
    return int(await database.read(lambda link: link.execute(select(func.count()).select_from(leases)).scalar_one()))
