"""A process that has loaded sayonce already and forks gateways: each costs a tenth of what it takes to load all anew.

`python -m tests.chaos.nursery` reads orders, one JSON a line, and answers each with the number of the new process. It
ends with its standard input.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from sayonce.cli import main as sayonce

#: What a gateway of these tests comes to load.
_LOADED = (
    *("alembic.command", "asyncpg", "redis.asyncio", "sqlalchemy.dialects.postgresql.asyncpg", "uvloop"),
    *("sayonce.api.server", "sayonce.catalog.postgres", "sayonce.providers.openai", "sayonce.storage.s3"),
)


class Nursery:
    """A running one, as a test sees it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, environment: Mapping[str, str], log: Path) -> int:
        """Forks a gateway on a free port, which says what it says to the end of `log`; its number."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([dict(environment), str(log)]), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


@contextmanager
def nursery() -> Iterator[Nursery]:
    """One that is ready."""
    command = [sys.executable, "-m", "tests.chaos.nursery"]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        yield Nursery(process)


def lives(process: int) -> bool:
    """Whether a process is there."""
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


def main() -> None:
    for name in _LOADED:
        import_module(name)
    assert len(os.listdir("/proc/self/task")) == 1, "no other thread would be there after a fork"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: they are gone as soon as they end
    for line in sys.stdin:
        order = json.loads(line)
        process = os.fork()
        if process == 0:
            _become(*order)
        print(process, flush=True)  # noqa: T201


def _become(environment: dict[str, str], log: str) -> Any:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    nothing = os.open(os.devnull, os.O_RDWR)
    said = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for there, here in ((nothing, 0), (nothing, 1), (said, 2)):
        os.dup2(there, here)
    sys.argv = ["sayonce", "serve", "--port", "0"]
    code: Any = 1
    try:
        sayonce()
        code = 0
    except SystemExit as end:
        code = end.code
    finally:
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    main()
