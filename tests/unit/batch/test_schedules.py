"""When schedules are due, and what is wrong with them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from sayonce.batch.schedules import Schedule, schedules_of
from sayonce.errors import InvalidSettings


def at(told: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(told).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("cron", "zone", "after", "due"),
    [
        ("30 3 * * *", "UTC", "2026-11-21 03:29:59", "2026-11-21 03:30"),
        ("30 3 * * *", "UTC", "2026-11-21 03:30:00", "2026-11-22 03:30"),
        ("0 4 * * 1", "UTC", "2026-11-21 12:00", "2026-11-23 04:00"),
        ("30 3 * * *", "Europe/Berlin", "2026-11-21 02:00", "2026-11-21 03:30"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", "2026-03-29 03:00"),  # that night has no half past two
    ],
)
def test_when_it_is_due(cron: str, zone: str, after: str, due: str) -> None:
    assert Schedule(cron=cron, zone=zone, do="upkeep").next(at(after, zone)) == at(due, zone)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"cron": "every night", "do": "upkeep"}, "cron: must be such as '30 3"),
        ({"cron": "* * * *", "do": "upkeep"}, "cron"),
        ({"cron": "0 4 * * *", "zone": "Middle/Earth", "do": "upkeep"}, "zone"),
        ({"cron": "0 4 * * *", "zone": "../../etc/passwd", "do": "upkeep"}, "zone"),
        ({"cron": "0 4 * * *"}, "say what to 'seed'"),
        ({"cron": "0 4 * * *", "do": "upkeep", "seed": "x"}, "say what to 'seed'"),
        ({"seed": "x"}, "cron: Field required"),
        ({"cron": "0 4 * * *", "sead": "x"}, "sead: Extra inputs"),
    ],
)
def test_one_that_is_wrong_is_named(table: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSettings, match="The schedule 'night' is wrong") as refused:
        schedules_of({"night": table})
    assert said in str(refused.value)
