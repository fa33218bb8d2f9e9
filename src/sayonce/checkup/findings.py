"""What a check found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum

from sayonce.errors import SayonceError


class Verdict(StrEnum):
    """How it is."""

    OK = "ok"
    WARNING = "warning"  # it works, and may not always
    FAILED = "failed"
    SKIPPED = "skipped"  # there is nothing to check, or nothing that could be


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` was checked of a `part`; `said` is a sentence, `remedy` what to do about it."""

    part: str
    what: str
    verdict: Verdict
    said: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """What findings are of."""

    name: str

    def ok(self, what: str, said: str) -> Finding:
        """It is as it should be."""
        return Finding(self.name, what, Verdict.OK, said)

    def warning(self, what: str, said: str, remedy: str) -> Finding:
        """It works, and may not always."""
        return Finding(self.name, what, Verdict.WARNING, said, remedy)

    def wrong(self, what: str, said: str, remedy: str) -> Finding:
        """It does not work."""
        return Finding(self.name, what, Verdict.FAILED, said, remedy)

    def failed(self, what: str, error: SayonceError) -> Finding:
        """It does not work, as an error says."""
        return Finding(self.name, what, Verdict.FAILED, error.message, error.remedy)

    def skipped(self, what: str, said: str) -> Finding:
        """Nothing was checked."""
        return Finding(self.name, what, Verdict.SKIPPED, said)


@dataclass(frozen=True, slots=True)
class Check:
    """The check of one part, and what it has found."""

    part: Part
    findings: Callable[[], AsyncGenerator[Finding, None]]
    found: list[Finding] = field(default_factory=list)

    async def run(self, patience: float) -> None:
        """Finds, for so many seconds at most. What was found until then stays, whatever ends it."""
        try:
            async with asyncio.timeout(patience), aclosing(self.findings()) as findings:
                async for finding in findings:
                    self.found.append(finding)
        except TimeoutError:
            said = f"It did not answer within {patience:g} seconds."
            self.found.append(self.part.wrong("in time", said, "See that it runs, and what is between."))
        except SayonceError as error:
            self.found.append(self.part.failed("checked", error))
