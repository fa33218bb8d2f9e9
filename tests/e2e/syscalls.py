"""The system calls of a child process, and of all threads that it starts, once it has raised SIGUSR1."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from ptrace.debugger import NewProcessEvent, ProcessExit, ProcessSignal, PtraceDebugger
from ptrace.debugger.child import createChild
from ptrace.func_call import FunctionCallOptions

WATCHED = {"write", "pwrite64", "fsync", "fdatasync", "rename", "renameat", "renameat2", "unlink"}


@dataclass(frozen=True)
class Call:
    """A system call that has returned: its name, and the path that it was on."""

    name: str
    path: str


def calls_of(command: Sequence[str], env: dict[str, str]) -> list[Call]:
    """What the command does after its SIGUSR1, in the order in which the calls began."""
    debugger = PtraceDebugger()
    debugger.traceClone()
    pid = createChild(list(command), False, env)
    debugger.addProcess(pid, is_attached=True).cont()
    seen: list[Call] = []
    watching = False
    try:
        while debugger.list:
            event = debugger.waitProcessEvent()
            watching = _handle(event, seen, watching)
    finally:
        debugger.quit()
    return seen


def _handle(event: object, seen: list[Call], watching: bool) -> bool:
    if isinstance(event, NewProcessEvent):
        for process in (event.process, event.process.parent):
            process.syscall() if watching else process.cont()
    elif isinstance(event, ProcessExit):
        pass
    elif isinstance(event, ProcessSignal) and event.signum == signal.SIGUSR1:
        event.process.syscall()
        return True
    elif isinstance(event, ProcessSignal) and event.signum & 0x7F == signal.SIGTRAP and watching:
        _note(event.process, seen)
        event.process.syscall()
    elif isinstance(event, ProcessSignal):
        event.process.syscall(event.signum) if watching else event.process.cont(event.signum)
    return watching


def _note(process: object, seen: list[Call]) -> None:
    call = process.syscall_state.event(FunctionCallOptions())  # type: ignore[attr-defined]
    if call is None or call.name not in WATCHED or call.result is not None:
        return
    seen.append(Call(call.name, _path(process, call)))


def _path(process: object, call: object) -> str:
    first = call.arguments[1 if call.name == "rename" else 0]  # type: ignore[attr-defined]
    if call.name in ("rename", "unlink"):  # type: ignore[attr-defined]
        return process.readCString(first.value, 4_096)[0].decode()  # type: ignore[attr-defined]
    return os.readlink(f"/proc/{process.pid}/fd/{first.value}")  # type: ignore[attr-defined]
