"""Are the settings right, and do they fit together?"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator

from sayonce.batch.schedules import schedules_of
from sayonce.checkup.findings import Finding, Part, Verdict
from sayonce.chosen import customs_of, one_storage, upstream_of
from sayonce.errors import InvalidSettings, MissingExtra, ProviderMisconfigured
from sayonce.providers.chat_cleaner import ChatCleaner
from sayonce.redaction import shown
from sayonce.settings import Settings, config_file
from sayonce.storage.paths import PathTemplate

_PART = Part("settings")


def refused(error: InvalidSettings) -> Iterator[Finding]:
    """What is said of settings that cannot be read: each one that is wrong."""
    head, *each = error.message.splitlines()
    remedy = error.remedy or f"Mend it in {config_file() or 'the environment'}; docs/settings.md tells of them all."
    for line in each or [head]:
        name, colon, why = line.strip().partition(": ")
        yield _PART.wrong(name, why, remedy) if each and colon else _PART.wrong("read", line.strip(), remedy)
    yield _PART.skipped("all else", "It is checked when the settings can be read.")


async def findings(settings: Settings) -> AsyncGenerator[Finding, None]:
    """What can be said of them without asking anybody."""
    yield _PART.ok("read", f"They come from {config_file() or 'the environment alone'}.")
    for what, made in _made(settings).items():
        try:
            made()
        except InvalidSettings as error:
            yield _PART.failed(what, error)
    if settings.cleaner:
        try:
            await ChatCleaner.from_settings(settings.cleaner).aclose()
        except InvalidSettings as error:
            yield _PART.failed("cleaner", error)


def _made(settings: Settings) -> dict[str, Callable[[], object]]:
    """What is made of settings alone, by what they are called."""
    return {
        "path_template": lambda: PathTemplate(settings.path_template),
        "message_path": lambda: PathTemplate(settings.message_path),
        "turn_path": lambda: PathTemplate(settings.turn_path),
        "chain": lambda: customs_of(settings, None),
        "schedules": lambda: schedules_of(settings.schedules),
    }


async def misfits(settings: Settings) -> AsyncGenerator[Finding, None]:
    """What is wrong with settings that could be read, and a gateway would not start with. Nobody is asked."""
    async for finding in findings(settings):
        if finding.verdict is Verdict.FAILED:
            yield finding
    for name in dict.fromkeys((*settings.all_upstreams, settings.speaker, *settings.chain)):
        try:
            await upstream_of(settings, name).aclose()
        except ProviderMisconfigured:
            continue  # it is told to who asks for it
        except (InvalidSettings, MissingExtra) as error:
            if name in settings.upstreams or isinstance(error, InvalidSettings):
                yield _PART.failed(f"upstreams.{name}", error)
    for name in dict.fromkeys((*settings.all_storages, settings.storage, settings.tier or settings.storage)):
        try:
            async with one_storage(settings, name):
                pass
        except (InvalidSettings, MissingExtra) as error:
            yield _PART.failed(f"storages.{shown(name)}", error)
