"""All checks at once, each with a limit of time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from functools import partial

from sayonce.checkup import catalog, providers, redis, storages
from sayonce.checkup import settings as own_settings
from sayonce.checkup.clock import Clocks
from sayonce.checkup.findings import Check, Finding, Part, Verdict
from sayonce.errors import InvalidSettings
from sayonce.settings import Settings

#: How many seconds each part has.
PATIENCE = 20.0


def is_well(findings: Iterable[Finding]) -> bool:
    """Whether nothing is wrong, and nothing might be."""
    return all(finding.verdict in (Verdict.OK, Verdict.SKIPPED) for finding in findings)


async def check_up(
    load: Callable[[], Settings],
    patience: float = PATIENCE,
    waiting: Callable[[Sequence[str]], None] = lambda _: None,
) -> AsyncIterator[list[Finding]]:
    """What was found, part by part as each is done; `waiting` is told the names of those that are not."""
    try:
        settings = load()
    except InvalidSettings as error:
        yield list(own_settings.refused(error))
        return
    clocks = Clocks()
    running = {asyncio.create_task(each.run(patience)): each for each in _checks(settings, clocks)}
    try:
        while running:
            waiting([each.part.name for each in running.values()])
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield _found(running.pop(task), task)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    yield list(clocks.findings())


def _checks(settings: Settings, clocks: Clocks) -> list[Check]:
    chain = dict.fromkeys([*(settings.chain or ()), settings.speaker])
    return [
        Check(Part("settings"), partial(own_settings.findings, settings)),
        Check(catalog.PART, partial(catalog.findings, settings, clocks)),
        *(
            Check(storages.part_of(name), partial(storages.findings, settings, name, clocks))
            for name in storages.used(settings)
        ),
        *([Check(redis.PART, partial(redis.findings, settings, clocks))] if settings.redis_url else []),
        *(Check(providers.part_of(name), partial(providers.findings, settings, name, clocks)) for name in chain),
    ]


def _found(check: Check, task: asyncio.Task[None]) -> list[Finding]:
    """What was found, also where the check broke off: one part's defect hides nothing of the others."""
    error = task.exception()
    if error is not None:
        said = f"It cannot be checked: {type(error).__name__}, which should not be."
        check.found.append(check.part.wrong("checked", said, "Tell the makers of sayonce, or of that part."))
    return check.found
