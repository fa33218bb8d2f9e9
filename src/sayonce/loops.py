"""The event loop that everything of ours runs on: uvloop, where there is one."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

# What a shell says of who was ended by SIGTERM.
_TERMINATED = 128 + signal.SIGTERM


def run(main: Coroutine[Any, Any, T], *, own_signals: bool = False) -> T:
    """As `asyncio.run`, and told to end (SIGTERM) it ends as interrupted, after what it does last: unless it has
    handlers of its own for that. What is loaded by now stays loaded, and is not searched for garbage again and
    again."""
    gc.freeze()
    heeds = not own_signals and threading.current_thread() is threading.main_thread()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_until_told(main) if heeds else main)


async def _until_told(main: Coroutine[Any, Any, T]) -> T:
    task, told = asyncio.current_task(), asyncio.Event()
    assert task is not None

    def heed() -> None:
        told.set()
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, heed)
    try:
        return await main
    except asyncio.CancelledError:
        if told.is_set():
            sys.exit(_TERMINATED)
        raise


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
