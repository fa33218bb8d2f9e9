"""What is done by the clock: seeding, and upkeep. Any number of processes may have the same schedules: each time, one
of them does it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from sayonce.catalog.catalog import Catalog
from sayonce.errors import InvalidSettings, SayonceError
from sayonce.telemetry.logs import get_logger

# The longest that is slept without a look at the clock, in seconds: it may be set meanwhile.
_NAP = 30.0
# Why a time zone is none.
_NO_ZONE = (KeyError, ValueError, OSError)

_log = get_logger("sayonce.schedules")


def _cron(told: str) -> str:
    try:
        CronSim(told, datetime(2000, 1, 1))
    except CronSimError as error:
        raise ValueError("must be such as '30 3 * * *': minute, hour, day, month, day of the week") from error
    return told


def _zone(told: str) -> str:
    try:
        ZoneInfo(told)
    except _NO_ZONE as error:
        raise ValueError("must be such as UTC or Europe/Berlin") from error
    return told


class Schedule(BaseModel):
    """When, and what: upkeep, or a collection or a manifest file that is seeded; this in so many of the voices that
    were listened to most."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cron: Annotated[str, AfterValidator(_cron)]
    zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    do: Literal["seed", "upkeep"] = "seed"
    seed: str | None = None
    tenant: str = "default"
    popular: Annotated[int, Field(ge=0, le=100)] = 0

    @model_validator(mode="after")
    def _whole(self) -> Schedule:
        if (self.do == "seed") != (self.seed is not None):
            raise ValueError("say what to 'seed', or do = \"upkeep\"")
        return self

    def next(self, after: float) -> float:
        """When it is due next, after that moment; both in seconds since 1970."""
        return next(CronSim(self.cron, datetime.fromtimestamp(after, ZoneInfo(self.zone)))).timestamp()


#: Does what a schedule says.
Do: TypeAlias = Callable[[Schedule], Awaitable[None]]


def schedules_of(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Schedule]:
    """The settings' schedules by name. InvalidSettings where one is wrong."""
    found = {}
    for name, table in tables.items():
        try:
            found[name] = Schedule.model_validate(table)
        except ValidationError as error:
            wrong = error.errors(include_input=False, include_url=False)[0]
            field, why = ".".join(map(str, wrong["loc"])), wrong["msg"].removeprefix("Value error, ")
            raise InvalidSettings(
                f"The schedule '{name}' is wrong: {field}{field and ': '}{why}.",
                remedy=f'Mend it in [schedules.{name}]: cron = "30 3 * * *" and seed = "…", or do = "upkeep".',
            ) from None
    return found


@dataclass(frozen=True)
class Clockwork:
    """Does what is due when it is; `clock` gives seconds since 1970."""

    schedules: Mapping[str, Schedule]
    catalog: Catalog
    do: Do
    clock: Callable[[], float]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Meanwhile it runs."""
        tasks = [asyncio.create_task(self._keep(name, schedule)) for name, schedule in self.schedules.items()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, name: str, schedule: Schedule) -> None:
        while True:
            due = schedule.next(self.clock())
            while (left := due - self.clock()) > 0:  # noqa: ASYNC110 - the clock may be set meanwhile
                await asyncio.sleep(min(left, _NAP))
            try:
                # Another process whose clock is a little behind, or before, does not do it once more.
                if await self.catalog.claim(f"schedule {name}", (schedule.next(due) - due) / 2):
                    _log.info("schedule.begun", schedule=name)
                    await self.do(schedule)
            except SayonceError as error:
                _log.warning("schedule.left", schedule=name, error=error.code, reason=error.message)
