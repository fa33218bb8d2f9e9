"""An import and an export that are told to end in the middle leave nothing half, and a further run goes on."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import until
from tests.e2e.processes import SAYONCE, command, environment, refuse_unsound
from tests.integration.importing.conftest import TEXT, folder_of, recording

MANY = 600


async def ended(*words: str, by: signal.Signals, env: dict[str, str], when: Callable[[], object]) -> tuple[int, str]:
    """The exit code and the errors of a command that gets the signal as soon as that is so."""
    process = await asyncio.create_subprocess_exec(
        *SAYONCE,
        *words,
        env=env,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )
    await until(lambda: when() or process.returncode is not None)
    process.send_signal(by)
    _, told = await process.communicate()
    assert process.returncode is not None
    return process.returncode, told.decode()


def partials(root: Path) -> list[str]:
    return [path.name for path in root.rglob("*") if ".partial" in str(path.relative_to(root)) and path.is_file()]


@pytest.mark.parametrize(("by", "says"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_an_import_and_an_export_that_are_told_to_end(by: signal.Signals, says: int, tmp_path: Path) -> None:
    data, out, heard = tmp_path / "data", tmp_path / "out", recording()
    rows = [{"file": "a.mp3", "text": f"{TEXT} {n}", "voice": "nova", "model": "tts-1"} for n in range(MANY)]
    folder = folder_of(tmp_path / "in", rows, {"a.mp3": heard})
    env = environment(data, "http://127.0.0.1:9")

    code, told = await ended("import", str(folder), by=by, env=env, when=lambda: next(data.rglob("*.mp3"), None))
    assert (code, "Traceback" in told, partials(data)) == (says, False, [])
    with sqlite3.connect(data / "catalog.db") as catalog:
        assert catalog.execute("SELECT count(*) FROM leases").fetchone() == (0,)
    _, printed, _ = await command("import", str(folder), "--json", env=env)
    report = json.loads(printed)
    assert (report["imported"] + report["known"], refuse_unsound(data)) == (MANY, MANY)

    code, told = await ended("export", str(out), by=by, env=env, when=lambda: next(out.rglob("*.mp3"), None))
    assert (code, "Traceback" in told, partials(out)) == (says, False, ["manifest.jsonl.partial"])
    _, printed, _ = await command("export", str(out), "--json", env=env)
    report = json.loads(printed)
    assert (report["written"] + report["there"], report["there"] > 0, partials(out)) == (MANY, True, [])
