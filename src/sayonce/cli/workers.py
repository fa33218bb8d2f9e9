"""Many workers on one machine: processes that serve one address, and who looks after them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from sayonce.api import server
from sayonce.errors import InvalidSettings
from sayonce.settings import Settings

# The exit code of a worker whose settings are wrong: another would fare no better.
_WRONG = 2
# Who has died is started again so many seconds after its last start, and twice as many the next time, but not more
# than the latter; who has served as long is sound.
_PAUSE, _LONG = 1.0, 30.0
# How much longer a worker may take to end than it drains, listeners are waited for, and flights after them.
_GRACE = 10.0
_HEEDED = {signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGTERM} if os.name == "posix" else set()


def supervise(settings: Settings, environment: Mapping[str, str], announce: Callable[[str], None]) -> int:
    """Runs as many workers as the settings say until told to stop; the exit code. One that dies is started again.
    Each has a listening socket of its own, which stays open meanwhile, so that no connection is refused."""
    if not hasattr(socket, "SO_REUSEPORT"):
        raise InvalidSettings("There are no workers on this system.", remedy="Set workers = 1.")
    with closing(server.listen(settings)) as alone:  # which nobody else's workers would share the port with
        there = settings.model_copy(update={"port": alone.getsockname()[1]})
    listeners = [server.listen(there, shared=True) for _ in range(settings.workers)]
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEEDED)
    with tempfile.TemporaryDirectory(prefix="sayonce-") as folder:
        workers = [_Worker(n, each, Path(folder), environment) for n, each in enumerate(listeners)]
        announce(server.address_of(listeners[0]))
        return _watch(workers, settings.drain_seconds + 2 * settings.shutdown_seconds + _GRACE)


class _Worker:
    """One place among the workers, and the process that fills it."""

    def __init__(self, number: int, listener: socket.socket, folder: Path, environment: Mapping[str, str]) -> None:
        self._listener = listener
        self._environment = environment
        self._options = ("--worker", str(number), "--listener", str(listener.fileno()), "--folder", str(folder))
        self._pause = _PAUSE
        self._first = True
        self.start()

    def start(self) -> None:
        self._began, self._died = time.monotonic(), 0.0
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sayonce.cli", "serve", *self._options],
            stdin=subprocess.PIPE,  # closes when the supervisor dies, which ends the worker
            env={**os.environ, **self._environment},
            pass_fds=[self._listener.fileno()],
        )

    def let_go(self) -> None:
        """Leaves the listening socket to the process, which closes it when it has drained: nobody is to wait there
        for a process that will never come."""
        self._listener.close()

    def heed(self) -> None:
        """Fills a dead process's place again: at once where it lived long, and the later the oftener it did not."""
        now = time.monotonic()
        self._died = self._died or now
        if self._died - self._began > _LONG:
            self._pause = _PAUSE
        if now - self._began > self._pause:
            self._first, self._pause = False, min(2 * self._pause, _LONG)
            self.start()

    @property
    def never_served(self) -> bool:
        """Whether its first process has ended over its settings, soon after its start."""
        return self._first and self.process.poll() == _WRONG and time.monotonic() - self._began < _LONG


def _watch(workers: Sequence[_Worker], patience: float) -> int:
    wrong, end = False, None
    while True:
        told = signal.sigtimedwait(_HEEDED, _PAUSE)
        number = 0 if told is None else told.si_signo
        if number == signal.SIGHUP:
            _tell(workers, signal.SIGHUP)
        hopeless = end is None and any(each.never_served for each in workers)
        if hopeless or number in (signal.SIGINT, signal.SIGTERM):
            wrong, end = wrong or hopeless, end or time.monotonic() + patience
            _tell(workers, signal.SIGTERM)
            for worker in workers:
                worker.let_go()
        dead = [worker for worker in workers if worker.process.poll() is not None]
        if end is None:
            for worker in dead:
                worker.heed()
        elif len(dead) == len(workers):
            return _WRONG if wrong else 0
        elif time.monotonic() > end:
            _tell(workers, signal.SIGKILL)


def _tell(workers: Sequence[_Worker], what: signal.Signals) -> None:
    for worker in workers:
        if worker.process.poll() is None:
            worker.process.send_signal(what)
